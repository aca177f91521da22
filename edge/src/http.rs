//! The HTTP phase of a connection: routes, and the way out of it by an upgrade.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tailwater_protocol::encoding::Encoding;

use crate::socket::{Socket, Stream};
use crate::upgrade;
use crate::worker::{Worker, compact};

/// How many header timeouts the HTTP phase of a connection may last, all its requests together. Nothing
/// else ends one whose client does not read its responses, and it would hold its place for ever.
const HEADER_TIMEOUTS: u32 = 6;

/// A response with a whole body.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A connection that has become a WebSocket.
pub(crate) struct Upgraded {
    pub(crate) socket: Socket,
    /// The answer to the handshake, which has not been sent.
    pub(crate) answer: Vec<u8>,
    /// What the client sent right behind its handshake.
    pub(crate) read_ahead: Bytes,
    /// What the client can read.
    pub(crate) encoding: Encoding,
}

/// Serves HTTP/1.1 until the connection ends or becomes a WebSocket.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: Stream, remote_addr: SocketAddr) -> Option<Upgraded> {
    let settings = worker.config().websocket.clone();
    let agreed = Rc::new(Cell::new(None));
    let holds = stream.holds();
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = route(worker, &mut request, &agreed);
        holds.set(agreed.get().is_some());
        tracing::debug!(%remote_addr, method = %request.method(), path = request.uri().path(), status = %response.status(), "request");
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(settings.max_header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let longest = settings.header_timeout * HEADER_TIMEOUTS;
    let Ok(ended) = tokio::time::timeout(longest, connection.without_shutdown()).await else {
        tracing::debug!(%remote_addr, ?longest, "the HTTP connection lasts too long and is cut");
        return None;
    };
    match ended {
        // It also ends this way without an upgrade: only an agreed encoding makes it one.
        Ok(parts) => agreed.get().map(|encoding| {
            let stream = parts.io.into_inner().into_parts();
            Upgraded {
                socket: stream.socket,
                answer: stream.held,
                read_ahead: compact(&parts.read_buf, &stream.decrypted),
                encoding,
            }
        }),
        Err(error) => {
            tracing::debug!(%remote_addr, %error, "the HTTP connection ends");
            None
        }
    }
}

fn route(worker: &Worker, request: &mut Request<Incoming>, agreed: &Cell<Option<Encoding>>) -> Reply {
    let path = request.uri().path();
    if path == worker.config().websocket.path {
        let compress = worker.config().namespaces.any_compresses();
        return match upgrade::upgrade(request, compress) {
            Ok((response, encoding)) => {
                agreed.set(Some(encoding));
                response
            }
            Err(refusal) => refusal.response(),
        };
    }
    let Some(response) = worker.console().and_then(|console| console.page(path)) else {
        return plain(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    response
}

/// A response with one line of text.
pub(crate) fn plain(status: StatusCode, line: &str) -> Reply {
    let mut response = Response::new(Full::new(Bytes::from(format!("{line}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Turns a connection away because there is no room: one attempt to say so, then it is closed.
pub(crate) fn refuse(socket: &tokio::net::TcpStream) {
    let response = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let _ = socket.try_write(response);
}
