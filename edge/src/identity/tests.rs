//! Tokens as issuers make them and as attackers do, with keys that are made for each run.

mod claims;
mod fetching;
mod forged;
mod issuers;
mod key_server;
mod keys;
mod refresh;
mod signatures;

use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};
use serde_json::{Map, Value, json};
use tailwater_protocol::limits::MAX_CLOSE_REASON_BYTES;

use super::claims::Claims;
use super::mint::{Signer, random_secret};
use super::verifier::{TokenError, Verifier};
use crate::config::{IdentityConfig, IssuerConfig, KeySource, Secret, SecretSource, TokenPlaces};

/// A private key, its public half in PEM, and what a key set says of it without its name.
struct Pair {
    private_pem: String,
    public_pem: String,
    jwk: Value,
}

impl Pair {
    fn signer(&self) -> Signer {
        Signer::from_private_pem(self.private_pem.as_bytes()).expect("a private key")
    }

    /// As a member of a key set.
    fn named(&self, id: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = json!(id);
        jwk
    }

    /// A file with the public key.
    fn file(&self) -> tempfile::NamedTempFile {
        file(&self.public_pem)
    }
}

fn p256() -> Pair {
    curve(
        &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"),
        "P-256",
    )
}

fn p384() -> Pair {
    curve(
        &KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key"),
        "P-384",
    )
}

fn ed25519() -> Pair {
    curve(&KeyPair::generate_for(&PKCS_ED25519).expect("a key"), "Ed25519")
}

fn curve(pair: &KeyPair, curve: &str) -> Pair {
    let bytes = pair.der_bytes();
    let jwk = if curve == "Ed25519" {
        json!({"kty": "OKP", "crv": curve, "x": base64url(bytes)})
    } else {
        let (x, y) = bytes[1..].split_at(bytes.len() / 2);
        json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
    };
    Pair {
        private_pem: pair.serialize_pem(),
        public_pem: pair.public_key_pem(),
        jwk,
    }
}

/// One RSA key for all tests: they take long to make, and the library that makes certificates cannot.
fn rsa() -> &'static Pair {
    static PAIR: LazyLock<Pair> = LazyLock::new(|| rsa_of(2048));
    &PAIR
}

fn rsa_of(bits: u32) -> Pair {
    let private_pem = openssl(
        &format!("genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:{bits}"),
        "",
    );
    let public_pem = openssl("pkey -pubout", &private_pem);
    let modulus = openssl("rsa -pubin -noout -modulus", &public_pem);
    let hex = modulus.trim().trim_start_matches("Modulus=");
    let n: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits"))
        .collect();
    Pair {
        private_pem,
        public_pem,
        jwk: json!({"kty": "RSA", "n": base64url(&n), "e": "AQAB"}),
    }
}

fn openssl(arguments: &str, input: &str) -> String {
    String::from_utf8(openssl_bytes(arguments, input.as_bytes())).expect("text")
}

/// What `openssl` prints.
fn openssl_bytes(arguments: &str, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("openssl")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`openssl` runs: these tests need it, version 3 or newer");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "openssl {arguments}");
    output.stdout
}

fn file(text: &str) -> tempfile::NamedTempFile {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("it takes text");
    file
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later")
        .as_secs()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

/// The claims of Ann for an hour, with these over them.
fn ann(more: Value) -> Map<String, Value> {
    let mut claims = object(json!({"sub": "ann", "iat": now(), "exp": now() + 3600}));
    claims.extend(object(more));
    claims
}

/// A secret and what signs with it.
fn secret() -> (KeySource, Signer) {
    let keys = KeySource::Secret(SecretSource::Given(Secret::new(
        random_secret().expect("random numbers"),
    )));
    let signer = Signer::from_issuer(&issuer("secret", keys.clone())).expect("a secret");
    (keys, signer)
}

/// An issuer that accepts all that its keys can do, from whatever `iss`.
fn issuer(name: &str, keys: KeySource) -> IssuerConfig {
    IssuerConfig {
        name: name.into(),
        issuer: None,
        audience: Vec::new(),
        keys,
        algorithms: Vec::new(),
        refresh: Duration::from_secs(300),
        max_stale: Duration::from_secs(86_400),
    }
}

fn config(issuers: Vec<IssuerConfig>) -> IdentityConfig {
    IdentityConfig {
        issuers,
        places: TokenPlaces {
            open: Vec::new(),
            cookie: "token".to_owned(),
        },
        leeway: Duration::from_secs(30),
        grace: Duration::from_secs(30),
        max_token_bytes: 8192,
        require_expiry: true,
    }
}

/// One verification by a verifier of its own.
async fn verify(config: &IdentityConfig, token: &str) -> Result<Claims, TokenError> {
    let (verifier, _owner) = Verifier::start(config);
    verifier.verify(token).await
}

#[track_caller]
fn refused(verified: Result<Claims, TokenError>, expected: &TokenError) {
    let error = verified.expect_err("it is refused");
    assert_eq!(&error, expected);
    assert!(error.to_string().len() <= MAX_CLOSE_REASON_BYTES, "{error}");
}
