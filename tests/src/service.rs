//! A microservice that answers requests, and speaks NATS by itself.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use crate::raw_nats::{RawMessage, RawNats};
use crate::{NatsServer, soon};

/// What a service answers.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The headers as they go out, from `NATS/1.0` to the empty line; empty: none.
    pub headers: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Answer {
    /// An answer without headers.
    pub fn of(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            headers: Vec::new(),
            payload: payload.into(),
        }
    }

    /// An error as NATS services write it (ADR-32).
    pub fn error(code: &str, description: &str, payload: impl Into<Vec<u8>>) -> Self {
        let headers = format!(
            "NATS/1.0\r\nNats-Service-Error-Code: {code}\r\nNats-Service-Error: {description}\r\n\r\n"
        );
        Self {
            headers: headers.into_bytes(),
            payload: payload.into(),
        }
    }
}

/// A running service; it is gone when it is dropped.
#[derive(Debug)]
pub struct Service {
    task: JoinHandle<()>,
    asked: Arc<Mutex<Vec<RawMessage>>>,
}

impl Service {
    /// Listens on `subject`, which may be a pattern; `answer` says what is answered to a request, if anything.
    ///
    /// # Panics
    /// If the server does not let it in.
    pub async fn start(
        nats: &NatsServer,
        subject: &str,
        answer: impl Fn(&RawMessage) -> Option<Answer> + Send + 'static,
    ) -> Self {
        Self::start_at(nats.url(), subject, answer).await
    }

    /// As [`Service::start`], at the server with this URL.
    ///
    /// # Panics
    /// As [`Service::start`].
    pub async fn start_at(
        url: &str,
        subject: &str,
        answer: impl Fn(&RawMessage) -> Option<Answer> + Send + 'static,
    ) -> Self {
        let address: SocketAddr = url.trim_start_matches("nats://").parse().expect("an address");
        let mut nats = RawNats::connect(address).await.expect("the server answers");
        let line = format!("SUB {subject} 1\r\n");
        nats.send(line.as_bytes()).await.expect("the connection lives");
        soon("a subscription", nats.flush())
            .await
            .expect("the server lets us subscribe");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok(message) = nats.next().await {
                let answered = answer(&message).zip(message.reply.clone());
                seen.lock().expect("nobody panicked").push(message);
                if let Some((answer, reply)) = answered
                    && nats
                        .publish(&reply, &answer.headers, &answer.payload)
                        .await
                        .is_err()
                {
                    return;
                }
            }
        });
        Self { task, asked }
    }

    /// What it was asked until now.
    ///
    /// # Panics
    /// If it has panicked.
    pub fn asked(&self) -> Vec<RawMessage> {
        self.asked.lock().expect("nobody panicked").clone()
    }

    /// Ends it; nobody listens any more once the server has noticed.
    pub async fn stop(self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}
