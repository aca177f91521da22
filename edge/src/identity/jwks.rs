//! JSON Web Key Sets (RFC 7517 section 5): the keys among them that can verify tokens. The others are left out, as the
//! RFC asks for, and counted; secrets (`kty: oct`) are never taken from a set.

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, base64url};

/// Most keys of a set. Issuers have a handful.
const MAX_KEYS: usize = 64;

/// Longest name of a key, in bytes.
const MAX_ID_BYTES: usize = 256;

/// What a set held.
#[derive(Debug)]
pub(crate) struct KeySet {
    /// Keys that can be used, at least one, each with its name.
    pub(crate) keys: Vec<Key>,
    /// How many were left out.
    pub(crate) skipped: usize,
}

/// Reads a set. The error is the rest of a sentence that begins with where it stands, and repeats nothing of it.
pub(crate) fn parse(content: &[u8]) -> Result<KeySet, String> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    let document: Document = serde_json::from_slice(content)
        .map_err(|_| "is no JSON Web Key Set: an object with a list `keys` is expected".to_owned())?;
    if document.keys.len() > MAX_KEYS {
        return Err(format!(
            "has {} keys: at most {MAX_KEYS} are taken",
            document.keys.len()
        ));
    }
    let mut set = KeySet {
        keys: Vec::new(),
        skipped: 0,
    };
    let mut first_reason = None;
    for value in document.keys {
        match read(value) {
            Ok(key) => set.keys.push(key),
            Err(reason) => {
                first_reason.get_or_insert(reason);
                set.skipped += 1;
            }
        }
    }
    if set.keys.is_empty() {
        let reason = first_reason.map(|reason| format!(" (the first one {reason})"));
        return Err(format!(
            "holds no key that can verify tokens{}",
            reason.unwrap_or_default()
        ));
    }
    Ok(set)
}

/// The members of a key that matter (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// One key, or why it is left out.
fn read(value: Value) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_value(value).map_err(|_| "is no key: it lacks `kty`".to_owned())?;
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Err("is not for signatures (`use`)".to_owned());
    }
    if jwk
        .key_ops
        .is_some_and(|allowed| !allowed.iter().any(|operation| operation == "verify"))
    {
        return Err("is not for verifying (`key_ops`)".to_owned());
    }
    let id = jwk.kid.filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES);
    let id = id.ok_or("has no `kid`")?;
    let bytes = |member: &Option<String>| {
        let bytes = member.as_deref().and_then(base64url);
        bytes.ok_or_else(|| "lacks a number that keys of its kind have".to_owned())
    };
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Key::from_rsa(&bytes(&jwk.n)?, &bytes(&jwk.e)?),
        ("EC", Some("P-256" | "P-384")) => Key::from_ecdsa(&bytes(&jwk.x)?, &bytes(&jwk.y)?),
        ("OKP", Some("Ed25519")) => Key::from_ed25519(&bytes(&jwk.x)?),
        _ => Err("is of a kind that is not supported (`kty`, `crv`)".to_owned()),
    }?;
    let unfit = || "is for an algorithm that is not supported, or not of its kind (`alg`)".to_owned();
    let algorithm: Option<Algorithm> = match jwk.alg {
        // The name that RFC 9864 gives EdDSA with this curve.
        Some(name) if name == "Ed25519" => Some(Algorithm::EdDSA),
        Some(name) => Some(name.parse().map_err(|_| unfit())?),
        None => None,
    };
    let fits_curve = match jwk.crv.as_deref() {
        Some("P-256") => key.can(Algorithm::ES256),
        Some("P-384") => key.can(Algorithm::ES384),
        _ => true,
    };
    if !fits_curve {
        return Err("has a point that is none of its curve".to_owned());
    }
    key.named(&id, algorithm).ok_or_else(unfit)
}
