//! `GET /poll`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tailwater_tests::durable::Publisher;
use tailwater_tests::{Edge, RawSocket};

use super::{answered, ask, ask_on, edge, listed, of, poll, sessions};

#[tokio::test]
async fn a_poll_that_may_not_wait_brings_what_is_stored_in_parts_that_are_bounded() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let payload = json!("x".repeat(5000)).to_string();
    let mut stored = Vec::new();
    for _ in 0..50 {
        stored.push(publisher.store("d.1", payload.clone()).await);
    }
    let (mut seen, mut cursor, mut polls) = (Vec::new(), String::new(), 0);
    while seen.len() < 50 {
        let (messages, next) = poll(
            &edge,
            &format!("channel=d.1&since=beginning&wait=0&cursor={cursor}"),
        )
        .await;
        assert_eq!(of(&messages, "subscribed").len(), 1, "each answer has it");
        let updates = of(&messages, "update");
        assert!(!updates.is_empty() && updates.len() < 20, "{}", updates.len());
        seen.extend(
            updates
                .iter()
                .map(|update| update["offset"].as_u64().expect("an offset")),
        );
        let position = of(&messages, "position");
        assert_eq!(
            position.last().expect("where it stands")["offset"].as_u64(),
            seen.last().copied()
        );
        (cursor, polls) = (next, polls + 1);
    }
    assert_eq!(seen, stored);
    assert!(polls >= 4, "{polls}");
    let (messages, _) = poll(&edge, &format!("channel=d.1&wait=0&cursor={cursor}")).await;
    assert_eq!(of(&messages, "update"), Vec::<&Value>::new());
    edge.stop().await;
}

#[tokio::test]
async fn a_long_poll_is_answered_when_there_is_news_and_not_before() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let started = Instant::now();
    let (messages, cursor) = poll(&edge, "channel=live.a&channel=d.1&wait=1").await;
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "there is no news"
    );
    assert_eq!(of(&messages, "subscribed").len(), 2);
    for channel in ["live.a", "d.1"] {
        let mut socket = RawSocket::open(edge.server().public_addr()).await;
        let line = format!(
            "GET /poll?channel=live.a&channel=d.1&wait=60&cursor={cursor} HTTP/1.1\r\nHost: edge\r\n\r\n"
        );
        socket.send(line.as_bytes()).await;
        sessions(&edge, 1).await;
        let subscribed = async || (listed(&edge, "").await[0]["subscriptions"] == 2).then_some(());
        tailwater_tests::eventually("it has subscribed", subscribed).await;
        publisher
            .client()
            .publish(channel, "7".into())
            .await
            .expect("the connection lives");
        let head = socket.head().await;
        let body: Value = serde_json::from_str(&socket.body(&head).await).expect("JSON");
        let (messages, _) = answered(&body);
        let [update] = of(&messages, "update")[..] else {
            panic!("one update: {messages:?}")
        };
        assert_eq!(
            (&update["channel"], &update["payload"]),
            (&json!(channel), &json!(7))
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "nobody waited to the end"
    );
    edge.stop().await;
}

/// A poll that waits.
async fn wait_for_news(edge: &Edge) -> RawSocket {
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    socket
        .send(b"GET /poll?channel=live.a&wait=60 HTTP/1.1\r\nHost: edge\r\n\r\n")
        .await;
    sessions(edge, 1).await;
    socket
}

#[tokio::test]
async fn who_leaves_while_it_waits_leaves_nothing_behind() {
    let (_nats, edge) = edge("").await;
    let socket = wait_for_news(&edge).await;
    drop(socket);
    sessions(&edge, 0).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_cursor_of_another_life_of_the_stream_is_told_as_a_loss() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let stored = publisher.store("d.1", "1").await;
    let (messages, cursor) = poll(&edge, "channel=d.1&cursor=other-1.7&wait=0").await;
    assert_eq!(of(&messages, "subscribed")[0]["recovered"], false);
    assert_eq!(of(&messages, "lost")[0]["reason"], "epoch_changed");
    assert_eq!(of(&messages, "update").len(), 1, "from the oldest on");
    assert!(cursor.ends_with(&format!(".{stored}")), "{cursor}");
    for cursor in ["17", ".5", "a.b.c"] {
        let (status, _, body) = ask(&edge, &format!("GET /poll?channel=d.1&cursor={cursor}"), &[], "").await;
        assert_eq!((status, &body["code"]), (400, &json!("bad_cursor")), "{cursor}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn polls_on_one_connection_last_longer_than_requests_may() {
    let config =
        "[websocket]\nheader_timeout_secs = 1\n[namespace.live]\nchannels = \"live.>\"\nanonymous = true\n";
    let nats = tailwater_tests::NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), config).await;
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    // Longer than the whole HTTP phase of a connection that becomes a WebSocket.
    for _ in 0..2 {
        let (status, _, body) = ask_on(&mut socket, "GET /poll?channel=live.a&wait=4", &[], "").await;
        assert_eq!(status, 200, "{body}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn polls_are_answered_when_the_edge_stops() {
    let (_nats, edge) = edge("").await;
    let mut socket = wait_for_news(&edge).await;
    let started = Instant::now();
    edge.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "nobody waits for news any more"
    );
    let head = socket.head().await;
    let body: Value = serde_json::from_str(&socket.body(&head).await).expect("JSON");
    let (messages, _) = answered(&body);
    assert_eq!(messages.last().expect("a message")["code"], 1012, "{messages:?}");
}
