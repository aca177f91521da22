//! `GET /sse`.

use serde_json::{Value, json};
use tailwater_tests::durable::Publisher;
use tailwater_tests::token::{IDENTITY, now, token};
use tailwater_tests::{EventSource, RawSocket, eventually};

use super::{ask, edge, listed, sessions, stream};

#[tokio::test]
async fn a_stream_brings_what_a_websocket_would() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let first = publisher.store("d.1", r#"{"n":1}"#).await;
    let mut stream = stream(
        &edge,
        "channel=d.%2A&since=beginning&channel=live.a&channel=no.such",
    )
    .await;
    let connected = stream.next().await.expect("a message");
    assert_eq!(
        (&connected["type"], &connected["protocol"]),
        (&json!("connected"), &json!(1))
    );
    let subscribed = stream.next().await.expect("a message");
    assert_eq!(
        (&subscribed["type"], &subscribed["recovered"]),
        (&json!("subscribed"), &json!(true))
    );
    // The one does not wait for the other.
    let (mut update, mut error) = (Value::Null, Value::Null);
    while update.is_null() || error.is_null() {
        let message = stream.next().await.expect("a message");
        match message["type"].as_str() {
            Some("update") => update = message,
            Some("error") => error = message,
            _ => {}
        }
    }
    assert_eq!(
        (
            &update["channel"],
            &update["subject"],
            &update["offset"],
            &update["payload"]
        ),
        (&json!("d.*"), &json!("d.1"), &json!(first), &json!({"n": 1}))
    );
    assert!(update["time"].is_string());
    assert_eq!(
        (&error["code"], &error["channel"]),
        (&json!("no_such_channel"), &json!("no.such"))
    );
    // What is published may be spread over lines.
    let text = "{\r\n  \"n\": [\n 2 ]}";
    publisher
        .client()
        .publish("live.a", text.into())
        .await
        .expect("the connection lives");
    let update = stream.next_of("update").await;
    assert_eq!(
        (&update["channel"], &update["payload"]),
        (&json!("live.a"), &json!({"n": [2]}))
    );
    assert_eq!(listed(&edge, "").await[0]["transport"], "sse");
    drop(stream);
    sessions(&edge, 0).await;
    edge.stop().await;
}

#[tokio::test]
async fn the_last_values_come_first_and_are_all_there_when_the_position_comes() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut stored = Vec::new();
    for subject in ["d.1", "d.2", "d.1"] {
        stored.push(publisher.store(subject, json!(subject).to_string()).await);
    }
    for (query, offsets) in [
        ("channel=d.%2A", &stored[1..]),
        ("channel=d.2", &stored[1..2]),
        ("channel=d.9", &[]),
    ] {
        let mut stream = stream(&edge, &format!("{query}&latest=true")).await;
        let subscribed = stream.next_of("subscribed").await;
        let before = stream.last_id().to_owned();
        let mut seen = Vec::new();
        let position = loop {
            let message = stream.next().await.expect("a message");
            match message["type"].as_str() {
                Some("update") => seen.push(message["offset"].as_u64().expect("an offset")),
                _ => break message,
            }
        };
        assert_eq!(
            (&position["type"], &position["offset"]),
            (&json!("position"), &subscribed["offset"])
        );
        assert_eq!(seen, offsets, "{query}");
        assert_eq!(before, "", "who loses the stream before gets them again");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives_and_who_is_gone_is_let_go() {
    let (_nats, edge) = edge("").await;
    let config = "[websocket]\nping_interval_secs = 2\nclose_timeout_secs = 0\n";
    let (_nats, lively) = {
        let nats = tailwater_tests::NatsServer::start().await;
        let open = format!("{config}[namespace.all]\nchannels = \">\"\nanonymous = true\n");
        let lively = tailwater_tests::Edge::start_with(nats.url(), &open).await;
        (nats, lively)
    };
    let mut silent = stream(&lively, "channel=a").await;
    silent.next_of("subscribed").await;
    let block = silent.socket().next_block().await;
    assert_eq!(block.as_deref(), Some(":"), "a comment each interval");
    drop(silent);
    sessions(&lively, 0).await;
    lively.stop().await;
    // Nobody may say more on the connection of a stream.
    let mut chatty = stream(&edge, "channel=live.a").await;
    chatty.next_of("subscribed").await;
    chatty.socket().send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(chatty.next_of("close").await["code"], 1002);
    assert_eq!(chatty.next().await, None);
    edge.stop().await;
}

#[tokio::test]
async fn the_client_is_told_why_its_stream_ends() {
    let (_nats, edge) = edge(IDENTITY).await;
    let address = edge.server().public_addr();
    let authorization = |token: &str| format!("Authorization: Bearer {token}");
    let short = authorization(&token("ann", json!({"exp": now() + 1})));
    let mut expiring = EventSource::open(address, "/sse?channel=live.a", &[&short]).await;
    let bob = authorization(&token("bob", json!({})));
    let mut revoked = EventSource::open(address, "/sse?channel=live.a", &[&bob]).await;
    assert_eq!(revoked.next_of("connected").await["user"], "bob");
    revoked.next_of("subscribed").await;
    let id = listed(&edge, "?user=bob").await[0]["id"]
        .as_str()
        .expect("a session")
        .to_owned();
    let admin = edge.server().admin_addr();
    let mut operator = RawSocket::open(admin).await;
    let body = json!({"session": id}).to_string();
    let length = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let head = operator
        .request(
            "POST /sessions/disconnect HTTP/1.1",
            &["Host: localhost", "Content-Type: application/json", &length],
        )
        .await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(revoked.next_of("close").await["code"], 4410);
    let expired = expiring.next_of("error").await;
    assert_eq!(expired["code"], "token_expired");
    let advice = expired["message"].as_str().expect("text");
    assert!(advice.contains("ask again with a new one"), "{advice}");
    assert_eq!(expiring.next_of("close").await["code"], 4401);
    let mut drained = stream(&edge, "channel=live.a").await;
    drained.next_of("subscribed").await;
    edge.stop().await;
    assert_eq!(drained.next_of("close").await["code"], 1012);
    assert_eq!(drained.next().await, None);
}

#[tokio::test]
async fn who_may_not_have_a_stream_is_told_by_the_status() {
    let closed = "[namespace.users]\nchannels = \"users.>\"\nallow_subscribe = \"users.{sub}.>\"\n";
    let nats = tailwater_tests::NatsServer::start().await;
    let edge = tailwater_tests::Edge::start_with(nats.url(), &format!("{closed}{IDENTITY}")).await;
    let expired = format!(
        "Authorization: Bearer {}",
        token("ann", json!({"exp": now() - 5}))
    );
    for (line, headers, status, says) in [
        ("GET /sse?channel=users.a", vec![], 401, "send a token"),
        (
            "GET /sse?channel=users.a",
            vec!["Authorization: Bearer x.y.z"],
            401,
            "token",
        ),
        ("GET /sse?channel=users.a", vec![expired.as_str()], 401, "expired"),
        ("GET /poll?channel=users.a", vec![], 401, "send a token"),
        ("GET /sse?channel=a..b", vec![], 400, "`channel`"),
        ("GET /sse?channel=a", vec!["Last-Event-ID: x"], 400, "cursor"),
        (
            "GET /sse?channel=a",
            vec!["Origin: https://evil.example"],
            403,
            "Origin",
        ),
        ("POST /sse?channel=a", vec![], 405, "use GET"),
    ] {
        let (found, head, body) = ask(&edge, line, &headers, "").await;
        assert_eq!(found, status, "{line}: {head}{body}");
        assert!(head.contains("\r\ndate: "), "{line}: {head}");
        assert!(body.to_string().contains(says), "{line}: {body}");
    }
    // Who may listen to something may not listen to all.
    let ann = format!("Authorization: Bearer {}", token("ann", json!({})));
    let target = "/sse?channel=users.ann.x&channel=users.bob.x";
    let mut stream = EventSource::open(edge.server().public_addr(), target, &[&ann]).await;
    assert_eq!(stream.next_of("subscribed").await["channel"], "users.ann.x");
    assert_eq!(stream.next_of("error").await["channel"], "users.bob.x");
    edge.stop().await;
}

#[tokio::test]
async fn pages_of_origins_that_may_connect_may_read_the_answers() {
    let (_nats, edge) = edge("[origin]\nallow = [\"https://app.example.com\"]\n").await;
    let origin = "Origin: https://app.example.com";
    for (line, headers) in [
        (
            "OPTIONS /command",
            vec![origin, "Access-Control-Request-Method: POST"],
        ),
        ("GET /poll?channel=live.a&wait=0", vec![origin]),
        ("GET /sse?channel=a..b", vec![origin]),
        ("POST /publish?channel=no.such", vec![origin]),
    ] {
        let (_, head, _) = ask(&edge, line, &headers, "").await;
        for header in [
            "access-control-allow-origin: https://app.example.com\r\n",
            "access-control-allow-credentials: true\r\n",
            "vary: origin\r\n",
        ] {
            assert!(head.contains(header), "{line}: {head}");
        }
    }
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    let head = socket
        .request("GET /sse?channel=live.a HTTP/1.1", &["Host: edge", origin])
        .await;
    assert!(
        head.contains("access-control-allow-origin: https://app.example.com\r\n"),
        "{head}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_a_durable_channel() {
    let (nats, edge) = edge("").await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut slow = RawSocket::open_narrow(edge.server().public_addr()).await;
    let head = slow
        .request("GET /sse?channel=d.1&since=beginning HTTP/1.1", &["Host: edge"])
        .await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let payload = json!("x".repeat(10_000)).to_string();
    let mut stored = Vec::new();
    for _ in 0..300 {
        stored.push(publisher.store("d.1", payload.clone()).await);
    }
    eventually("it is behind", async || {
        (listed(&edge, "").await[0]["behind"] == 1).then_some(())
    })
    .await;
    let mut expected = stored.into_iter().peekable();
    while expected.peek().is_some() {
        let block = slow.next_block().await.expect("the stream lives");
        let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) else {
            continue;
        };
        let message: Value = serde_json::from_str(data).expect("JSON");
        if message["type"] == "update" {
            assert_eq!(message["offset"].as_u64(), expected.next());
        }
    }
    drop(slow);
    edge.stop().await;
}
