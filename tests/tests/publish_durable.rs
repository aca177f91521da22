//! Publications of clients on durable channels: acknowledged by the stream, idempotent by their key, or refused aloud.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use futures_util::TryStreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use tailwater_tests::{Edge, NatsProcess, NatsServer, RawSocket, eventually};

const CHAT: &str = r#"
[namespace.chat]
channels = "chat.>"
durable = true
anonymous = true
publish = true
"#;

/// The stream of the namespace, which the edge creates.
async fn stream(url: &str) -> (jetstream::Context, stream::Stream) {
    let context = jetstream::new(async_nats::connect(url).await.expect("it listens"));
    let stream = eventually("the stream CHAT", async || context.get_stream("CHAT").await.ok()).await;
    (context, stream)
}

/// Publications that the stream has of one subject.
async fn count(stream: &stream::Stream, subject: &str) -> usize {
    let subjects = stream.info_with_subjects(subject).await.expect("it is there");
    let counts: Vec<_> = subjects.try_collect().await.expect("its subjects");
    counts.iter().map(|(_, count)| count).sum()
}

/// A JSON session that has been welcomed.
async fn session(edge: &Edge) -> RawSocket {
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    assert_eq!(socket.next_json().await["type"], "connected");
    socket
}

fn publish(channel: &str, payload: &Value, key: Option<&str>) -> String {
    let mut command = json!({"type": "publish", "id": 1, "channel": channel, "payload": payload});
    if let Some(key) = key {
        command["key"] = json!(key);
    }
    command.to_string()
}

/// Publishes, and gives the offset and whether it was there before.
async fn published(socket: &mut RawSocket, command: &str) -> (u64, bool) {
    let answer = socket.ask(command).await;
    assert_eq!(
        (&answer["type"], &answer["id"]),
        (&json!("published"), &json!(1)),
        "{answer}"
    );
    let offset = answer["offset"].as_u64().expect("a number");
    (offset, answer["duplicate"].as_bool().unwrap_or(false))
}

/// Publishes, expects an `error` with this code whose message holds `says`, and gives it.
async fn refused(socket: &mut RawSocket, command: &str, code: &str, says: &str) -> Value {
    let answer = socket.ask(command).await;
    assert_eq!(
        (&answer["type"], &answer["code"], &answer["id"]),
        (&json!("error"), &json!(code), &json!(1)),
        "{answer}"
    );
    assert!(
        answer["message"].as_str().expect("a sentence").contains(says),
        "{answer}"
    );
    assert_eq!(
        socket.ask(r#"{"type":"ping","id":9}"#).await,
        json!({"type": "pong", "id": 9})
    );
    answer
}

#[tokio::test]
async fn a_publication_is_answered_with_the_offset_at_which_the_stream_has_it() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CHAT).await;
    let (_, stream) = stream(nats.url()).await;
    let mut socket = session(&edge).await;
    let mut last = 0;
    for number in 0..3 {
        let command = publish("chat.a", &json!({"number": number}), None);
        let (offset, duplicate) = published(&mut socket, &command).await;
        assert!(offset > last && !duplicate);
        let message = stream.get_raw_message(offset).await.expect("it is stored");
        assert_eq!(message.subject.as_str(), "chat.a");
        assert_eq!(
            serde_json::from_slice::<Value>(&message.payload).expect("JSON"),
            json!({"number": number})
        );
        last = offset;
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_key_makes_a_retry_one_publication_over_any_connection_to_any_edge() {
    let nats = NatsServer::start().await;
    let edges = [
        Edge::start_with(nats.url(), CHAT).await,
        Edge::start_with(nats.url(), CHAT).await,
    ];
    stream(nats.url()).await;
    let mut first = session(&edges[0]).await;
    let command = publish("chat.a", &json!("once"), Some("k-1"));
    let (offset, duplicate) = published(&mut first, &command).await;
    assert!(!duplicate);
    assert_eq!(published(&mut first, &command).await, (offset, true));
    drop(first);
    for edge in &edges {
        let mut again = session(edge).await;
        assert_eq!(published(&mut again, &command).await, (offset, true));
    }
    let mut other = session(&edges[1]).await;
    for command in [
        publish("chat.b", &json!("once"), Some("k-1")),
        publish("chat.a", &json!("once"), Some("k-2")),
        publish("chat.a", &json!("once"), None),
    ] {
        let (another, duplicate) = published(&mut other, &command).await;
        assert!(another > offset && !duplicate, "{command}");
    }
    drop(other);
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test]
async fn what_the_stream_refuses_is_an_error_for_the_client() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CHAT).await;
    let (context, mut stream) = stream(nats.url()).await;
    let mut socket = session(&edge).await;
    let small = publish("chat.a", &json!("x"), Some("k"));
    let (offset, _) = published(&mut socket, &small).await;

    let mut config = stream.cached_info().config.clone();
    config.max_message_size = 1000;
    context.update_stream(&config).await.expect("updated");
    let large = publish("chat.a", &json!("x".repeat(2000)), None);
    let answer = refused(&mut socket, &large, "too_large", "`CHAT`").await;
    assert_eq!(answer["channel"], "chat.a");

    let stored = stream.info().await.expect("its state").state.messages;
    config.discard = stream::DiscardPolicy::New;
    config.max_messages = stored.try_into().expect("few");
    context.update_stream(&config).await.expect("updated");
    let next = publish("chat.a", &json!("y"), None);
    refused(&mut socket, &next, "unavailable", "full").await;
    // What is there already needs no room.
    assert_eq!(published(&mut socket, &small).await, (offset, true));
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_nats_that_does_not_answer_is_a_timeout_and_the_key_makes_the_retry_safe() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let config = format!("jetstream {{ store_dir: {:?} }}", store.path());
    let nats = NatsProcess::start(&config).await;
    let edge = Edge::start_with(&nats.url(), CHAT).await;
    let (_, stream) = stream(&nats.url()).await;
    let mut socket = session(&edge).await;
    let first = publish("chat.a", &json!("first"), Some("k-1"));
    let second = publish("chat.a", &json!("second"), Some("k-2"));
    let (offset, _) = published(&mut socket, &first).await;

    nats.freeze().await;
    let answer = refused(&mut socket, &second, "timeout", "same `key`").await;
    assert!(answer["retry_after_ms"].as_u64().is_some(), "{answer}");
    nats.signal(Signal::CONT);
    let (place, _) = eventually("a retry is answered", async || {
        let answer = socket.ask(&second).await;
        let offset = answer["offset"].as_u64()?;
        Some((offset, answer["duplicate"] == true))
    })
    .await;
    assert_eq!(published(&mut socket, &second).await, (place, true));
    assert_eq!(published(&mut socket, &first).await, (offset, true));
    assert_eq!(count(&stream, "chat.a").await, 2, "each is stored once");

    // Gone for good: refused at once, without waiting for an answer that cannot come.
    nats.kill();
    let third = publish("chat.a", &json!("third"), Some("k-3"));
    let gone = async || {
        let begin = std::time::Instant::now();
        let answer = socket.ask(&third).await;
        assert_eq!(answer["type"], "error", "{answer}");
        let at_once = begin.elapsed() < Duration::from_secs(2);
        (answer["code"] == "unavailable" && at_once).then_some(answer)
    };
    let answer = eventually("the edge knows that NATS is away", gone).await;
    assert!(answer["retry_after_ms"].as_u64().is_some(), "{answer}");
    drop(socket);
    edge.stop().await;
}
