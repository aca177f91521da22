//! Whose tokens are accepted, and where a client may put one: `[identity]` and every `[identity.issuer.NAME]`.
//!
//! Keys that stand in files are read here once, so that each mistake has its place; what is at an address is looked at
//! by `tailwater check`, and fetched by the edge while it runs.

mod keys;
mod url;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::error::{Mistakes, Place};
use super::secret::SecretSource;
use super::settings::{Section, Settings, one_of};
use crate::client::Trust;

pub use self::url::KeyUrl;

/// Whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// The issuers; none: every token is refused.
    pub issuers: Vec<IssuerConfig>,
    /// Where a token may stand.
    pub places: TokenPlaces,
    /// How far clocks may differ where `exp` and `nbf` are judged.
    pub leeway: Duration,
    /// How long a client may take to `refresh` after its token has expired.
    pub grace: Duration,
    /// Longest token, in bytes.
    pub max_token_bytes: usize,
    /// Whether tokens without `exp` are refused.
    pub require_expiry: bool,
}

/// Where a client may put its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlaces {
    /// Those that are open, in no order.
    pub open: Vec<TokenPlace>,
    /// Name of the cookie.
    pub cookie: String,
}

impl TokenPlaces {
    /// Whether tokens are accepted there.
    pub fn is_open(&self, place: TokenPlace) -> bool {
        self.open.contains(&place)
    }
}

/// A place where a token can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
    Header,
    /// A cookie.
    Cookie,
    /// The subprotocol `tailwater.bearer.TOKEN`, which is offered beside the real one.
    Subprotocol,
    /// The command `connect`.
    Connect,
    /// `?token=TOKEN`.
    Query,
}

impl TokenPlace {
    const ALL: [(&'static str, Self); 5] = [
        ("header", Self::Header),
        ("cookie", Self::Cookie),
        ("subprotocol", Self::Subprotocol),
        ("connect", Self::Connect),
        ("query", Self::Query),
    ];
}

/// One issuer of tokens.
#[derive(Clone, Debug)]
pub struct IssuerConfig {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The `iss` of its tokens; nothing: any, or none.
    pub issuer: Option<String>,
    /// Tokens must have one of these as `aud`; empty: tokens with an `aud` are refused.
    pub audience: Vec<String>,
    /// Where its keys are.
    pub keys: KeySource,
    /// Signatures that are accepted; empty: all that the keys can do.
    pub algorithms: Vec<Algorithm>,
    /// How often keys are read or fetched again.
    pub refresh: Duration,
    /// How long keys stay in use while they cannot be read or fetched.
    pub max_stale: Duration,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A secret that is shared with the issuer (HMAC).
    Secret(SecretSource),
    /// A file with one public key or certificate, in PEM.
    PublicKey(PathBuf),
    /// A file with a JSON Web Key Set (RFC 7517 section 5).
    JwksFile(PathBuf),
    /// The address of a JSON Web Key Set.
    JwksUrl {
        /// The address.
        url: KeyUrl,
        /// Whose certificates count.
        trust: Trust,
    },
    /// An OpenID Connect issuer, whose discovery document names the address.
    OpenId {
        /// The issuer, which its discovery document must repeat.
        issuer: KeyUrl,
        /// Whose certificates count.
        trust: Trust,
    },
}

/// Reads `[identity]` and every `[identity.issuer.NAME]`.
pub(super) fn read(settings: &Settings, mistakes: &mut Mistakes) -> IdentityConfig {
    let names = settings.names("identity.issuer");
    let issuers: Vec<IssuerConfig> = names
        .iter()
        .filter_map(|name| read_issuer(name, &mut settings.section(&table(name), mistakes)))
        .collect();
    if names.len() > 1 {
        for name in &names {
            let section = &mut settings.section(&table(name), mistakes);
            if !section.is_set("issuer") && !section.is_set("oidc_issuer") {
                section.refuse(
                    "issuer",
                    "is missing: where there are several issuers, `iss` tells which one a token is of",
                );
            }
        }
    }
    let identity = &mut settings.section("identity", mistakes);
    let mut open = Vec::new();
    for (place, _) in identity.list("places", parse_place) {
        if !open.contains(&place) {
            open.push(place);
        }
    }
    if open.is_empty() && !names.is_empty() && identity.list("places", |_| Ok(())).is_empty() {
        identity.refuse(
            "places",
            "is empty, so no client could show a token: name at least one place",
        );
    }
    let alone = [
        "places",
        "cookie",
        "leeway_secs",
        "grace_secs",
        "max_token_bytes",
        "require_expiry",
    ];
    if let (true, Some(key)) = (
        names.is_empty(),
        alone.into_iter().find(|key| identity.is_set(key)),
    ) {
        identity.refuse(
            key,
            "is of no use without an issuer of tokens: add a table such as `[identity.issuer.main]`",
        );
    }
    IdentityConfig {
        issuers,
        places: TokenPlaces {
            open,
            cookie: identity.parse("cookie", parse_cookie),
        },
        leeway: identity.duration("leeway_secs"),
        grace: identity.duration("grace_secs"),
        max_token_bytes: identity.size("max_token_bytes"),
        require_expiry: identity.boolean("require_expiry"),
    }
}

fn table(name: &str) -> String {
    format!("identity.issuer.{name}")
}

/// Nothing: without a source of keys, which is reported, there is no issuer.
fn read_issuer(name: &str, section: &mut Section<'_>) -> Option<IssuerConfig> {
    let algorithms: Vec<(Algorithm, Place)> = section.list("algorithms", parse_algorithm);
    let audience = section.list("audience", not_empty);
    let issuer = section.parse_optional("issuer", not_empty);
    let issuer = issuer.or_else(|| section.text("oidc_issuer"));
    let keys = keys::read(section, &algorithms)?;
    Some(IssuerConfig {
        name: name.into(),
        issuer,
        audience: audience.into_iter().map(|(audience, _)| audience).collect(),
        keys,
        algorithms: algorithms.into_iter().map(|(algorithm, _)| algorithm).collect(),
        refresh: section.duration("refresh_secs"),
        max_stale: section.duration("max_stale_secs"),
    })
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 512 {
        return Err("must have 1 to 512 bytes".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_place(text: &str) -> Result<TokenPlace, String> {
    one_of(text, "a place for a token", TokenPlace::ALL)
}

fn parse_algorithm(text: &str) -> Result<Algorithm, String> {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let all = [
        ("HS256", HS256),
        ("HS384", HS384),
        ("HS512", HS512),
        ("RS256", RS256),
        ("RS384", RS384),
        ("RS512", RS512),
        ("PS256", PS256),
        ("PS384", PS384),
        ("PS512", PS512),
        ("ES256", ES256),
        ("ES384", ES384),
        ("EdDSA", EdDSA),
    ];
    one_of(text, "a signature that is known here", all)
}

/// The name of a cookie is a token (RFC 6265 section 4.1.1, RFC 9110 section 5.6.2).
fn parse_cookie(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > 128 || !text.bytes().all(allowed) {
        return Err(format!(
            "is `{text}`: the name of a cookie has 1 to 128 letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(text.to_owned())
}
