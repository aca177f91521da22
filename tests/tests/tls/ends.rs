//! How connections over TLS go on and how they end.

use std::io::ErrorKind;

use rustls::version::{TLS12, TLS13};
use tailwater_tests::raw_socket::{HANDSHAKE, frame};
use tailwater_tests::{Authority, Edge, NatsServer, eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{Secure, attempt, connect, subscribed};

const PING: &str = r#"{"type":"ping"}"#;

/// Reads to the end. Fails if the edge has not said `close_notify` before its end.
async fn read_to_close_notify(socket: &mut Secure) -> Vec<u8> {
    let mut rest = Vec::new();
    soon("the end", socket.stream_mut().read_to_end(&mut rest))
        .await
        .expect("the edge says close_notify");
    rest
}

#[tokio::test]
async fn new_keys_in_the_middle_of_a_session_change_nothing() {
    let authority = Authority::new();
    let nats = NatsServer::start().await;
    let config = format!("{}{}", tailwater_tests::edge::OPEN, authority.edge_table());
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = nats.client().await;
    let socket = connect(&authority.client(&[&TLS13]), edge.server().public_addr()).await;
    let mut socket = subscribed(socket, &["a"]).await;
    for round in 0..40 {
        // Asks the edge for new keys too.
        socket.stream_mut().get_mut().1.refresh_traffic_keys().unwrap();
        assert_eq!(socket.ask(PING).await["type"], "pong");
        publisher.publish("a", round.to_string().into()).await.unwrap();
        publisher.flush().await.unwrap();
        assert_eq!(socket.next_json().await["payload"], round);
    }
    edge.stop().await;
}

#[tokio::test]
async fn garbage_in_the_middle_of_a_session_gets_an_alert_and_frees_its_place() {
    let authority = Authority::new();
    let config = format!("{}[websocket]\nmax_connections = 1\n", authority.edge_table());
    let edge = Edge::start_alone(&config).await;
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version]);
        // A record that was not made with the keys, one of a wrong length, and no record at all.
        for garbage in [&[23, 3, 3, 0, 24][..], &[23, 3, 3, 255, 255], b"GET / HTTP/1.1"] {
            let address = edge.server().public_addr();
            let attempt = async || {
                let mut socket = attempt(&config, address).await.ok()?;
                let head = socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
                head.starts_with("HTTP/1.1 101 ").then_some(socket)
            };
            let mut socket = eventually("the one place is free", attempt).await;
            assert_eq!(socket.next_json().await["type"], "connected");
            let tcp = socket.stream_mut().get_mut().0;
            tcp.write_all(garbage).await.unwrap();
            tcp.write_all(&[7; 24]).await.unwrap();
            let end = soon("the end", socket.stream_mut().read(&mut [0; 100])).await;
            let error = end.expect_err("an alert");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains("alert"), "{error}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_clean_end_of_either_side_is_a_close_notify() {
    let authority = Authority::new();
    let edge = Edge::start_alone(&authority.edge_table()).await;
    let address = edge.server().public_addr();
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version]);

        // The client closes the WebSocket.
        let mut socket = subscribed(connect(&config, address).await, &[]).await;
        socket.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
        assert_eq!(read_to_close_notify(&mut socket).await, [0x88, 2, 3, 232]);

        // It ends TLS alone, in the middle of everything.
        let mut socket = subscribed(connect(&config, address).await, &[]).await;
        socket.stream_mut().shutdown().await.unwrap();
        assert_eq!(read_to_close_notify(&mut socket).await, b"");

        // A refused handshake, and a page, after which the edge is to close.
        for (line, status) in [("GET /nothing HTTP/1.1", "404"), ("GET /ws HTTP/1.1", "426")] {
            let mut socket = connect(&config, address).await;
            let head = socket.request(line, &["Host: edge", "Connection: close"]).await;
            assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
            read_to_close_notify(&mut socket).await;
        }
    }

    // The edge stops.
    let config = authority.client(&[&TLS13]);
    let mut socket = subscribed(connect(&config, address).await, &[]).await;
    let stopping = tokio::spawn(edge.stop());
    let rest = read_to_close_notify(&mut socket).await;
    assert_eq!(&rest[..1], [0x88], "the close frame comes before");
    assert_eq!(u16::from_be_bytes([rest[2], rest[3]]), 1012);
    drop(socket);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_command_that_comes_with_the_handshake_is_carried_out() {
    let authority = Authority::new();
    let config = format!("{}[limits]\ncommands_per_sec = 0\n", authority.edge_table());
    let edge = Edge::start_alone(&config).await;
    let mut socket = connect(&authority.client(&[&TLS13]), edge.server().public_addr()).await;
    let mut bytes = format!("GET /ws HTTP/1.1\r\n{}\r\n\r\n", HANDSHAKE.join("\r\n")).into_bytes();
    // More than hyper reads at once, so that a part of it is still encrypted, or decrypted and unread, then.
    for _ in 0..2000 {
        bytes.extend(frame(0x81, PING.as_bytes()));
    }
    socket.send(&bytes).await;
    let head = socket.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(socket.next_json().await["type"], "connected");
    for _ in 0..2000 {
        assert_eq!(socket.next_json().await["type"], "pong");
    }
    edge.stop().await;
}
