//! The HTTP phase of a connection: routes, and the way out of it by an upgrade.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
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
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::Secret;
use crate::hooks::KeptHeaders;
use crate::identity::places::{self, PlaceError};
use crate::limits::Place;
use crate::limits::refusal::Refusal;
use crate::socket::{Socket, Stream};
use crate::upgrade;
use crate::worker::Worker;

/// How many header timeouts the HTTP phase of a connection may last, all its requests together. Nothing
/// else ends one whose client does not read its responses, and it would hold its place for ever.
const HEADER_TIMEOUTS: u32 = 6;

/// So much is read of a request that is refused whatever it is.
const REFUSED_REQUEST_BYTES: usize = 16 * 1024;

/// A response with a whole body.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A connection that has become a WebSocket.
pub(crate) struct Upgraded {
    pub(crate) socket: Socket,
    /// The client's address, as far as it is known.
    pub(crate) remote_addr: SocketAddr,
    /// The client's among those of its address.
    pub(crate) place: Place,
    /// The answer to the handshake, which has not been sent.
    pub(crate) answer: Vec<u8>,
    /// What the client sent right behind its handshake.
    pub(crate) read_ahead: Bytes,
    pub(crate) agreed: Agreed,
}

/// What the handshake says of the session behind it.
pub(crate) struct Agreed {
    /// What the client can read.
    pub(crate) encoding: Encoding,
    /// The token that came with it, or what is wrong with how it came.
    pub(crate) token: Option<Result<Secret, ErrorMessage>>,
    /// What hooks may be shown of it.
    pub(crate) headers: Option<Box<KeptHeaders>>,
    /// Who the client is, and its place, where a proxy speaks for several clients.
    client: Option<(SocketAddr, Place)>,
}

/// Serves HTTP/1.1 until the connection ends or becomes a WebSocket. `place` is that of `remote_addr`, which may be a
/// proxy.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    stream: Stream,
    remote_addr: SocketAddr,
    place: Place,
) -> Option<Upgraded> {
    let settings = worker.config().websocket.clone();
    let agreed = RefCell::new(None);
    let holds = stream.holds();
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = route(worker, &mut request, remote_addr, &agreed);
        holds.set(agreed.borrow().is_some());
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
        Ok(parts) => agreed.take().map(|mut agreed: Agreed| {
            let stream = parts.io.into_inner().into_parts();
            let (remote_addr, place) = agreed.client.take().unwrap_or((remote_addr, place));
            Upgraded {
                socket: stream.socket,
                remote_addr,
                place,
                answer: stream.held,
                read_ahead: compact(&parts.read_buf, &stream.decrypted),
                agreed,
            }
        }),
        Err(error) => {
            tracing::debug!(%remote_addr, %error, "the HTTP connection ends");
            None
        }
    }
}

fn route(
    worker: &Worker,
    request: &mut Request<Incoming>,
    peer: SocketAddr,
    agreed: &RefCell<Option<Agreed>>,
) -> Reply {
    let path = request.uri().path();
    if path == worker.config().websocket.path {
        return handshake(worker, request, peer, agreed);
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

/// Answers an opening handshake.
fn handshake(
    worker: &Worker,
    request: &mut Request<Incoming>,
    peer: SocketAddr,
    agreed: &RefCell<Option<Agreed>>,
) -> Reply {
    let limits = worker.limits();
    let client = if limits.proxies().trust(peer) {
        let client = limits.proxies().client(peer, request.headers());
        match limits.admit(client.ip()) {
            Ok(place) => Some((client, place)),
            Err(refusal) => return refusal.response(),
        }
    } else {
        None
    };
    if !limits.origins().allow(request.headers()) {
        return upgrade::Refusal::Origin.response();
    }
    let compress = worker.config().namespaces.any_compresses();
    match upgrade::upgrade(request, compress) {
        Ok((response, encoding)) => {
            let identity = &worker.config().identity;
            // Without an issuer what looks like a token is somebody else's: a hook's, or a proxy's.
            let token = match identity.issuers.is_empty() {
                true => Ok(None),
                false => places::token_of(request.headers(), request.uri().query(), &identity.places),
            };
            let malformed =
                |error: PlaceError| ErrorMessage::new(ErrorCode::Unauthenticated, error.to_string());
            agreed.replace(Some(Agreed {
                encoding,
                token: token.map_err(malformed).transpose(),
                headers: worker.hooks().keep(request.headers()),
                client,
            }));
            response
        }
        Err(refusal) => refusal.response(),
    }
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

/// Waits for a request, whatever it is, and answers with why the client is not let in. What comes unread behind an answer
/// would reset the connection, and with it the answer.
///
/// # Errors
/// Those of the connection; `InvalidData` if the request has no end.
pub(crate) async fn refuse(mut stream: Stream, refusal: Refusal) -> io::Result<()> {
    let mut request = Vec::new();
    let mut looked_at = 0;
    while !request[looked_at..].windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REFUSED_REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // The end may have come in parts.
        looked_at = request.len().saturating_sub(3);
        if stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(&refusal.bytes()).await?;
    stream.shutdown().await
}

/// Bytes that a client sent behind its handshake, in two parts, without the buffers that they came in.
fn compact(read_ahead: &[u8], decrypted: &[u8]) -> Bytes {
    Bytes::from([read_ahead, decrypted].concat())
}
