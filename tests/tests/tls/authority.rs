//! A certificate authority of the test's own, an edge with its certificate, and clients that trust it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tailwater_edge::client::Trust;
use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{RawSocket, soon};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A WebSocket over TLS that may break every rule.
pub(crate) type Secure = RawSocket<TlsStream<TcpStream>>;

/// An authority, and the files in which its certificates are.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// The `[tls]` table of an edge on the loopback.
    pub(crate) fn table(&self) -> String {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let certificate = self.write("edge.pem", &certificate.pem());
        let key = self.write("edge.key", &key.serialize_pem());
        format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    }

    /// The file with the authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// What our own client takes.
    pub(crate) fn trust(&self) -> Trust {
        Trust::File(self.file())
    }

    /// A client that speaks these versions.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from(self.issuer.der().to_vec());
        roots.add(certificate).expect("an authority");
        let mut config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a temporary file takes text");
        path
    }
}

/// Connects and speaks TLS.
pub(crate) async fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Secure {
    attempt(config, address).await.expect("the edge speaks TLS")
}

/// Connects and speaks TLS, if the edge has room for one more.
pub(crate) async fn attempt(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<Secure> {
    let tcp = soon("a connection", TcpStream::connect(address)).await?;
    over(config, tcp).await
}

/// As [`connect`], with a small receive buffer, so that what is not read backs up into the edge at once.
pub(crate) async fn connect_narrow(config: &Arc<ClientConfig>, address: SocketAddr) -> Secure {
    let socket = TcpSocket::new_v4().expect("the system has sockets");
    socket
        .set_recv_buffer_size(4096)
        .expect("a receive buffer may be small");
    let tcp = soon("a connection", socket.connect(address))
        .await
        .expect("somebody listens");
    over(config, tcp).await.expect("the edge speaks TLS")
}

async fn over(config: &Arc<ClientConfig>, tcp: TcpStream) -> io::Result<Secure> {
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = soon(
        "a TLS handshake",
        TlsConnector::from(config.clone()).connect(name, tcp),
    )
    .await?;
    Ok(RawSocket::over(stream))
}

/// Makes the WebSocket handshake, subscribes in JSON and reads the confirmations.
pub(crate) async fn subscribed(mut socket: Secure, channels: &[&str]) -> Secure {
    let response = socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    assert_eq!(socket.next_json().await["type"], "connected");
    for channel in channels {
        let command = format!("{{\"type\":\"subscribe\",\"channel\":\"{channel}\"}}");
        assert_eq!(socket.ask(&command).await["type"], "subscribed");
    }
    socket
}
