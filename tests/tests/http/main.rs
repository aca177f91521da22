//! The same channels without a WebSocket: by server-sent events, by polling, and with commands of single requests.

mod commands;
mod event_stream;
mod loss;
mod polling;
mod requests;

use serde_json::Value;
use tailwater_tests::{Edge, EventSource, NatsServer, RawSocket, eventually};

/// `live.>` is live, `d.>` durable; both are open to everybody.
const CHANNELS: &str = r#"
[nats]
ping_interval_secs = 1
[websocket]
close_timeout_secs = 0
[namespace.live]
channels = "live.>"
anonymous = true
[namespace.chat]
channels = "chat.>"
anonymous = true
publish = true
[namespace.d]
channels = "d.>"
durable = true
anonymous = true
stream = "D"
[stream.D]
audit_interval_secs = 1
"#;

async fn edge(config: &str) -> (NatsServer, Edge) {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{CHANNELS}{config}")).await;
    (nats, edge)
}

async fn stream(edge: &Edge, query: &str) -> EventSource {
    EventSource::open(edge.server().public_addr(), &format!("/sse?{query}"), &[]).await
}

/// One request on a connection of its own: the status, the head and the body.
async fn ask(edge: &Edge, line: &str, headers: &[&str], body: &str) -> (u16, String, Value) {
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    ask_on(&mut socket, line, headers, body).await
}

/// As [`ask`], on a connection that stays.
async fn ask_on(socket: &mut RawSocket, line: &str, headers: &[&str], body: &str) -> (u16, String, Value) {
    let length = format!("Content-Length: {}", body.len());
    let mut all = vec!["Host: edge"];
    all.extend(headers);
    if !body.is_empty() {
        all.push(&length);
    }
    let request = format!("{line} HTTP/1.1\r\n{}\r\n\r\n{body}", all.join("\r\n"));
    socket.send(request.as_bytes()).await;
    let head = socket.head().await;
    let body = if head.contains("connection: close") && !head.contains("content-length") {
        String::from_utf8_lossy(&socket.read_to_end().await).into_owned()
    } else {
        socket.body(&head).await
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status.expect("a status"), head, body)
}

/// Polls, which must succeed: the messages and the cursor.
async fn poll(edge: &Edge, query: &str) -> (Vec<Value>, String) {
    let (status, _, body) = ask(edge, &format!("GET /poll?{query}"), &[], "").await;
    assert_eq!(status, 200, "{body}");
    answered(&body)
}

/// The messages and the cursor of a poll.
fn answered(body: &Value) -> (Vec<Value>, String) {
    let messages = body["messages"].as_array().expect("a list").clone();
    let cursor = body["cursor"].as_str().expect("a text").to_owned();
    (messages, cursor)
}

/// The messages of this type.
fn of<'m>(messages: &'m [Value], kind: &str) -> Vec<&'m Value> {
    messages
        .iter()
        .filter(|message| message["type"] == kind)
        .collect()
}

/// The sessions of the edge, as operators see them.
async fn listed(edge: &Edge, query: &str) -> Vec<Value> {
    let mut operator = RawSocket::open(edge.server().admin_addr()).await;
    let head = operator
        .request(&format!("GET /sessions{query} HTTP/1.1"), &["Host: localhost"])
        .await;
    let body: Value = serde_json::from_str(&operator.body(&head).await).expect("JSON");
    body["sessions"].as_array().expect("a list").clone()
}

/// Waits until the edge has this many sessions.
async fn sessions(edge: &Edge, count: usize) {
    eventually("the sessions are counted", async || {
        (listed(edge, "").await.len() == count).then_some(())
    })
    .await;
}
