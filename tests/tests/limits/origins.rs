//! Which web pages may connect.

use tailwater_edge::config::Config;
use tailwater_tests::Edge;

use super::{ATTACKER, Honest, handshake};

#[tokio::test]
async fn pages_of_other_sites_may_not_connect_and_the_servers_own_and_other_programs_may() {
    let edge = Edge::start_alone("").await;
    let address = edge.server().public_addr();
    let connect = async |origin: &str| handshake(ATTACKER, address, &[origin]).await.map(drop);
    for evil in [
        "Origin: https://evil.example",
        "Origin: http://edge.evil.example",
        "Origin: null",
        "Origin: edge",
        "Origin: http://edge\r\nOrigin: https://evil.example",
    ] {
        let refused = connect(evil).await.expect_err(evil);
        assert!(refused.starts_with("HTTP/1.1 403 "), "{evil}: {refused}");
    }
    // The host of `Host` is `edge`.
    for own in ["Origin: http://edge", "Origin: https://EDGE:8443"] {
        connect(own).await.expect(own);
    }
    Honest::connect(address).await.is_served().await;
    edge.stop().await;
}

#[tokio::test]
async fn pages_that_are_named_may_connect_and_no_others() {
    let edge =
        Edge::start_alone("[origin]\nallow = [\"https://*.example.com\", \"http://localhost:5173\"]").await;
    let address = edge.server().public_addr();
    for (origin, status) in [
        ("https://shop.example.com", "101"),
        ("http://localhost:5173", "101"),
        ("http://shop.example.com", "403"),
        ("https://example.com", "403"),
        ("http://localhost:5174", "403"),
        // Not even the server's own, unless it is named.
        ("http://edge", "403"),
    ] {
        let head = match handshake(ATTACKER, address, &[&format!("Origin: {origin}")]).await {
            Ok(_) => "HTTP/1.1 101 ".to_owned(),
            Err(head) => head,
        };
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{origin}: {head}"
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn in_development_every_page_of_this_machine_may_connect() {
    let flags = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("nats.url", "nats://127.0.0.1:1".to_owned()),
    ];
    let config = Config::development(None, [], &flags).expect("it is right");
    let server = tailwater_edge::Server::start(config).await.expect("it starts");
    let address = server.public_addr();
    for mine in [
        "http://localhost:5173",
        "https://127.0.0.1:8443",
        "http://app.localhost",
    ] {
        let socket = handshake(ATTACKER, address, &[&format!("Origin: {mine}")]).await;
        assert!(socket.is_ok(), "{mine}");
    }
    let evil = handshake(ATTACKER, address, &["Origin: https://evil.example"]).await;
    assert!(evil.is_err_and(|head| head.starts_with("HTTP/1.1 403 ")));
    server.stop().await.expect("a clean end");
}
