//! What a verified token says: whose it is, how long, and in its claim `tailwater` what its bearer may do.

use std::sync::Arc;

use serde_json::{Map, Value};
use tailwater_protocol::channel::{Channel, Pattern};

use super::placeholder::{self, PlaceholderError};
use super::verifier::TokenError;

/// Most patterns of one operation, allowed and denied ones together.
const MAX_PATTERNS: usize = 64;

/// Most channels that a token joins.
const MAX_CHANNELS: usize = 64;

/// Longest `sub` and `jti`, in bytes: they stand in logs, headers and keys.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// The claims of a token whose signature, times, issuer and audience are right (RFC 7519 section 4.1).
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    /// `sub`.
    pub(crate) user: Option<Arc<str>>,
    /// `jti`.
    pub(crate) token_id: Option<Arc<str>>,
    /// `iat`, in seconds since 1970.
    pub(crate) issued_at: Option<u64>,
    /// `exp`, in seconds since 1970.
    pub(crate) expires_at: Option<u64>,
    /// The claim `tailwater`.
    pub(crate) tailwater: Grants,
    /// All claims as they stand in the token.
    pub(crate) all: Arc<Map<String, Value>>,
}

/// The claim `tailwater`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// What may be subscribed to; nothing: the token does not say.
    pub(crate) subscribe: Option<Patterns>,
    /// What may be published on.
    pub(crate) publish: Option<Patterns>,
    /// What may be asked by `request`.
    pub(crate) request: Option<Patterns>,
    /// What the server subscribes the session to by itself.
    pub(crate) channels: Vec<Channel>,
    /// Its bearer is a service: it publishes where clients may not, on what `publish` names.
    pub(crate) service: bool,
}

/// What an operation is allowed on, and what of that is denied nevertheless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patterns {
    /// Allowed.
    pub(crate) allow: Vec<Pattern>,
    /// Denied, whatever is allowed.
    pub(crate) deny: Vec<Pattern>,
}

impl Claims {
    /// Reads the claims of a verified token. One part that cannot be understood makes the whole token one that is not
    /// accepted, since what it was to deny cannot be known.
    pub(crate) fn read(all: Map<String, Value>) -> Result<Self, TokenError> {
        Ok(Self {
            user: name(&all, "sub")?,
            token_id: name(&all, "jti")?,
            issued_at: time(&all, "iat")?,
            expires_at: time(&all, "exp")?,
            tailwater: Grants::read(&all)?,
            all: Arc::new(all),
        })
    }
}

impl Grants {
    /// Reads the claim `tailwater` among all. Members that are not known here are left alone: they are about operations
    /// that there are not.
    fn read(all: &Map<String, Value>) -> Result<Self, TokenError> {
        let Some(value) = all.get("tailwater") else {
            return Ok(Self::default());
        };
        let Value::Object(tailwater) = value else {
            return Err(refusal("`tailwater` of the token must be an object"));
        };
        let operation = |name: &str| {
            let value = tailwater.get(name);
            value.map(|value| Patterns::read(name, value, all)).transpose()
        };
        Ok(Self {
            subscribe: operation("subscribe")?,
            publish: operation("publish")?,
            request: operation("request")?,
            channels: channels(tailwater.get("channels"), all)?,
            service: match tailwater.get("service") {
                None => false,
                Some(Value::Bool(service)) => *service,
                Some(_) => return Err(refusal("`tailwater.service` of the token must be true or false")),
            },
        })
    }
}

impl Patterns {
    /// A list of what is allowed, or an object with `allow` and `deny`, as NATS writes permissions.
    fn read(operation: &str, value: &Value, all: &Map<String, Value>) -> Result<Self, TokenError> {
        let path = format!("tailwater.{operation}");
        let patterns = match value {
            Value::Array(allow) => Self {
                allow: patterns(&path, allow, all)?,
                deny: Vec::new(),
            },
            Value::Object(rules) => {
                // A misspelt `deny` must not become permission.
                if rules.keys().any(|key| key != "allow" && key != "deny") {
                    return Err(refusal(format!(
                        "`{path}` of the token may hold `allow` and `deny` only"
                    )));
                }
                let side = |side: &str| match rules.get(side) {
                    None => Ok(Vec::new()),
                    Some(Value::Array(list)) => patterns(&format!("{path}.{side}"), list, all),
                    Some(_) => Err(refusal(format!(
                        "`{path}.{side}` of the token must be a list of patterns"
                    ))),
                };
                Self {
                    allow: side("allow")?,
                    deny: side("deny")?,
                }
            }
            _ => {
                return Err(refusal(format!(
                    "`{path}` of the token must be a list of patterns, or hold `allow` and `deny`"
                )));
            }
        };
        if patterns.allow.len() + patterns.deny.len() > MAX_PATTERNS {
            return Err(too_many(&path, "patterns", MAX_PATTERNS));
        }
        Ok(patterns)
    }
}

fn patterns(path: &str, list: &[Value], all: &Map<String, Value>) -> Result<Vec<Pattern>, TokenError> {
    if list.len() > MAX_PATTERNS {
        return Err(too_many(path, "patterns", MAX_PATTERNS));
    }
    let items = (1..).zip(list);
    items
        .map(|(number, item)| {
            let text = item.as_str().ok_or(PlaceholderError::Pattern);
            text.and_then(|text| placeholder::fill(text, all))
                .map_err(|error| refusal(format!("pattern {number} of `{path}` {error}")))
        })
        .collect()
}

fn channels(value: Option<&Value>, all: &Map<String, Value>) -> Result<Vec<Channel>, TokenError> {
    const PATH: &str = "tailwater.channels";
    let list = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => {
            return Err(refusal(format!(
                "`{PATH}` of the token must be a list of channels"
            )));
        }
    };
    if list.len() > MAX_CHANNELS {
        return Err(too_many(PATH, "channels", MAX_CHANNELS));
    }
    let mut channels = Vec::with_capacity(list.len());
    for (number, item) in (1..).zip(list) {
        let text = item.as_str().ok_or(PlaceholderError::Pattern);
        let pattern = text
            .and_then(|text| placeholder::fill(text, all))
            .map_err(|error| refusal(format!("channel {number} of `{PATH}` {error}")))?;
        let channel = Channel::try_from(pattern)
            .map_err(|_| refusal(format!("channel {number} of `{PATH}` begins as no channel may")))?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    Ok(channels)
}

/// A text that names somebody or something.
fn name(all: &Map<String, Value>, claim: &str) -> Result<Option<Arc<str>>, TokenError> {
    match all.get(claim) {
        None => Ok(None),
        Some(Value::String(text))
            if (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control) =>
        {
            Ok(Some(text.as_str().into()))
        }
        Some(_) => Err(refusal(format!(
            "`{claim}` of the token must be text of 1 to {MAX_NAME_BYTES} bytes without control characters"
        ))),
    }
}

/// A `NumericDate`, which may have a fraction (RFC 7519 section 2); whole seconds are enough here.
fn time(all: &Map<String, Value>, claim: &str) -> Result<Option<u64>, TokenError> {
    /// Every integer below is exact in a float; in seconds it is later than any clock shows.
    const LIMIT: f64 = (1_u64 << 53) as f64;
    let seconds = match all.get(claim) {
        None => return Ok(None),
        Some(value) => value.as_u64().or_else(|| {
            let seconds = value.as_f64().filter(|seconds| (0.0..LIMIT).contains(seconds))?;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "checked in the line above; the fraction is to go"
            )]
            let seconds = seconds as u64;
            Some(seconds)
        }),
    };
    let message = || {
        refusal(format!(
            "`{claim}` of the token must be a time in seconds since 1970"
        ))
    };
    seconds.map(Some).ok_or_else(message)
}

fn too_many(path: &str, what: &str, limit: usize) -> TokenError {
    refusal(format!("`{path}` of the token holds more than {limit} {what}"))
}

fn refusal(message: impl Into<String>) -> TokenError {
    TokenError::Claim(message.into())
}
