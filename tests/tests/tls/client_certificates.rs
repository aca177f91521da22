//! Certificates of clients: asked for, judged, and judged again at every handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, HandshakeKind};
use tailwater_tests::authority::{ALWAYS, Files};
use tailwater_tests::{Authority, Edge, eventually, soon};
use tokio::io::AsyncReadExt as _;

use crate::clients::{attempt, connect, subscribed};

const PING: &str = r#"{"type":"ping"}"#;

/// The lines of `[tls]` that ask for certificates of this authority.
fn asks(auth: &str, authority: &Authority) -> String {
    let file = authority.certificate();
    format!("client_auth = {auth:?}\nclient_ca = {file:?}\nreload_secs = 1\n")
}

/// What the edge says to a client with this configuration; nothing if it lets the client in.
async fn alert(config: &Arc<ClientConfig>, address: SocketAddr) -> Option<AlertDescription> {
    let error = match attempt(config, address).await {
        Err(error) => error,
        Ok(mut socket) => {
            // In version 1.3 the client is done before the edge has seen its certificate.
            let head = b"GET /nothing HTTP/1.1\r\nHost: edge\r\n\r\n";
            let answered = soon("an answer", async {
                tokio::io::AsyncWriteExt::write_all(socket.stream_mut(), head).await?;
                socket.stream_mut().read_u8().await
            });
            match answered.await {
                Ok(first) => {
                    assert_eq!(first, b'H');
                    return None;
                }
                Err(error) => error,
            }
        }
    };
    Some(alert_in(&error))
}

fn alert_in(error: &io::Error) -> AlertDescription {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(Error::AlertReceived(alert)) => *alert,
        _ => panic!("expected an alert, got {error:?}"),
    }
}

#[tokio::test]
async fn only_who_has_a_valid_certificate_of_the_right_authority_gets_in_where_one_is_required() {
    let (authority, other) = (Authority::new(), Authority::new());
    let table = authority.edge_table();
    let edge = Edge::start_alone(&format!("{table}{}", asks("required", &authority))).await;
    let address = edge.server().public_addr();
    for version in [&TLS12, &TLS13] {
        let judged = async |files: Files| alert(&authority.client_as(&[version], &files), address).await;
        assert_eq!(judged(authority.client_files()).await, None);
        let strange = judged(other.client_files()).await;
        assert_eq!(strange, Some(AlertDescription::UnknownCA));
        let expired = judged(authority.client_files_for(-9..-1)).await;
        assert_eq!(expired, Some(AlertDescription::CertificateExpired));
        // One for servers is none for clients.
        let of_a_server = judged(authority.edge_files(ALWAYS)).await;
        assert_eq!(of_a_server, Some(AlertDescription::UnsupportedCertificate));
        let without = alert(&authority.client(&[version]), address).await;
        assert_eq!(without, Some(AlertDescription::CertificateRequired));
    }
    edge.stop().await;
}

#[tokio::test]
async fn where_one_is_optional_none_is_as_good_as_a_right_one_and_a_wrong_one_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let table = authority.edge_table();
    let edge = Edge::start_alone(&format!("{table}{}", asks("optional", &authority))).await;
    let address = edge.server().public_addr();
    for version in [&TLS12, &TLS13] {
        assert_eq!(alert(&authority.client(&[version]), address).await, None);
        let right = authority.client_as(&[version], &authority.client_files());
        assert_eq!(alert(&right, address).await, None);
        let wrong = authority.client_as(&[version], &other.client_files());
        assert_eq!(alert(&wrong, address).await, Some(AlertDescription::UnknownCA));
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_certificate_is_looked_at_every_time() {
    let authority = Authority::new();
    let table = authority.edge_table();
    let edge = Edge::start_alone(&format!("{table}{}", asks("required", &authority))).await;
    for version in [&TLS12, &TLS13] {
        let config = authority.client_as(&[version], &authority.client_files());
        for _ in 0..3 {
            let mut socket = subscribed(connect(&config, edge.server().public_addr()).await, &[]).await;
            assert_eq!(socket.ask(PING).await["type"], "pong");
            let kind = socket.stream().get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full));
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn another_authority_in_the_file_counts_for_all_who_come_then() {
    let (authority, next) = (Authority::new(), Authority::new());
    let table = authority.edge_table();
    let trusted = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(authority.certificate(), trusted.path()).unwrap();
    let asks = asks("required", &authority).replace(
        authority.certificate().to_str().unwrap(),
        trusted.path().to_str().unwrap(),
    );
    let edge = Edge::start_alone(&format!("{table}{asks}")).await;
    let address = edge.server().public_addr();
    let old = authority.client_as(&[&TLS13], &authority.client_files());
    let new = authority.client_as(&[&TLS13], &next.client_files());
    assert_eq!(alert(&new, address).await, Some(AlertDescription::UnknownCA));
    let mut socket = subscribed(connect(&old, address).await, &[]).await;
    std::fs::copy(next.certificate(), trusted.path()).unwrap();
    eventually("the new authority is trusted", async || {
        alert(&new, address).await.is_none().then_some(())
    })
    .await;
    assert_eq!(alert(&old, address).await, Some(AlertDescription::UnknownCA));
    assert_eq!(socket.ask(PING).await["type"], "pong");
    edge.stop().await;
}
