//! Live channels, commands and sessions.

use tailwater_protocol::command::Command;
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{Edge, NatsServer, RawSocket, Scrape, eventually, next, next_update, subscriber};

#[tokio::test]
async fn deliveries_are_messages_times_subscribers_and_their_bytes() {
    const MESSAGES: u32 = 7;
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), OPEN).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(subscriber(&edge, None, &["news"]).await);
    }
    let publisher = nats.client().await;
    for number in 0..MESSAGES {
        let payload = number.to_string().into();
        publisher
            .publish("news", payload)
            .await
            .expect("the connection lives");
    }
    publisher.flush().await.expect("the connection lives");
    for client in &mut clients {
        for _ in 0..MESSAGES {
            next_update(client).await;
        }
    }
    // A client reads the last update a moment before the walk that brought it is counted.
    eventually("every delivery is counted", async || {
        let scrape = Scrape::of(&edge).await;
        (scrape.value("tailwater_deliveries_total", "delivery=\"live\"") == 35.0).then_some(())
    })
    .await;
    let scrape = Scrape::of(&edge).await;
    assert_eq!(
        scrape.value("tailwater_deliveries_total", "delivery=\"durable\""),
        0.0
    );
    // Two bytes of header before each message.
    let message = r#"{"type":"update","channel":"news","payload":0}"#.len() + 2;
    let bytes = scrape.value("tailwater_delivered_bytes_total", "");
    assert_eq!(bytes, (35 * message) as f64);
    let batches = scrape.value("tailwater_batches_total", "");
    assert!((5.0..=35.0).contains(&batches), "{batches}");
    assert_eq!(
        scrape.value("tailwater_connections", "transport=\"websocket\""),
        5.0
    );
    drop(clients);
    eventually("nobody is connected", async || {
        let scrape = Scrape::of(&edge).await;
        (scrape.value("tailwater_connections", "transport=\"websocket\"") == 0.0).then_some(())
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn commands_are_counted_by_what_came_of_them() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), OPEN).await;
    let mut client = subscriber(&edge, None, &["a", "b.*"]).await;
    client
        .send(Some(1), Command::Ping)
        .await
        .expect("the connection lives");
    assert_eq!(next(&mut client).await.kind(), "pong");
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
    socket.next_json().await;
    for (command, code) in [
        (
            r#"{"type":"subscribe","channel":"a","since":"beginning"}"#,
            "not_durable",
        ),
        (r#"{"type":"publish","channel":"a","payload":1}"#, "forbidden"),
        (r#"{"type":"dance"}"#, "unknown_type"),
    ] {
        assert_eq!(socket.ask(command).await["code"], code);
    }
    let scrape = Scrape::of(&edge).await;
    let count = |command: &str, result: &str| {
        let labels = format!("command=\"{command}\",result=\"{result}\"");
        scrape.value("tailwater_commands_total", &labels)
    };
    assert_eq!((count("subscribe", "ok"), count("ping", "ok")), (2.0, 1.0));
    assert_eq!(
        (count("subscribe", "not_durable"), count("publish", "forbidden")),
        (1.0, 1.0)
    );
    assert_eq!(count("unknown", "unknown_type"), 1.0);
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_client_shows_in_what_waits_for_it_and_in_what_it_loses_and_not_as_delivered() {
    const MESSAGES: u32 = 400;
    let nats = NatsServer::start().await;
    let bounds = "[outbox]\nmax_bytes = 65536\nsend_buffer_bytes = 4096\nunsent_low_water_bytes = 1024\n";
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{bounds}")).await;
    let mut slow = RawSocket::open(edge.server().public_addr()).await;
    slow.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
    slow.next_json().await;
    let answer = slow.ask(r#"{"type":"subscribe","channel":"flood"}"#).await;
    assert_eq!(answer["type"], "subscribed");
    let publisher = nats.client().await;
    let payload = "x".repeat(64 * 1024);
    for _ in 0..MESSAGES {
        let sent = publisher.publish("flood", payload.clone().into()).await;
        sent.expect("the connection lives");
    }
    publisher.flush().await.expect("the connection lives");
    let scrape = eventually("the client is slow and has lost something", async || {
        let scrape = Scrape::of(&edge).await;
        (scrape.value("tailwater_lost_total", "reason=\"slow_consumer\"") > 0.0).then_some(scrape)
    })
    .await;
    assert_eq!(scrape.value("tailwater_slow_sessions", ""), 1.0);
    let waits = scrape.value("tailwater_outbox_bytes", "");
    assert!(
        waits > 0.0 && waits <= scrape.value("tailwater_outbox_limit_bytes", ""),
        "{waits}"
    );
    // Read all: what was not dropped has been delivered then, and the rest never.
    let (mut updates, mut lost) = (0, 0);
    while updates + lost < u64::from(MESSAGES) {
        let message = slow.next_json().await;
        match message["type"].as_str() {
            Some("update") => updates += 1,
            Some("lost") => lost += message["count"].as_u64().expect("a count"),
            _ => panic!("{message}"),
        }
    }
    let scrape = eventually("nothing waits any more", async || {
        let scrape = Scrape::of(&edge).await;
        (scrape.value("tailwater_slow_sessions", "") == 0.0).then_some(scrape)
    })
    .await;
    assert!(lost > 0);
    assert_eq!(
        scrape.value("tailwater_deliveries_total", "delivery=\"live\""),
        updates as f64
    );
    assert_eq!(scrape.value("tailwater_outbox_bytes", ""), 0.0);
    edge.stop().await;
}
