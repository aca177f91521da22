//! What the service of a hook may say, read strictly: a field that is misspelt could be a refusal.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use tailwater_broker::publish::MAX_USER_BYTES;
use tailwater_protocol::channel::{Channel, Pattern};

use super::hook::Grant;
use crate::identity::claims::Patterns;

/// The longest answer, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// The longest reason that a client is told, in characters.
const MAX_REASON: usize = 120;

/// What the service grants a new session. Absent: it says nothing about that, and what the token says stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectAnswer {
    /// Who the client is, of 1 to [`MAX_USER_BYTES`] bytes: the service knows it by its cookie, for example.
    pub(crate) user: Option<Arc<str>>,
    /// When what the service says ends, in seconds since 1970.
    pub(crate) expires_at: Option<u64>,
    pub(crate) subscribe: Option<Patterns>,
    pub(crate) publish: Option<Patterns>,
    pub(crate) request: Option<Patterns>,
    /// Channels that the session is to be subscribed to.
    pub(crate) channels: Arc<[Channel]>,
}

/// What a service decided.
pub(super) type Verdict<G> = Result<G, Denied>;

/// The service says no; its reason, if it gave one, is for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied(pub(super) Option<Box<str>>);

impl Grant for ConnectAnswer {
    fn read(answer: &[u8]) -> Result<Verdict<Self>, String> {
        let fields: ConnectFields = parse(answer)?;
        if !fields.allow {
            return Ok(Err(Denied::because(fields.reason)));
        }
        Ok(Ok(Self {
            user: fields.user,
            expires_at: fields.expires_at,
            subscribe: fields.subscribe.map(Into::into),
            publish: fields.publish.map(Into::into),
            request: fields.request.map(Into::into),
            channels: fields.channels,
        }))
    }

    fn holds(&self) -> Option<Duration> {
        let ends = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires_at?))?;
        Some(ends.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

impl Grant for () {
    fn read(answer: &[u8]) -> Result<Verdict<Self>, String> {
        let fields: SubscribeFields = parse(answer)?;
        Ok(if fields.allow {
            Ok(())
        } else {
            Err(Denied::because(fields.reason))
        })
    }
}

impl Denied {
    fn because(reason: Option<String>) -> Self {
        let reason = reason.filter(|reason| !reason.is_empty());
        Self(reason.map(|reason| reason.chars().take(MAX_REASON).collect()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectFields {
    allow: bool,
    reason: Option<String>,
    #[serde(default, deserialize_with = "user")]
    user: Option<Arc<str>>,
    expires_at: Option<u64>,
    subscribe: Option<PatternFields>,
    publish: Option<PatternFields>,
    request: Option<PatternFields>,
    #[serde(default)]
    channels: Arc<[Channel]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeFields {
    allow: bool,
    reason: Option<String>,
}

/// Channels that a session may use: a list of patterns, or `{"allow": […], "deny": […]}`.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a list of patterns, or {\"allow\": […], \"deny\": […]}"
)]
enum PatternFields {
    Allowed(Vec<Pattern>),
    Both(BothFields),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BothFields {
    #[serde(default)]
    allow: Vec<Pattern>,
    #[serde(default)]
    deny: Vec<Pattern>,
}

impl From<PatternFields> for Patterns {
    fn from(fields: PatternFields) -> Self {
        match fields {
            PatternFields::Allowed(allow) => Self {
                allow,
                deny: Vec::new(),
            },
            PatternFields::Both(BothFields { allow, deny }) => Self { allow, deny },
        }
    }
}

fn user<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    let user = Option::<Arc<str>>::deserialize(deserializer)?;
    if user
        .as_ref()
        .is_some_and(|user| user.is_empty() || user.len() > MAX_USER_BYTES)
    {
        return Err(D::Error::custom(format_args!(
            "a user has 1 to {MAX_USER_BYTES} bytes"
        )));
    }
    Ok(user)
}

/// What the answer says, or a phrase that names the field that is wrong.
fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, String> {
    if answer.len() > MAX_BYTES {
        let found = answer.len();
        return Err(format!("it has {found} bytes, and at most {MAX_BYTES} are read"));
    }
    let mut json = serde_json::Deserializer::from_slice(answer);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        match field.as_str() {
            "." => error.inner().to_string(),
            field => format!("`{field}`: {}", error.inner()),
        }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(read)
}
