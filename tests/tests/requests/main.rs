//! Requests of clients: to a service and back, beside everything else that a session does.

mod answers;
mod beside;
mod trouble;

use serde_json::{Value, json};
use std::net::SocketAddr;
use tailwater_tests::raw_nats::{RawMessage, RawNats};
use tailwater_tests::raw_socket::frame;
use tailwater_tests::service::Answer;
use tailwater_tests::{Edge, RawSocket, Service, eventually};

pub(crate) const CONFIG: &str = r#"
[namespace.services]
channels = "svc.>"
anonymous = true
request = true
[namespace.quick]
channels = "quick.>"
anonymous = true
request = true
request_timeout_ms = 200
[namespace.prefixed]
channels = "far.>"
subject_prefix = "prod"
anonymous = true
request = true
[namespace.news]
channels = "news.>"
anonymous = true
[namespace.staff]
channels = "staff.>"
request = true
"#;

/// A JSON session that has been welcomed, and its name.
pub(crate) async fn session(edge: &Edge) -> (RawSocket, String) {
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    let connected = socket.next_json().await;
    assert_eq!(connected["type"], "connected");
    let name = connected["session"].as_str().expect("a name").to_owned();
    (socket, name)
}

pub(crate) fn request(id: u32, channel: &str, payload: &Value) -> String {
    json!({"type": "request", "id": id, "channel": channel, "payload": payload}).to_string()
}

pub(crate) async fn send(socket: &mut RawSocket, command: &str) {
    socket.send(&frame(0x81, command.as_bytes())).await;
}

/// Asks, and expects an `error` with this code.
pub(crate) async fn refused(socket: &mut RawSocket, command: &str, code: &str) -> Value {
    let answer = socket.ask(command).await;
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!(code)),
        "{answer}"
    );
    answer
}

/// Waits until the service has been asked so often.
pub(crate) async fn asked(service: &Service, times: usize) -> Vec<RawMessage> {
    eventually("the service is asked", async || {
        let asked = service.asked();
        (asked.len() >= times).then_some(asked)
    })
    .await
}

/// A connection that answers when the test says so.
pub(crate) async fn by_hand(nats: &str, subject: &str) -> RawNats {
    let address: SocketAddr = nats.trim_start_matches("nats://").parse().expect("an address");
    let mut service = RawNats::connect(address).await.expect("it answers");
    service
        .send(format!("SUB {subject} 1\r\n").as_bytes())
        .await
        .expect("the connection lives");
    service.flush().await.expect("it takes the subscription");
    service
}

pub(crate) fn echo(message: &RawMessage) -> Option<Answer> {
    Some(Answer::of(message.payload.clone()))
}
