//! What operators and Kubernetes ask, on a listener of its own: is it alive, is it ready, which sessions are there, and
//! end this one; and what is measured.
//!
//! `/livez` says that the process runs. `/readyz` fails while NATS is away, while a stream of a durable
//! namespace is not as it must be, until orders and revocations can be heard of, and from the moment the process begins
//! to drain, so that no new client is sent here. Everything else is for who may (`admin/access.rs`); `/metrics` may
//! be open to everybody who can connect.

mod access;
mod routes;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::control::Control;
use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::readiness::Readiness;

pub(crate) use access::Access;

/// An operator's request must have come by then.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// What serving one request may take, its body and a walk through all sessions included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that are served at once; more wait in the kernel's backlog.
const CONNECTIONS: usize = 64;

/// What the answers depend on.
#[derive(Clone, Debug)]
pub(crate) struct Operators {
    pub(crate) readiness: Readiness,
    pub(crate) drain: Drain,
    pub(crate) control: Control,
    pub(crate) access: Access,
    pub(crate) metrics: Arc<Metrics>,
    /// Who may not use anything else here may read the metrics.
    pub(crate) open_metrics: bool,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, operators: Operators) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((socket, remote_addr)) => {
                    connections.spawn(connection(TokioIo::new(socket), remote_addr, operators.clone()));
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

async fn connection(socket: TokioIo<tokio::net::TcpStream>, remote_addr: SocketAddr, operators: Operators) {
    let service = service_fn(|request: Request<Incoming>| {
        let operators = &operators;
        async move { Ok::<_, Infallible>(routes::answer(request, operators).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(socket, service);
    match tokio::time::timeout(REQUEST_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%remote_addr, %error, "a connection of an operator ends"),
        Err(_) => tracing::debug!(%remote_addr, "a connection of an operator lasts too long and is cut"),
    }
}
