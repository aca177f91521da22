//! Decides whether a token is accepted: its issuer, its signature by one of that issuer's keys, its times and audience.
//!
//! Cost of one verification, the keys being known, on the worker that asks (a core of 2.5 GHz, a token of 200 to 500
//! bytes): 2 µs by HMAC, 33 µs by RSA of 2,048 bits, 50 µs by Ed25519, 61 µs by ES256, and 1 ms by ES384, for which ring
//! has no fast code.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::claims::Claims;
use super::crypto;
use super::issuer::{Issuer, Pace};
use crate::config::{IdentityConfig, IssuerConfig};

/// Verifies tokens. A clone is a reference count; all workers share one.
#[derive(Clone, Debug)]
pub(crate) struct Verifier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    issuers: Vec<Issuer>,
    leeway_secs: u64,
    max_token_bytes: usize,
    require_expiry: bool,
}

/// The tasks that keep keys current; they end when it is dropped. Tokens are then verified with the keys known last.
#[derive(Debug)]
#[must_use = "without its owner the verifier's keys grow old"]
pub(crate) struct Owner(Vec<JoinHandle<()>>);

impl Drop for Owner {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Why a token is not accepted. `Display` is a sentence for the client: it fits a close frame, and repeats nothing of
/// the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No issuer is configured.
    #[error("tokens are not accepted here: no issuer is configured")]
    NotConfigured,
    /// Longer than `identity.max_token_bytes`.
    #[error("the token is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Not a JWS in compact form (RFC 7515 section 7.1) with JSON in it.
    #[error("the token is no JWT: three parts of base64url with dots between them are expected")]
    Malformed,
    /// The header has `crit` (RFC 7515 section 4.1.11), and no extension is known.
    #[error("the token asks for an extension (`crit`) that is not known here")]
    Critical,
    /// `none`, one that is not known, or one that does not fit the key.
    #[error("the token's `alg` is not one that the keys of its issuer are for")]
    Algorithm,
    /// `iss` is missing or is not one that is configured.
    #[error("the token's issuer (`iss`) is not accepted here")]
    Issuer,
    /// The issuer does not publish a key of that name.
    #[error("the token names a key (`kid`) that its issuer does not publish")]
    UnknownKey,
    /// The issuer has several keys of that kind.
    #[error("the token does not name its key (`kid`), and its issuer has several")]
    UnnamedKey,
    /// The signature is not that of the key.
    #[error("the signature of the token is not right")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// There must be an `exp`.
    #[error("the token has no `exp`, or one that is no time: it must say when it expires")]
    NoExpiry,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `aud` is missing, another one, or one where none is configured.
    #[error("the token is meant for another audience (`aud`)")]
    Audience,
    /// A claim that cannot be understood; the text says which.
    #[error("{0}")]
    Claim(String),
    /// The keys of the issuer were not to be had.
    #[error("the keys of the token's issuer cannot be had at the moment: try again")]
    KeysUnavailable,
}

impl TokenError {
    /// Whether the same token may be accepted a little later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::KeysUnavailable)
    }

    /// Whether another source of keys for the same `iss` may accept the token.
    fn is_of_the_key(&self) -> bool {
        use TokenError::{Algorithm, KeysUnavailable, Signature, UnknownKey, UnnamedKey};
        matches!(
            self,
            Algorithm | KeysUnavailable | Signature | UnknownKey | UnnamedKey
        )
    }
}

/// Whether a token would be accepted. For the command line: keys are read or fetched for it alone.
///
/// # Errors
/// Why it would not be.
pub async fn accepts(config: &IdentityConfig, token: &str) -> Result<(), TokenError> {
    let (verifier, _owner) = Verifier::start(config);
    verifier.verify(token).await.map(drop)
}

impl Verifier {
    /// Starts to ask for the keys of all issuers. Must be called in a tokio runtime, which then lives as long as the
    /// verifier is used.
    pub(crate) fn start(config: &IdentityConfig) -> (Self, Owner) {
        Self::paced(config, Pace::DEFAULT)
    }

    pub(super) fn paced(config: &IdentityConfig, pace: Pace) -> (Self, Owner) {
        crypto::install();
        let started = config
            .issuers
            .iter()
            .map(|issuer| Issuer::start(issuer.clone(), pace));
        let (issuers, tasks) = started.unzip();
        let verifier = Self(Arc::new(Shared {
            issuers,
            leeway_secs: config.leeway.as_secs(),
            max_token_bytes: config.max_token_bytes,
            require_expiry: config.require_expiry,
        }));
        (verifier, Owner(tasks))
    }

    /// Verifies a token. Waits only where its issuer must be asked for a key first, and then for a few seconds at most.
    ///
    /// Tables with the same `issuer` are tried one after the other, so that a secret can be replaced while tokens by
    /// the old one are still in use.
    pub(crate) async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let shared = &*self.0;
        if shared.issuers.is_empty() {
            return Err(TokenError::NotConfigured);
        }
        if token.len() > shared.max_token_bytes {
            return Err(TokenError::TooLong {
                limit: shared.max_token_bytes,
            });
        }
        let header = Header::read(token)?;
        let algorithm = header.algorithm()?;
        let claimed = issuer_of(token)?;
        let mut refused = TokenError::Issuer;
        for issuer in &shared.issuers {
            let expected = issuer.config().issuer.as_deref();
            if expected.is_some() && expected != claimed.as_deref() {
                continue;
            }
            match shared
                .verify_by(issuer, token, header.kid.as_deref(), algorithm)
                .await
            {
                // That an issuer could not be asked is the better reason: it leaves hope.
                Err(error) if error.is_of_the_key() && !refused.is_temporary() => refused = error,
                Err(error) if error.is_of_the_key() => {}
                decided => return decided,
            }
        }
        Err(refused)
    }
}

impl Shared {
    async fn verify_by(
        &self,
        issuer: &Issuer,
        token: &str,
        key_id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Claims, TokenError> {
        let key = issuer.key(key_id, algorithm).await?;
        let validation = self.validation(issuer.config(), algorithm);
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, key.decoding(), &validation);
        match decoded {
            // The library lets one through that it cannot read.
            Ok(decoded) if issuer.config().audience.is_empty() && decoded.claims.contains_key("aud") => {
                Err(TokenError::Audience)
            }
            Ok(decoded) => Claims::read(decoded.claims),
            Err(error) => Err(reason(error.kind())),
        }
    }

    /// What the claims must be. The one algorithm is that of the token's header, which the key was found to be for.
    fn validation(&self, issuer: &IssuerConfig, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        let mut required = Vec::with_capacity(3);
        if self.require_expiry {
            required.push("exp");
        }
        if let Some(expected) = &issuer.issuer {
            validation.set_issuer(&[expected]);
            required.push("iss");
        }
        if !issuer.audience.is_empty() {
            validation.set_audience(&issuer.audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation.leeway = self.leeway_secs;
        validation.validate_nbf = true;
        validation
    }
}

/// The members of a header that decide something (RFC 7515 section 4.1). Keys that a header brings along are not looked
/// at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Header {
    fn read(token: &str) -> Result<Self, TokenError> {
        let (encoded, _) = token.split_once('.').ok_or(TokenError::Malformed)?;
        let json = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| TokenError::Malformed)?;
        let header: Self = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
        match header.crit {
            Some(_) => Err(TokenError::Critical),
            None => Ok(header),
        }
    }

    fn algorithm(&self) -> Result<Algorithm, TokenError> {
        self.alg.parse().map_err(|_| TokenError::Algorithm)
    }
}

/// The `iss` that the token claims, before anything of it is verified: it only chooses whose keys must fit.
fn issuer_of(token: &str) -> Result<Option<String>, TokenError> {
    #[derive(Deserialize)]
    struct Claimed {
        #[serde(default)]
        iss: Value,
    }
    let claimed: Claimed =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TokenError::Malformed)?;
    match claimed.iss {
        Value::String(issuer) => Ok(Some(issuer)),
        Value::Null => Ok(None),
        _ => Err(TokenError::Issuer),
    }
}

fn reason(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
            TokenError::Malformed
        }
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => TokenError::Issuer,
            "aud" => TokenError::Audience,
            _ => TokenError::NoExpiry,
        },
        ErrorKind::InvalidClaimFormat(claim) => TokenError::Claim(format!(
            "`{claim}` of the token must be a time in seconds since 1970"
        )),
        _ => TokenError::Signature,
    }
}
