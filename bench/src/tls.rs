//! The bench's own certificate: the edge presents it, and clients trust nothing else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// The name that the certificate is for.
const NAME: &str = "localhost";

/// A certificate and its key, in files that live as long as this.
pub(crate) struct Certificate {
    folder: tempfile::TempDir,
    connector: TlsConnector,
}

impl Certificate {
    /// A new one.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("certificate.pem"), made.cert.pem())?;
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem())?;
        let connector = trusting(made.cert.der().clone())?;
        Ok(Self { folder, connector })
    }

    /// Where the chain is, in PEM.
    pub(crate) fn chain(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Where the key is, in PEM.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// For clients.
    pub(crate) fn connector(&self) -> TlsConnector {
        self.connector.clone()
    }
}

/// For clients that trust this certificate alone.
fn trusting(certificate: CertificateDer<'static>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every client is another one, so none has a session to resume: full handshakes.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// For clients in another process than the one that has made the certificate, which is at `chain`.
pub(crate) fn connector_from(chain: &Path) -> anyhow::Result<TlsConnector> {
    trusting(CertificateDer::from_pem_file(chain)?)
}

/// Whom clients ask for.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::DnsName(NAME.try_into().unwrap_or_else(|_| unreachable!("it is a name")))
}
