//! Who gets in, how, and how long that may take.

use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion};
use tailwater_edge::client::{Client, ClientError, Trust};
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{Authority, Edge, NatsServer, RawSocket, Scrape, eventually, next, soon};

use crate::clients::{connect, subscribed};

const PING: &str = r#"{"type":"ping"}"#;

#[tokio::test]
async fn both_versions_of_tls_carry_a_session_and_agree_on_http_1_1() {
    let authority = Authority::new();
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{}", authority.edge_table())).await;
    assert!(edge.ws().starts_with("wss://"), "{}", edge.ws());
    let publisher = nats.client().await;
    let versions = [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ];
    for (version, expected) in versions {
        let socket = connect(&authority.client(&[version]), edge.server().public_addr()).await;
        let tls = socket.stream().get_ref().1;
        assert_eq!(tls.protocol_version(), Some(expected));
        assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut socket = subscribed(socket, &["chat.a"]).await;
        publisher.publish("chat.a", "1".into()).await.unwrap();
        publisher.flush().await.unwrap();
        assert_eq!(socket.next_json().await["payload"], 1);
        let publish = r#"{"type":"publish","channel":"chat.a","payload":2,"id":5}"#;
        let answers = [socket.ask(publish).await, socket.next_json().await];
        assert!(
            answers.iter().any(|answer| answer["type"] == "published"),
            "{answers:?}"
        );
        assert!(answers.iter().any(|answer| answer["payload"] == 2), "{answers:?}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_its_tls_session_at_any_worker() {
    let authority = Authority::new();
    let edge = Edge::start_alone(&authority.edge_table()).await;
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version]);
        for attempt in 0..6 {
            let mut socket = subscribed(connect(&config, edge.server().public_addr()).await, &[]).await;
            assert_eq!(socket.ask(PING).await["type"], "pong");
            let expected = match attempt {
                0 => HandshakeKind::Full,
                _ => HandshakeKind::Resumed,
            };
            assert_eq!(socket.stream().get_ref().1.handshake_kind(), Some(expected));
        }
    }
    edge.stop().await;
}

/// So many handshakes have failed.
async fn counted(edge: &Edge, expected: f64) {
    eventually("they are counted", async || {
        let scrape = Scrape::of(edge).await;
        let count = scrape.value("tailwater_handshakes_total", "result=\"tls_failed\"");
        (count == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn our_own_client_trusts_the_authority_that_it_is_given_and_no_other() {
    let authority = Authority::new();
    let edge = Edge::start_alone(&authority.edge_table()).await;
    let trust = authority.trust();
    let connected = Client::connect_as(edge.ws(), None, &trust, None);
    let mut client = soon("a connection", connected).await.expect("it is trusted");
    assert_eq!(next(&mut client).await.kind(), "connected");
    for trust in [Trust::System, Authority::new().trust()] {
        let refused = soon("a refusal", Client::connect_as(edge.ws(), None, &trust, None)).await;
        let error = refused.expect_err("nobody vouches for it");
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    }
    drop(client);
    counted(&edge, 2.0).await;
    edge.stop().await;
}

#[tokio::test]
async fn half_a_client_hello_is_cut_when_the_time_for_a_handshake_is_over() {
    let authority = Authority::new();
    let config = format!("{}[websocket]\nheader_timeout_secs = 1\n", authority.edge_table());
    let edge = Edge::start_alone(&config).await;
    // Nothing; a header; a header that promises more than comes.
    for start in [&b""[..], &[22, 3, 1], &[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3]] {
        let began = Instant::now();
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        socket.send(start).await;
        assert_eq!(socket.read_to_end().await, b"");
        let lasted = began.elapsed();
        let bounds = Duration::from_millis(900)..Duration::from_secs(5);
        assert!(bounds.contains(&lasted), "{lasted:?}");
    }
    counted(&edge, 0.0).await;
    edge.stop().await;
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_to_use_tls_and_other_bytes_get_an_alert() {
    let authority = Authority::new();
    let edge = Edge::start_alone(&authority.edge_table()).await;
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let head = socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let body = socket.read_to_end().await;
    assert_eq!(body, b"this port speaks TLS only: use https:// or wss://\n");

    // Records of an unknown type, of an impossible length, and a hello that is none.
    let cases = [
        &b"\0\x01\x02\x03\x04\x05\x06\x07"[..],
        &[22, 3, 1, 255, 255, 1, 0, 0, 0],
        &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0],
    ];
    for case in cases {
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        socket.send(case).await;
        let answer = socket.read_to_end().await;
        assert_eq!(answer.first(), Some(&21), "{case:?} is answered with {answer:?}");
    }
    counted(&edge, 4.0).await;
    edge.stop().await;
}
