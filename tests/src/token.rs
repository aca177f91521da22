//! Tokens that an edge of a test accepts.

use std::io::Write as _;

use serde_json::{Value, json};
use tailwater_edge::config::Config;
use tailwater_edge::identity::mint::Signer;

/// The configuration of an edge that accepts them, wherever they stand.
pub const IDENTITY: &str = r#"
[identity]
places = ["header", "cookie", "query", "subprotocol", "connect"]
leeway_secs = 0
grace_secs = 2
[identity.issuer.tests]
hmac_secret = "a secret of the tests with more than 32 bytes"
"#;

/// Seconds since 1970.
///
/// # Panics
/// If the clock stands before that.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is right").as_secs()
}

/// A token of `user` that is valid for ten minutes; `claims` are put over its own.
///
/// # Panics
/// If `claims` is no object.
pub fn token(user: &str, claims: Value) -> String {
    let mut all = json!({"sub": user, "iat": now(), "exp": now() + 600});
    let all_of = all.as_object_mut().expect("an object");
    all_of.extend(claims.as_object().expect("claims are an object").clone());
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let config = format!("{}{IDENTITY}", crate::edge::OPEN);
    file.write_all(config.as_bytes())
        .expect("a temporary file takes text");
    let config = Config::load(Some(file.path()), [], &[]).expect("the configuration is right");
    let signer = Signer::from_issuer(&config.identity.issuers[0]).expect("it has a secret");
    signer.sign(all_of, None).expect("a token can be signed")
}
