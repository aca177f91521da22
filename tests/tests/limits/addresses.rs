//! Connections and handshakes by address and in all.

use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{Authority, Edge, RawSocket, eventually};

use super::{ATTACKER, Honest, handshake, refusal, secure_handshake};

#[tokio::test]
async fn one_address_cannot_take_all_places_even_without_a_handshake() {
    let edge =
        Edge::start_alone("[websocket]\nmax_connections = 12\n[limits]\nconnections_per_address = 5").await;
    let address = edge.server().public_addr();
    let mut idle = Vec::new();
    for _ in 0..5 {
        let mut socket = RawSocket::open_from(ATTACKER, address).await;
        let head = socket.request("GET /nothing HTTP/1.1", &["Host: edge"]).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        idle.push(socket);
    }
    for _ in 0..20 {
        let refused = handshake(ATTACKER, address, &[])
            .await
            .err()
            .expect("a place too many");
        assert_eq!(refusal(&refused), ("429", 5));
    }
    let mut honest = Vec::new();
    for _ in 0..5 {
        honest.push(Honest::connect(address).await);
    }
    for honest in &mut honest {
        honest.is_served().await;
    }
    // Places come back, and belong to sessions too.
    drop(idle);
    let mut sessions = Vec::new();
    while sessions.len() < 5 {
        let session = eventually("a place of the attacker", async || {
            handshake(ATTACKER, address, &[]).await.ok()
        });
        sessions.push(session.await);
    }
    assert!(handshake(ATTACKER, address, &[]).await.is_err());
    drop((honest, sessions));
    edge.stop().await;
}

#[tokio::test]
async fn over_tls_too_a_client_is_told_that_its_address_or_the_server_is_full() {
    let authority = Authority::new();
    let trust = authority.client(&[&rustls::version::TLS13]);
    for (limit, told) in [
        ("[limits]\nconnections_per_address = 2", ("429", 5)),
        ("[websocket]\nmax_connections = 2", ("503", 1)),
    ] {
        let edge = Edge::start_alone(&format!("{}{limit}", authority.edge_table())).await;
        let address = edge.server().public_addr();
        let mut held = Vec::new();
        for _ in 0..2 {
            let socket = secure_handshake(&trust, address).await.unwrap();
            held.push(socket.expect("there is room"));
        }
        for _ in 0..10 {
            let refused = secure_handshake(&trust, address).await.unwrap().err();
            assert_eq!(refusal(&refused.expect("a place too many")), told);
        }
        for socket in &mut held {
            assert_eq!(socket.next_json().await["type"], "connected");
            assert_eq!(socket.ask(r#"{"type":"ping"}"#).await["type"], "pong");
        }
        drop(held);
        edge.stop().await;
    }
}

#[tokio::test]
async fn telling_tls_clients_why_they_are_refused_is_bounded() {
    let authority = Authority::new();
    let trust = authority.client(&[&rustls::version::TLS13]);
    let edge = Edge::start_alone(&format!(
        "{}[limits]\nconnections_per_address = 1",
        authority.edge_table()
    ))
    .await;
    let address = edge.server().public_addr();
    let _held = secure_handshake(&trust, address).await.unwrap();
    // Who only begins is told nothing and holds one of few places for that, until they are all taken.
    let mut half = Vec::new();
    for _ in 0..200 {
        half.push(RawSocket::open_from(ATTACKER, address).await);
    }
    eventually("the rest is cut without a word", async || {
        secure_handshake(&trust, address).await.err()
    })
    .await;
    drop(half);
    edge.stop().await;
}

#[tokio::test]
async fn an_address_that_connects_again_and_again_is_slowed_down_and_others_are_not() {
    let config = "[limits]\nhandshakes_per_address_per_sec = 4\nburst_secs = 2";
    let edge = Edge::start_alone(config).await;
    let address = edge.server().public_addr();
    let (mut made, mut told) = (0, None);
    for _ in 0..60 {
        match handshake(ATTACKER, address, &[]).await {
            Ok(_) => made += 1,
            Err(head) => told = Some(head),
        }
    }
    // The burst of eight, and four a second since then.
    assert!((8..40).contains(&made), "{made} handshakes");
    let told = told.expect("it is told");
    assert_eq!(refusal(&told).0, "429");
    assert!((1..=2).contains(&refusal(&told).1), "{told}");
    let mut honest = Honest::connect(address).await;
    honest.is_served().await;
    eventually("its next one", async || {
        handshake(ATTACKER, address, &[]).await.ok()
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn all_handshakes_together_are_bounded_and_sessions_are_served_meanwhile() {
    let config = "[limits]\nhandshakes_per_sec = 4\nburst_secs = 2\nhandshakes_per_address_per_sec = 5";
    let edge = Edge::start_alone(config).await;
    let address = edge.server().public_addr();
    let mut honest = Honest::connect(address).await;
    let mut refused = 0;
    for _ in 0..40 {
        if let Err(head) = handshake(ATTACKER, address, &[]).await {
            assert!(["503", "429"].contains(&refusal(&head).0), "{head}");
            refused += usize::from(refusal(&head).0 == "503");
        }
        honest.is_served().await;
    }
    assert!(refused > 0, "no storm of handshakes is refused");
    edge.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_gets_no_more_time_for_being_refused() {
    let config = "[websocket]\nmax_connections = 1\n[limits]\nconnections_per_address = 1";
    let edge = Edge::start_alone(config).await;
    let address = edge.server().public_addr();
    let mut held = RawSocket::open_from(ATTACKER, address).await;
    let head = held.request("GET /nothing HTTP/1.1", &["Host: edge"]).await;
    held.body(&head).await;
    let mut endless = RawSocket::open_from(ATTACKER, address).await;
    endless.send(b"GET /ws HTTP/1.1\r\n").await;
    assert_eq!(endless.read_to_end().await, b"");
    let mut whole = RawSocket::open_from(ATTACKER, address).await;
    let head = whole.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
    assert_eq!(refusal(&head).0, "503");
    assert!(whole.body(&head).await.contains("no room"));
    edge.stop().await;
}
