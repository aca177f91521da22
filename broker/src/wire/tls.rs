//! TLS towards NATS: rustls with ring, PEM files from the configuration.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::TlsConfig;
use crate::error::BrokerError;

type Failure = Box<dyn Error + Send + Sync>;

/// What TLS needs, and where it is read again for each connection, so that renewed files are used
/// without a restart.
pub(super) struct Tls {
    config: TlsConfig,
    /// The system's authorities, which are many: read once.
    system: OnceLock<Arc<RootCertStore>>,
}

impl Tls {
    /// Reads everything once, to find mistakes before the first connection. If nothing asks for TLS
    /// yet, the system's authorities are not looked at before a server does.
    ///
    /// # Errors
    /// [`BrokerError::Setup`] for a file that cannot be read or does not hold what it must.
    pub(super) fn new(config: &TlsConfig, wanted: bool) -> Result<Self, BrokerError> {
        let tls = Self {
            config: config.clone(),
            system: OnceLock::new(),
        };
        if wanted || config.ca_file.is_some() || config.client_certificate.is_some() {
            tls.client_config().map_err(BrokerError::Setup)?;
        }
        Ok(tls)
    }

    /// Shakes hands with the server of this name over an open connection.
    ///
    /// # Errors
    /// If a file has become unreadable, or the two do not trust each other.
    pub(super) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let config = Arc::new(self.client_config()?);
        let name = ServerName::try_from(host.to_owned())?;
        Ok(TlsConnector::from(config).connect(name, socket).await?)
    }

    fn client_config(&self) -> Result<ClientConfig, Failure> {
        let roots = match &self.config.ca_file {
            Some(path) => Arc::new(authorities(path)?),
            None => self.system_authorities(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(match &self.config.client_certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
                builder.with_client_auth_cert(chain, key)?
            }
        })
    }

    fn system_authorities(&self) -> Arc<RootCertStore> {
        let load = || {
            let mut roots = RootCertStore::empty();
            // One that cannot be read means at worst a server that is not trusted, which says so itself.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        };
        self.system.get_or_init(load).clone()
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "it holds no certificate"));
    }
    Ok(found)
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Failure {
    io::Error::other(format!("{}: {why}", path.display())).into()
}
