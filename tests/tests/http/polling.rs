//! `GET /poll`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tailwater_tests::durable::Publisher;
use tailwater_tests::{Edge, RawSocket, Service, eventually};

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
async fn a_poll_brings_what_fits_at_once_though_what_follows_does_not() {
    // What one may have, and what is left for all of them.
    for (bound, sizes) in [
        ("", [20_000, 60_000, 20_000]),
        ("[outbox]\nmax_total_bytes = 12288\n", [3000, 3000, 3000]),
    ] {
        let (nats, edge) = edge(bound).await;
        let publisher = Publisher::connect(nats.url()).await;
        for size in sizes {
            publisher.store("d.1", json!("x".repeat(size)).to_string()).await;
        }
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        let started = Instant::now();
        while seen.len() < sizes.len() {
            let (messages, next) = poll(
                &edge,
                &format!("channel=d.1&since=beginning&wait=10&cursor={cursor}"),
            )
            .await;
            let updates = of(&messages, "update").into_iter();
            seen.extend(updates.map(|update| update["payload"].as_str().expect("text").len()));
            cursor = next;
        }
        assert_eq!(seen, sizes);
        let (messages, _) = poll(&edge, "channel=d.1&since=beginning&channel=d.2&wait=0").await;
        assert_eq!(of(&messages, "subscribed").len(), 2, "{messages:?}");
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "nothing has to be waited for"
        );
        edge.stop().await;
    }
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
        eventually("it has subscribed", subscribed).await;
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
async fn a_poll_that_is_ended_from_outside_brings_nothing_that_waited_and_the_place_where_its_client_stood() {
    let hooked = "[namespace.hooked]\nchannels = \"hooked.>\"\nanonymous = true\nsubscribe_hook = true\n\
                  [hook.subscribe]\nsubject = \"_hooks.subscribe\"\ntimeout_ms = 60000\n";
    let (nats, edge) = edge(hooked).await;
    // What is stored waits for the second channel, about which nobody decides.
    let _silent = Service::start(&nats, "_hooks.subscribe", |_| None).await;
    let publisher = Publisher::connect(nats.url()).await;
    let first = publisher.store("d.1", "1").await;
    publisher.store("d.1", "2").await;
    let (_, cursor) = poll(&edge, "channel=d.1&since=last:2&wait=0").await;
    let cursor = cursor.replace(&format!(".{}", first + 1), &format!(".{first}"));
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let line = format!("GET /poll?channel=d.1&channel=hooked.a&cursor={cursor} HTTP/1.1");
    socket
        .send(format!("{line}\r\nHost: edge\r\n\r\n").as_bytes())
        .await;
    let waits = eventually("the publication waits", async || {
        let sessions = listed(&edge, "").await;
        let session = sessions.first()?;
        let is_read = session["subscriptions"] == 1 && session["behind"] == 0;
        is_read.then(|| session["id"].as_str().expect("text").to_owned())
    });
    let session = waits.await;
    let mut operator = RawSocket::open(edge.server().admin_addr()).await;
    let line = format!("DELETE /sessions/{session} HTTP/1.1");
    let head = operator.request(&line, &["Host: localhost"]).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let head = socket.head().await;
    let body: Value = serde_json::from_str(&socket.body(&head).await).expect("JSON");
    let (messages, place) = answered(&body);
    let [close] = &messages[..] else {
        panic!("nothing but the close: {messages:?}")
    };
    assert_eq!((&close["type"], &close["code"]), (&json!("close"), &json!(4410)));
    let query = format!("channel=d.1&wait=0&cursor={}", place.trim_end_matches(','));
    let (messages, _) = poll(&edge, &query).await;
    assert_eq!(of(&messages, "update")[0]["payload"], 2, "{messages:?}");
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
