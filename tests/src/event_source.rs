//! A client of event streams as browsers have it: it remembers the last id, and comes back with it (HTML standard, section
//! 9.2.6).

use std::net::SocketAddr;

use serde_json::Value;

use crate::RawSocket;

/// One stream, opened again and again.
pub struct EventSource {
    address: SocketAddr,
    target: String,
    headers: Vec<String>,
    socket: RawSocket,
    last_id: String,
}

impl EventSource {
    /// Opens a stream.
    ///
    /// # Panics
    /// If the answer is no stream.
    pub async fn open(address: SocketAddr, target: &str, headers: &[&str]) -> Self {
        let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
        let socket = connect(address, target, &headers, "").await;
        Self {
            address,
            target: target.to_owned(),
            headers,
            socket,
            last_id: String::new(),
        }
    }

    /// Leaves without a word and comes back, with the last id that it has seen.
    ///
    /// # Panics
    /// If the answer is no stream.
    pub async fn reconnect(&mut self) {
        self.socket = connect(self.address, &self.target, &self.headers, &self.last_id).await;
    }

    /// The last id that came.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The next message; nothing if the stream has ended. Other blocks are taken note of and skipped.
    ///
    /// # Panics
    /// If what came is no event stream of JSON.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let block = self.socket.next_block().await?;
            let mut data = None;
            for line in block.lines().filter(|line| !line.starts_with(':')) {
                match line.split_once(": ") {
                    Some(("id", id)) => id.clone_into(&mut self.last_id),
                    Some(("data", text)) => {
                        assert!(data.is_none(), "one line of data: {block}");
                        data = Some(serde_json::from_str(text).expect("data is JSON"));
                    }
                    Some(("retry", millis)) => assert!(millis.parse::<u32>().is_ok(), "{block}"),
                    _ => panic!("no line of an event stream: {line:?}"),
                }
            }
            if data.is_some() {
                return data;
            }
        }
    }

    /// The next message of this type; others are skipped.
    ///
    /// # Panics
    /// If the stream ends before.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the stream ended without `{kind}`"));
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The connection.
    pub fn socket(&mut self) -> &mut RawSocket {
        &mut self.socket
    }
}

async fn connect(address: SocketAddr, target: &str, headers: &[String], last_id: &str) -> RawSocket {
    let mut socket = RawSocket::open(address).await;
    let last = format!("Last-Event-ID: {last_id}");
    let mut all = vec!["Host: edge", "Accept: text/event-stream"];
    all.extend(headers.iter().map(String::as_str));
    if !last_id.is_empty() {
        all.push(&last);
    }
    let head = socket.request(&format!("GET {target} HTTP/1.1"), &all).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
    assert!(head.contains("\r\ndate: "), "{head}");
    socket
}
