use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tailwater_broker::config::{NatsConfig, TlsConfig};
use tailwater_broker::error::BrokerError;

use crate::ports::free_port;
use crate::server::Server;
use crate::witness::{Client, accepted, config, file};

/// An authority and what it has signed, as PEM files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        file(folder.path(), "ca.pem", &issuer.pem());
        Self { folder, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let path = self.folder.path();
        (
            file(path, &format!("{name}.pem"), &certificate.pem()),
            file(path, &format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

async fn server(authority: &Authority, name: &str, more: &str) -> Server {
    let (certificate, key) = authority.sign(name);
    let block = format!(
        "cert_file: {certificate:?}\nkey_file: {key:?}\nca_file: {:?}\n{more}",
        authority.ca()
    );
    Server::start_on(free_port(), &format!("tls {{\n{block}\n}}\n")).await
}

fn trusting(server: &Server, ca: &Path) -> NatsConfig {
    let mut config = config(&[server.url()]);
    config.tls = TlsConfig {
        required: true,
        ca_file: Some(ca.to_owned()),
        ..TlsConfig::default()
    };
    config
}

async fn reason(config: &NatsConfig) -> String {
    accepted(config).await.expect_err("refused")
}

#[tokio::test]
async fn a_server_with_a_certificate_that_we_trust_is_used_and_no_other() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", "").await;
    let mut config = trusting(&server, &authority.ca());
    assert_eq!(accepted(&config).await, Ok(()));
    // The server's own demand is enough, and so is the address.
    config.tls.required = false;
    assert_eq!(accepted(&config).await, Ok(()));
    config.servers = vec![server.url().replace("nats://", "tls://")];
    assert_eq!(accepted(&config).await, Ok(()));

    config.tls.ca_file = Some(Authority::new().ca());
    let missing = accepted(&config).await.expect_err("the folder is gone");
    assert!(missing.contains("ca.pem"), "{missing}");
    let stranger = Authority::new();
    for ca_file in [Some(stranger.ca()), None] {
        config.tls.ca_file = ca_file;
        let reason = reason(&config).await;
        assert!(reason.contains("invalid peer certificate"), "{reason}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let server = server(&authority, "nats.example", "").await;
    let reason = reason(&trusting(&server, &authority.ca())).await;
    assert!(
        reason.contains("TLS: ") && reason.contains("not valid for name"),
        "{reason}"
    );
}

#[tokio::test]
async fn required_tls_refuses_a_server_without() {
    let authority = Authority::new();
    let server = Server::start("").await;
    let reason = reason(&trusting(&server, &authority.ca())).await;
    assert!(reason.contains("does not speak TLS"), "{reason}");
}

#[tokio::test]
async fn tls_first_speaks_tls_before_the_first_line() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", "handshake_first: true").await;
    let mut config = trusting(&server, &authority.ca());
    config.tls.first = true;
    let client = Client::connect(&config).await;
    client.subscribe("a").await;
    config.tls.first = false;
    config.connect_timeout = std::time::Duration::from_millis(300);
    assert!(reason(&config).await.contains("no answer within"));
}

#[tokio::test]
async fn mutual_tls_needs_our_certificate_signed_by_the_right_authority() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", "verify: true").await;
    let mut config = trusting(&server, &authority.ca());
    let without = reason(&config).await;
    assert!(without.to_lowercase().contains("certificate"), "{without}");
    config.tls.client_certificate = Some(authority.sign("edge"));
    assert_eq!(accepted(&config).await, Ok(()));
    let stranger = Authority::new();
    config.tls.client_certificate = Some(stranger.sign("edge"));
    let forged = reason(&config).await;
    assert!(!forged.is_empty(), "{forged}");
    config.tls.client_certificate = Some(("/nowhere.pem".into(), "/nowhere.key".into()));
    assert!(matches!(Client::open(&config), Err(BrokerError::Setup(_))));
}

#[tokio::test]
async fn large_messages_pass_through_tls() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", "").await;
    let client = Client::connect(&trusting(&server, &authority.ca())).await;
    client.subscribe("big").await;
    let payload = "x".repeat(1_000_000);
    for _ in 0..3 {
        let outgoing = tailwater_broker::wire::Outgoing {
            subject: "big",
            headers: &[("K", "v")],
            payload: payload.as_bytes(),
        };
        client.wire.publish(outgoing).await.expect("connected");
    }
    client.receives("big", &[&payload, &payload, &payload]).await;
}
