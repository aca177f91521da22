//! Keys that verify tokens. Each knows what kind it is and by which algorithms it can have signed: a token's `alg` must
//! be one of those, and never decides how the bytes of a key are read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;
use spki::der::asn1::UintRef;
use spki::der::{Decode, Reader, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Fewest bits of an RSA key (RFC 7518 section 3.3), and most.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const UNSUPPORTED: &str = "is a kind of key that is not supported: use ECDSA (P-256, P-384), Ed25519 or RSA";

/// One key. `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Key {
    /// Its name in a key set (`kid`); a key that stands alone has none.
    id: Option<String>,
    /// What it can verify; never empty, and all of one family.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// A secret that is shared with the issuer; its length decides by which algorithms it may sign (RFC 7518
    /// section 3.2). The error is the rest of a sentence, as those of all constructors here.
    pub(crate) fn from_secret(secret: &str) -> Result<Self, String> {
        // Who takes a public key for a secret lets everybody sign who can read it.
        if secret.contains("-----BEGIN ") {
            return Err("holds a key in PEM, which is no secret: set `public_key_file` instead".to_owned());
        }
        let lengths = [
            (Algorithm::HS256, 32),
            (Algorithm::HS384, 48),
            (Algorithm::HS512, 64),
        ];
        let fit = lengths.into_iter().filter(|(_, least)| secret.len() >= *least);
        let algorithms: Vec<_> = fit.map(|(algorithm, _)| algorithm).collect();
        if algorithms.is_empty() {
            return Err(format!(
                "has {} bytes, which can be guessed: give at least 32 random ones, such as those of \
                 `openssl rand -base64 48`",
                secret.len()
            ));
        }
        Ok(Self::new(algorithms, DecodingKey::from_secret(secret.as_bytes())))
    }

    /// The first public key or certificate of a PEM file.
    pub(crate) fn from_public_pem(content: &[u8]) -> Result<Self, String> {
        let holds = |label: &[u8]| content.windows(label.len()).any(|window| window == label);
        if holds(b"PRIVATE KEY-----") {
            return Err(
                "holds a private key, which is the issuer's alone: give the public one (`openssl pkey -in KEY -pubout`)"
                    .to_owned(),
            );
        }
        if let Ok(info) = SubjectPublicKeyInfoDer::from_pem_slice(content) {
            return Self::from_public_der(&info);
        }
        if holds(b"RSA PUBLIC KEY-----") {
            return Err(
                "holds an RSA key in PKCS#1: convert it with `openssl rsa -RSAPublicKey_in -in KEY -pubout`"
                    .to_owned(),
            );
        }
        let certificate = CertificateDer::from_pem_slice(content)
            .map_err(|_| "holds no PUBLIC KEY and no CERTIFICATE in PEM".to_owned())?;
        let certificate =
            ParsedCertificate::try_from(&certificate).map_err(|_| "holds no valid certificate".to_owned())?;
        Self::from_public_der(&certificate.subject_public_key_info())
    }

    /// A `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7).
    fn from_public_der(der: &[u8]) -> Result<Self, String> {
        let broken = || "holds no valid public key".to_owned();
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| broken())?;
        let bytes = info.subject_public_key.as_bytes().ok_or_else(broken)?;
        match info.algorithm.oid {
            RSA => {
                let (n, e) = rsa_numbers(bytes).ok_or_else(broken)?;
                Self::from_rsa(n, e)
            }
            ECDSA => {
                let curve = info.algorithm.parameters_oid().map_err(|_| broken())?;
                let size = match curve {
                    P256 => 32,
                    P384 => 48,
                    _ => return Err(UNSUPPORTED.to_owned()),
                };
                let point = bytes.strip_prefix(&[UNCOMPRESSED]).ok_or_else(broken)?;
                let (x, y) = point.split_at_checked(size).ok_or_else(broken)?;
                Self::from_ecdsa(x, y)
            }
            ED25519 => Self::from_ed25519(bytes),
            _ => Err(UNSUPPORTED.to_owned()),
        }
    }

    /// An RSA key by its modulus and exponent, most significant byte first.
    pub(super) fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, String> {
        let start = n.iter().position(|byte| *byte != 0).unwrap_or(n.len());
        let n = &n[start..];
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(format!("is an RSA key of {bits} bits: it must have 2048 to 8192"));
        }
        use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
        let algorithms = vec![RS256, RS384, RS512, PS256, PS384, PS512];
        Ok(Self::new(algorithms, DecodingKey::from_rsa_raw_components(n, e)))
    }

    /// An ECDSA key by the coordinates of its point; their length tells the curve.
    pub(super) fn from_ecdsa(x: &[u8], y: &[u8]) -> Result<Self, String> {
        let algorithm = match (x.len(), y.len()) {
            (32, 32) => Algorithm::ES256,
            (48, 48) => Algorithm::ES384,
            _ => return Err("has a point that is none of its curve".to_owned()),
        };
        let point = [&[UNCOMPRESSED], x, y].concat();
        Ok(Self::new(vec![algorithm], DecodingKey::from_ec_der(&point)))
    }

    /// An Ed25519 key by its 32 bytes.
    pub(super) fn from_ed25519(point: &[u8]) -> Result<Self, String> {
        if point.len() != 32 {
            return Err("is no Ed25519 key: those have 32 bytes".to_owned());
        }
        Ok(Self::new(vec![Algorithm::EdDSA], DecodingKey::from_ed_der(point)))
    }

    fn new(algorithms: Vec<Algorithm>, key: DecodingKey) -> Self {
        Self {
            id: None,
            algorithms,
            key,
        }
    }

    /// The same key under a name, for one algorithm alone if one is named; nothing if it cannot do that.
    pub(super) fn named(mut self, id: &str, algorithm: Option<Algorithm>) -> Option<Self> {
        self.id = Some(id.to_owned());
        match algorithm {
            Some(algorithm) => self.restricted(&[algorithm]),
            None => Some(self),
        }
    }

    /// The same key for these algorithms alone; nothing if it can do none of them. Empty: all that it can.
    pub(super) fn restricted(mut self, algorithms: &[Algorithm]) -> Option<Self> {
        if !algorithms.is_empty() {
            self.algorithms.retain(|able| algorithms.contains(able));
        }
        (!self.algorithms.is_empty()).then_some(self)
    }

    /// Its name in a key set.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What it can verify.
    pub(crate) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Whether it can verify signatures of this algorithm.
    pub(crate) fn can(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// As the library takes it.
    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.key
    }
}

/// The first byte of a point that is not compressed (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let numbers = reader.sequence(|inside| {
        let (n, e) = (UintRef::decode(inside)?, UintRef::decode(inside)?);
        Ok((n.as_bytes(), e.as_bytes()))
    });
    numbers.ok()
}

/// Bytes in base64url without padding, as JOSE writes them (RFC 7515 section 2).
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
