//! What operators and Kubernetes ask, on a listener of its own: is it alive, is it ready.
//!
//! `/livez` says that the process runs. `/readyz` fails while NATS is away, while a stream of a durable
//! namespace is not as it must be, and from the moment the process begins to stop, so that no new
//! client is sent here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tailwater_broker::{ConnectionState, Streams};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::plain;

/// An operator's request must have come by then.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that are served at once; more wait in the kernel's backlog.
const CONNECTIONS: usize = 64;

/// What the answers depend on.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) nats: Vec<watch::Receiver<ConnectionState>>,
    pub(crate) streams: Streams,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Health {
    /// Why no new client should come here, if there is a reason.
    fn obstacle(&self) -> Option<String> {
        let away = |state: &watch::Receiver<ConnectionState>| *state.borrow() != ConnectionState::Connected;
        if *self.stopping.borrow() {
            Some("not ready: stopping".to_owned())
        } else if self.nats.iter().any(away) {
            Some("not ready: NATS is away, reconnecting".to_owned())
        } else {
            let (stream, reason) = self.streams.waiting()?;
            let reason = reason.unwrap_or_else(|| "it has not been looked at yet".to_owned());
            Some(format!("not ready: stream {stream}: {reason}"))
        }
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, health: Health) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((socket, remote_addr)) => {
                    connections.spawn(connection(TokioIo::new(socket), remote_addr, health.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of an operator");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(socket: TokioIo<tokio::net::TcpStream>, remote_addr: SocketAddr, health: Health) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = route(request.uri().path(), &health);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(socket, service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%remote_addr, %error, "a connection of an operator ends");
    }
}

fn route(path: &str, health: &Health) -> Response<Full<Bytes>> {
    match (path, health.obstacle()) {
        ("/livez", _) => plain(StatusCode::OK, "alive"),
        ("/readyz", None) => plain(StatusCode::OK, "ready"),
        ("/readyz", Some(obstacle)) => plain(StatusCode::SERVICE_UNAVAILABLE, &obstacle),
        _ => plain(StatusCode::NOT_FOUND, "there is /livez and /readyz"),
    }
}
