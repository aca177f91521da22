//! Makes tokens, for development and tests: an edge in production accepts them and never makes one.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value};

use super::crypto;
use super::keys::Key;
use crate::config::{IssuerConfig, KeySource};

/// A new secret of 48 random bytes, in base64: enough for each of `HS256`, `HS384` and `HS512`.
///
/// # Errors
/// The system has no random numbers.
pub fn random_secret() -> io::Result<String> {
    let mut bytes = [0; 48];
    let random = SystemRandom::new();
    random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(STANDARD.encode(bytes))
}

/// What signs tokens. `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Signer {
    /// Signs with the secret that this issuer shares with the edge.
    ///
    /// # Errors
    /// A sentence: it has no secret, or the secret cannot be read.
    pub fn from_issuer(issuer: &IssuerConfig) -> Result<Self, String> {
        let KeySource::Secret(secret) = &issuer.keys else {
            return Err(format!(
                "issuer `{}` signs with a private key, which the edge does not have: give it as a file",
                issuer.name
            ));
        };
        let secret = secret
            .read()
            .map_err(|error| format!("the secret cannot be read: {error}"))?;
        let key = Key::from_secret(secret.reveal()).map_err(|error| format!("the secret {error}"))?;
        let key = key.restricted(&issuer.algorithms);
        let key = key.ok_or("the secret fits none of the configured `algorithms`")?;
        Ok(Self {
            key: EncodingKey::from_secret(secret.reveal().as_bytes()),
            algorithm: key.algorithms()[0],
        })
    }

    /// Signs with a private key in PEM: EC and Ed25519 in PKCS#8, RSA in PKCS#8 or PKCS#1.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the file.
    pub fn from_private_pem(content: &[u8]) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(content)
            .map_err(|_| "holds no PRIVATE KEY in PEM, or one with a passphrase".to_owned())?;
        let der = match &der {
            PrivateKeyDer::Sec1(_) => {
                return Err(
                    "holds a key in SEC1: convert it with `openssl pkcs8 -topk8 -nocrypt -in KEY`".to_owned(),
                );
            }
            der => der.secret_der(),
        };
        let (key, algorithm) = if crypto::ed25519_key(der).is_some() {
            (EncodingKey::from_ed_der(der), Algorithm::EdDSA)
        } else if crypto::ecdsa_key(Algorithm::ES256, der).is_some() {
            (EncodingKey::from_ec_der(der), Algorithm::ES256)
        } else if crypto::ecdsa_key(Algorithm::ES384, der).is_some() {
            (EncodingKey::from_ec_der(der), Algorithm::ES384)
        } else if crypto::rsa_key(der).is_some() {
            (EncodingKey::from_rsa_der(der), Algorithm::RS256)
        } else {
            return Err(
                "holds a kind of key that is not supported: use ECDSA (P-256, P-384), Ed25519, or RSA of 2048 bits \
                 or more"
                    .to_owned(),
            );
        };
        Ok(Self { key, algorithm })
    }

    /// A token with these claims, signed; `key_id` becomes its `kid`.
    ///
    /// # Errors
    /// What the key makes impossible.
    pub fn sign(&self, claims: &Map<String, Value>, key_id: Option<&str>) -> Result<String, String> {
        crypto::install();
        let mut header = jsonwebtoken::Header::new(self.algorithm);
        header.kid = key_id.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key)
            .map_err(|error| format!("the key cannot sign: {error}"))
    }

    /// The same key with another algorithm of its kind, as tests need it.
    #[cfg(test)]
    pub(super) fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }
}
