//! An HTTP server that hands out documents, counts who asks, and misbehaves as it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{Pair, issuer};
use crate::client::Trust;
use crate::config::{IssuerConfig, KeySource, KeyUrl};

/// A whole answer, or none.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// 200 with this body.
    Body(Vec<u8>),
    /// Exactly these bytes, and then the end.
    Raw(String),
    /// Nothing, for as long as the client waits.
    Silence,
}

impl From<Value> for Answer {
    fn from(document: Value) -> Self {
        Self::Body(document.to_string().into_bytes())
    }
}

/// Stops when it is dropped.
#[derive(Debug)]
pub(super) struct KeyServer {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// By path; the first that a request's path begins with.
    answers: Mutex<Vec<(String, Answer)>>,
    requests: AtomicUsize,
    /// Each answer takes one; enough for all but the tests that hold answers back.
    permits: Semaphore,
}

impl KeyServer {
    /// Answers every path with `answer`.
    pub(super) async fn start(answer: impl Into<Answer>) -> Self {
        Self::listen("http", answer.into(), None).await
    }

    /// The same over TLS.
    pub(super) async fn start_tls(answer: impl Into<Answer>, tls: ServerConfig) -> Self {
        Self::listen("https", answer.into(), Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn listen(scheme: &'static str, answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared {
            answers: Mutex::new(vec![("/".to_owned(), answer)]),
            requests: AtomicUsize::new(0),
            permits: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let task = tokio::spawn(serve(listener, shared.clone(), tls));
        Self {
            address,
            scheme,
            shared,
            task,
        }
    }

    /// The address of this path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    /// Answers every path with something else from now on.
    pub(super) fn set(&self, answer: impl Into<Answer>) {
        *self.shared.answers.lock().unwrap() = vec![("/".to_owned(), answer.into())];
    }

    /// Answers paths that begin so with something else from now on.
    pub(super) fn set_at(&self, path: &str, answer: impl Into<Answer>) {
        self.shared
            .answers
            .lock()
            .unwrap()
            .insert(0, (path.to_owned(), answer.into()));
    }

    /// Holds answers back until [`KeyServer::release`].
    pub(super) fn hold(&self) {
        self.shared.permits.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(super) fn release(&self) {
        self.shared.permits.add_permits(1_000_000);
    }

    /// How often it was asked.
    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => answer(socket, &shared).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        answer(socket, &shared).await;
                    }
                }
            }
        });
    }
}

async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).expect("a request is text");
    let path = request.split(' ').nth(1).expect("a path");
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let Ok(permit) = shared.permits.acquire().await else {
        return;
    };
    permit.forget();
    let answers = shared.answers.lock().unwrap().clone();
    let found = answers
        .into_iter()
        .find(|(prefix, _)| path.starts_with(prefix.as_str()));
    let (_, answer) = found.expect("an answer for every path");
    let bytes = match answer {
        Answer::Body(body) => {
            let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
            bytes.extend(body);
            bytes
        }
        Answer::Raw(text) => text.into_bytes(),
        Answer::Silence => std::future::pending().await,
    };
    let _ = socket.write_all(&bytes).await;
    let _ = socket.shutdown().await;
}

/// An issuer that has its keys there.
pub(super) fn from(server: &KeyServer) -> IssuerConfig {
    let url = KeyUrl::parse(&server.url("/keys")).expect("an address");
    let trust = Trust::System;
    issuer("one", KeySource::JwksUrl { url, trust })
}

/// The public halves of these as a key set.
pub(super) fn set(keys: &[(&str, &Pair)]) -> Value {
    json!({"keys": keys.iter().map(|(id, pair)| pair.named(id)).collect::<Vec<_>>()})
}
