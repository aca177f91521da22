//! The certificate of the public listener: the `[tls]` table.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::Error;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::nats::readable;
use super::settings::Section;

/// What the public listener proves itself with. `Debug` shows the files, never what is in them.
#[derive(Clone)]
pub struct TlsConfig {
    /// The certificate with its chain, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Both as they were read; they belong together.
    pub(crate) pair: Arc<CertifiedKey>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TlsConfig")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Reads `[tls]`; without it the listener speaks plain HTTP.
pub(super) fn read(tls: &mut Section<'_>) -> Option<TlsConfig> {
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if tls.is_set(one) && !tls.is_set(other) {
            tls.refuse(one, format!("needs `{}` beside it", tls.path(other)));
        }
    }
    let (certificate, key) = (readable(tls, "certificate"), readable(tls, "key"));
    let chain = parse(tls, "certificate", certificate.as_deref(), read_chain);
    let private = parse(tls, "key", key.as_deref(), read_key);
    let (certificate, key) = (certificate?, key?);
    match CertifiedKey::from_der(chain?, private?, &ring::default_provider()) {
        Ok(pair) => Some(TlsConfig {
            certificate,
            key,
            pair: Arc::new(pair),
        }),
        Err(error) => {
            let (setting, message) = misfit(&error, &certificate, &key);
            tls.refuse(setting, message);
            None
        }
    }
}

fn parse<T>(
    tls: &mut Section<'_>,
    setting: &str,
    path: Option<&Path>,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Option<T> {
    let path = path?;
    let content = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
    match content.and_then(|content| read(&content)) {
        Ok(value) => Some(value),
        Err(error) => {
            tls.refuse(setting, format!("is `{}`, which {error}", path.display()));
            None
        }
    }
}

/// The error is the rest of a sentence that begins with the file.
fn read_chain(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let chain = chain.map_err(|error| malformed(&error))?;
    if chain.is_empty() {
        return Err("holds no CERTIFICATE in PEM".to_owned());
    }
    Ok(chain)
}

/// As [`read_chain`]; what it says repeats nothing of the file.
fn read_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY-----";
    match PrivateKeyDer::from_pem_slice(content) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound)
            if content.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) =>
        {
            Err("is encrypted with a passphrase: store it without one, readable by the edge alone".to_owned())
        }
        Err(pem::Error::NoItemsFound) => {
            Err("holds no PRIVATE KEY in PEM (PKCS#8, PKCS#1 or SEC1)".to_owned())
        }
        Err(error) => Err(malformed(&error)),
    }
}

fn malformed(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is no whole PEM: a section has no END line".to_owned(),
        pem::Error::Base64Decode(_) => "is no valid PEM: a section is not base64".to_owned(),
        _ => "is no valid PEM".to_owned(),
    }
}

/// Why two files that are well-formed each are of no use, and which setting is to blame.
fn misfit(error: &Error, certificate: &Path, key: &Path) -> (&'static str, String) {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        Error::InconsistentKeys(_) => (
            "key",
            format!("is `{key}`, which is not the key of the first certificate in `{certificate}`"),
        ),
        Error::InvalidCertificate(_) => (
            "certificate",
            format!("is `{certificate}`, the first certificate of which cannot be read"),
        ),
        _ => (
            "key",
            format!(
                "is `{key}`, a kind of key that is not supported: use ECDSA (P-256, P-384), Ed25519 or RSA"
            ),
        ),
    }
}
