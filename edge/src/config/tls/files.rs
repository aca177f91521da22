//! What the files of `[tls]` hold: read at start, and again whenever it may have changed. Each way in which they can be
//! of no use has a sentence of its own, which repeats nothing of a key.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

use super::{ClientAuth, TlsFiles, Validity};

/// Why the files cannot be used.
#[derive(Debug)]
pub(crate) struct Mistake {
    /// The key of `[tls]` to blame.
    pub(super) setting: &'static str,
    /// The rest of a sentence that begins with the key.
    pub(super) message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`tls.{}` {}", self.setting, self.message)
    }
}

/// The files as they were at one moment; an error is the rest of a sentence that begins with the file.
#[derive(Hash)]
pub(crate) struct Contents {
    certificate: Result<Vec<u8>, String>,
    key: Result<Vec<u8>, String>,
    authorities: Option<Result<Vec<u8>, String>>,
}

/// What the files hold, ready for use. The key belongs to the certificate.
#[derive(Clone)]
pub(crate) struct Material {
    pub(crate) pair: Arc<CertifiedKey>,
    /// Judges certificates of clients; nothing: none is asked for.
    pub(crate) client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// When the first certificate may be used.
    pub(crate) validity: Validity,
    /// Of the contents that this was made from.
    pub(crate) fingerprint: u64,
}

impl Contents {
    /// Reads them, which may wait for a disk.
    pub(crate) fn read(files: &TlsFiles) -> Self {
        let authorities = files.client_auth.as_ref().map(|auth| &auth.authorities);
        Self {
            certificate: read(&files.certificate),
            key: read(&files.key),
            authorities: authorities.map(|path| read(path)),
        }
    }

    /// Tells these contents from others. It is no secret, and guards against accidents only.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// What is in them; or everything that is wrong with them.
    pub(crate) fn material(&self, files: &TlsFiles) -> Result<Material, Vec<Mistake>> {
        let provider = Arc::new(ring::default_provider());
        let mut mistakes = Vec::new();
        let mut refuse = |setting, path: &Path, error: String| {
            let message = format!("is `{}`, {error}", path.display());
            mistakes.push(Mistake { setting, message });
        };
        let chain = understood(&self.certificate, read_chain)
            .map_err(|error| refuse("certificate", &files.certificate, error));
        let key = understood(&self.key, read_key).map_err(|error| refuse("key", &files.key, error));
        let client_verifier = match (&files.client_auth, &self.authorities) {
            (Some(auth), Some(content)) => {
                understood(content, |content| read_authorities(content, auth, &provider))
                    .map(Some)
                    .map_err(|error| refuse("client_ca", &auth.authorities, error))
            }
            _ => Ok(None),
        };
        let pair = match (chain, key) {
            (Ok(chain), Ok(key)) => read_pair(chain, key, &provider, &files.certificate)
                .map_err(|(setting, error)| refuse(setting, files.path(setting), error)),
            _ => Err(()),
        };
        match (pair, client_verifier) {
            (Ok((pair, validity)), Ok(client_verifier)) => Ok(Material {
                pair: Arc::new(pair),
                client_verifier,
                validity,
                fingerprint: self.fingerprint(),
            }),
            _ => Err(mistakes),
        }
    }
}

impl TlsFiles {
    fn path(&self, setting: &str) -> &Path {
        match setting {
            "key" => &self.key,
            _ => &self.certificate,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    if path.is_dir() {
        return Err("which is a folder: give the file in it".to_owned());
    }
    std::fs::read(path).map_err(|error| format!("which cannot be read: {error}"))
}

fn understood<T>(
    content: &Result<Vec<u8>, String>,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, String> {
    read(content.as_ref().map_err(Clone::clone)?)
}

fn read_chain(content: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let chain = chain.map_err(|error| malformed(&error))?;
    if chain.is_empty() {
        return Err("which holds no CERTIFICATE in PEM".to_owned());
    }
    Ok(chain)
}

fn read_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY-----";
    match PrivateKeyDer::from_pem_slice(content) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound)
            if content.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) =>
        {
            let advice = "store it without one, readable by the edge alone";
            Err(format!("which is encrypted with a passphrase: {advice}"))
        }
        Err(pem::Error::NoItemsFound) => {
            Err("which holds no PRIVATE KEY in PEM (PKCS#8, PKCS#1 or SEC1)".to_owned())
        }
        Err(error) => Err(malformed(&error)),
    }
}

fn read_authorities(
    content: &[u8],
    auth: &ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in read_chain(content)?.into_iter().enumerate() {
        roots
            .add(certificate)
            .map_err(|_| format!("of which certificate number {} cannot be read", index + 1))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = if auth.is_required {
        verifier
    } else {
        verifier.allow_unauthenticated()
    };
    verifier
        .build()
        .map_err(|error| format!("which cannot be used: {error}"))
}

/// Puts together what is well-formed each; otherwise says which setting is to blame, and why.
fn read_pair(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
    certificate: &Path,
) -> Result<(CertifiedKey, Validity), (&'static str, String)> {
    let unreadable = || {
        let error = "the first certificate of which cannot be read";
        ("certificate", error.to_owned())
    };
    let validity = chain.first().and_then(|first| Validity::read(first));
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(pair) => Ok((pair, validity.ok_or_else(unreadable)?)),
        Err(Error::InconsistentKeys(_)) => {
            let certificate = certificate.display();
            let error = format!("which is not the key of the first certificate in `{certificate}`");
            Err(("key", error))
        }
        Err(Error::InvalidCertificate(_)) => Err(unreadable()),
        Err(_) => {
            let error = "a kind of key that is not supported: use ECDSA (P-256, P-384), Ed25519 or RSA";
            Err(("key", error.to_owned()))
        }
    }
}

fn malformed(error: &pem::Error) -> String {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "which is no whole PEM: a section has no END line",
        pem::Error::Base64Decode(_) => "which is no valid PEM: a section is not base64",
        _ => "which is no valid PEM",
    };
    why.to_owned()
}
