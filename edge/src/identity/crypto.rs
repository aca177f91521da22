//! The cryptography behind `jsonwebtoken`: ring, which TLS uses too, so that there is one implementation and no other
//! in the binary. What the library brings itself is either a build in C or an RSA with a known weakness.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature as ring_signature;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{hmac, rsa};

/// Makes the library use it, in this process and from now on. To be called before a token is verified or minted.
pub(super) fn install() {
    // It fails where it was done before.
    let _ = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: new_signer,
    verifier_factory: new_verifier,
    // Only for keys that are turned into JWKs, which nothing here does.
    key_utils: KeyUtils::new_unimplemented(),
};

/// The signature of one algorithm, by one key, is right or wrong.
struct RingVerifier {
    algorithm: Algorithm,
    key: PublicKey,
}

enum PublicKey {
    Secret(hmac::Key),
    Rsa {
        parameters: &'static ring_signature::RsaParameters,
        key: RsaPublicKeyComponents<Vec<u8>>,
    },
    /// ECDSA and EdDSA.
    Curve(UnparsedPublicKey<Vec<u8>>),
}

/// The family of the key decides what its bytes are; an algorithm of another family is refused before they are read.
fn new_verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let public = match (key.family(), key.kind()) {
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => {
            PublicKey::Secret(hmac::Key::new(hmac_algorithm(*algorithm)?, secret))
        }
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => PublicKey::Rsa {
            parameters: rsa_parameters(*algorithm)?,
            key: RsaPublicKeyComponents {
                n: n.clone(),
                e: e.clone(),
            },
        },
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => {
            let curve: &'static dyn ring_signature::VerificationAlgorithm = match algorithm {
                Algorithm::ES256 => &ring_signature::ECDSA_P256_SHA256_FIXED,
                Algorithm::ES384 => &ring_signature::ECDSA_P384_SHA384_FIXED,
                _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
            };
            PublicKey::Curve(UnparsedPublicKey::new(curve, point.clone()))
        }
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) => {
            PublicKey::Curve(UnparsedPublicKey::new(&ring_signature::ED25519, point.clone()))
        }
        _ => return Err(ErrorKind::InvalidKeyFormat.into()),
    };
    Ok(Box::new(RingVerifier {
        algorithm: *algorithm,
        key: public,
    }))
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match &self.key {
            PublicKey::Secret(key) => hmac::verify(key, message, signature),
            PublicKey::Rsa { parameters, key } => key.verify(parameters, message, signature),
            PublicKey::Curve(key) => key.verify(message, signature),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Signs with one key by one algorithm.
struct RingSigner {
    algorithm: Algorithm,
    key: PrivateKey,
}

enum PrivateKey {
    Secret(hmac::Key),
    Rsa {
        padding: &'static dyn ring_signature::RsaEncoding,
        key: RsaKeyPair,
    },
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

fn new_signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let bytes = key.as_bytes();
    let private = match key.family() {
        AlgorithmFamily::Hmac => PrivateKey::Secret(hmac::Key::new(hmac_algorithm(*algorithm)?, bytes)),
        AlgorithmFamily::Rsa => PrivateKey::Rsa {
            padding: rsa_padding(*algorithm)?,
            key: rsa_key(bytes).ok_or(ErrorKind::InvalidKeyFormat)?,
        },
        AlgorithmFamily::Ec => {
            PrivateKey::Ecdsa(ecdsa_key(*algorithm, bytes).ok_or(ErrorKind::InvalidKeyFormat)?)
        }
        AlgorithmFamily::Ed => PrivateKey::Ed25519(ed25519_key(bytes).ok_or(ErrorKind::InvalidKeyFormat)?),
    };
    Ok(Box::new(RingSigner {
        algorithm: *algorithm,
        key: private,
    }))
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let random = SystemRandom::new();
        let failed = |_| signature::Error::new();
        match &self.key {
            PrivateKey::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            PrivateKey::Rsa { padding, key } => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*padding, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            PrivateKey::Ecdsa(key) => Ok(key.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// A private RSA key, PKCS#8 or PKCS#1, of 2,048 bits or more.
pub(super) fn rsa_key(der: &[u8]) -> Option<rsa::KeyPair> {
    RsaKeyPair::from_pkcs8(der)
        .or_else(|_| RsaKeyPair::from_der(der))
        .ok()
}

/// A private key of the curve that the algorithm is for, PKCS#8.
pub(super) fn ecdsa_key(algorithm: Algorithm, der: &[u8]) -> Option<EcdsaKeyPair> {
    let curve = match algorithm {
        Algorithm::ES256 => &ring_signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        Algorithm::ES384 => &ring_signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => return None,
    };
    EcdsaKeyPair::from_pkcs8(curve, der, &SystemRandom::new()).ok()
}

/// A private Ed25519 key, PKCS#8, with or without its public half.
pub(super) fn ed25519_key(der: &[u8]) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()
}

fn hmac_algorithm(algorithm: Algorithm) -> Result<hmac::Algorithm, Error> {
    match algorithm {
        Algorithm::HS256 => Ok(hmac::HMAC_SHA256),
        Algorithm::HS384 => Ok(hmac::HMAC_SHA384),
        Algorithm::HS512 => Ok(hmac::HMAC_SHA512),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Result<&'static ring_signature::RsaParameters, Error> {
    match algorithm {
        Algorithm::RS256 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Ok(&ring_signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Ok(&ring_signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Ok(&ring_signature::RSA_PSS_2048_8192_SHA512),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

fn rsa_padding(algorithm: Algorithm) -> Result<&'static dyn ring_signature::RsaEncoding, Error> {
    match algorithm {
        Algorithm::RS256 => Ok(&ring_signature::RSA_PKCS1_SHA256),
        Algorithm::RS384 => Ok(&ring_signature::RSA_PKCS1_SHA384),
        Algorithm::RS512 => Ok(&ring_signature::RSA_PKCS1_SHA512),
        Algorithm::PS256 => Ok(&ring_signature::RSA_PSS_SHA256),
        Algorithm::PS384 => Ok(&ring_signature::RSA_PSS_SHA384),
        Algorithm::PS512 => Ok(&ring_signature::RSA_PSS_SHA512),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}
