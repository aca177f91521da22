//! The HTTP phase of a connection: routes, and the way out of it by an upgrade.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::Either;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tailwater_broker::trace::TraceHeaders;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::config::{HttpTransport, Secret};
use crate::hooks::KeptHeaders;
use crate::identity::places::{self, PlaceError};
use crate::limits::Place;
use crate::limits::refusal::Refusal;
use crate::metrics::meters::Handshake;
use crate::socket::{Socket, Stream};
use crate::transport::event_stream::StreamRequest;
use crate::transport::{self, event_stream, exchange};
use crate::upgrade;
use crate::worker::Worker;

/// How many header timeouts the HTTP phase of a connection may last, all its requests together. Nothing
/// else ends one whose client does not read its responses, and it would hold its place for ever.
const HEADER_TIMEOUTS: u32 = 6;

/// So much is read of a request that is refused whatever it is.
const REFUSED_REQUEST_BYTES: usize = 16 * 1024;

/// A response with a whole body.
pub(crate) type Reply = Response<Full<Bytes>>;

/// A connection that belongs to one session from here on.
pub(crate) struct Taken {
    pub(crate) socket: Socket,
    /// The client's address, as far as it is known.
    pub(crate) remote_addr: SocketAddr,
    /// The client's among those of its address.
    pub(crate) place: Place,
    /// The answer to the request, which has not been sent.
    pub(crate) answer: Vec<u8>,
    /// What the client sent right behind its request.
    pub(crate) read_ahead: Bytes,
    pub(crate) agreed: Agreed,
}

/// What the last request says of the session behind it.
pub(crate) struct Agreed {
    pub(crate) transport: Transport,
    pub(crate) caller: Caller,
}

/// What the connection has become.
pub(crate) enum Transport {
    /// A WebSocket; what the client can read of it.
    WebSocket(Encoding),
    /// An event stream.
    Events(Box<StreamRequest>),
}

/// Who sends a request, as far as the request says.
pub(crate) struct Caller {
    /// The token that came with it, or what is wrong with how it came.
    pub(crate) token: Option<Result<Secret, ErrorMessage>>,
    /// What hooks may be shown of it.
    pub(crate) headers: Option<Box<KeptHeaders>>,
    /// The trace that it belongs to.
    pub(crate) trace: Option<TraceHeaders>,
    /// Its address and its place, where a proxy speaks for several clients.
    pub(crate) client: Option<(SocketAddr, Place)>,
}

impl Caller {
    /// Reads it from a request. `client` is whom a proxy speaks for.
    pub(crate) fn of<B>(worker: &Worker, request: &Request<B>, client: Option<(SocketAddr, Place)>) -> Self {
        let identity = &worker.config().identity;
        // Without an issuer what looks like a token is somebody else's: a hook's, or a proxy's.
        let token = match identity.issuers.is_empty() {
            true => Ok(None),
            false => places::token_of(request.headers(), request.uri().query(), &identity.places),
        };
        let malformed = |error: PlaceError| ErrorMessage::new(ErrorCode::Unauthenticated, error.to_string());
        Self {
            token: token.map_err(malformed).transpose(),
            headers: worker.hooks().keep(request.headers()),
            trace: worker.tracer().parent(request.headers()),
            client,
        }
    }
}

/// Serves HTTP/1.1 until the connection ends or belongs to a session. `place` is that of `remote_addr`, which may be a
/// proxy.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    stream: Stream,
    remote_addr: SocketAddr,
    place: Place,
) -> Option<Taken> {
    let settings = &worker.config().websocket;
    let agreed = RefCell::new(None);
    let holds = stream.holds();
    let visit = Visit::new(remote_addr, settings.header_timeout * HEADER_TIMEOUTS);
    let service = service_fn(|mut request: Request<Incoming>| {
        let path = request.uri().path();
        tracing::debug!(%remote_addr, method = %request.method(), path, "request");
        let transport = transport::at(worker.config(), path);
        // Whatever it asks for: to refuse it costs as much.
        let client = visit.client(worker, request.headers());
        match transport {
            Some(transport) if transport != HttpTransport::Sse => {
                let exchanged = Box::pin(exchange::answer(worker, request, transport, client, &visit));
                Either::Right(exchanged.map(|reply| Ok::<_, Infallible>(parting(worker, reply))))
            }
            transport => {
                let response = match transport {
                    Some(_) => event_stream::accept(worker, &request, client, &agreed),
                    None => route(worker, &mut request, client, &agreed),
                };
                holds.set(agreed.borrow().is_some());
                Either::Left(ready(Ok(parting(worker, response))))
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(settings.max_header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = connection.without_shutdown() => ended,
        () = visit.over() => {
            tracing::debug!(%remote_addr, "the HTTP connection lasts too long and is cut");
            return None;
        }
    };
    match ended {
        // It also ends this way without a session: only what was agreed makes it one. hyper gives no answer to who has
        // ended the connection behind the request.
        Ok(parts) => {
            let mut agreed: Agreed = agreed.take()?;
            let stream = parts.io.into_inner().into_parts();
            if stream.held.is_empty() {
                return None;
            }
            let (remote_addr, place) = agreed.caller.client.take().unwrap_or((remote_addr, place));
            Some(Taken {
                socket: stream.socket,
                remote_addr,
                place,
                answer: stream.held,
                read_ahead: compact(&parts.read_buf, &stream.decrypted),
                agreed,
            })
        }
        Err(error) => {
            tracing::debug!(%remote_addr, %error, "the HTTP connection ends");
            None
        }
    }
}

/// While the process leaves, each answer is the last on its connection: the next request comes to another edge.
fn parting(worker: &Worker, mut reply: Reply) -> Reply {
    if worker.drain().has_begun() && reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(CONNECTION, close);
    }
    reply
}

/// Whom a proxy speaks for, and its place; or the limit that it is over.
pub(crate) type Visitor = Result<Option<(SocketAddr, Place)>, Refusal>;

/// What is known of a connection while it speaks HTTP.
pub(crate) struct Visit {
    /// The client, or a proxy that speaks for clients.
    pub(crate) peer: SocketAddr,
    /// How long a request may take, and the next one may be waited for.
    patience: Duration,
    until: Cell<Instant>,
    /// A request has been made. Who is no proxy was counted for it when it connected.
    has_asked: Cell<bool>,
}

impl Visit {
    fn new(peer: SocketAddr, patience: Duration) -> Self {
        Self {
            peer,
            patience,
            until: Cell::new(Instant::now() + patience),
            has_asked: Cell::new(false),
        }
    }

    /// A request has come that may take this long by itself.
    pub(crate) fn extend(&self, by: Duration) {
        self.until.set(Instant::now() + by + self.patience);
    }

    /// Whose request this is, where a proxy speaks for clients. Each counts as a connection of its address.
    ///
    /// # Errors
    /// What that address is over.
    fn client(&self, worker: &Worker, headers: &HeaderMap) -> Visitor {
        let (limits, is_first) = (worker.limits(), !self.has_asked.replace(true));
        if limits.proxies().trust(self.peer) {
            let client = limits.proxies().client(self.peer, headers);
            return limits.admit(client.ip()).map(|place| Some((client, place)));
        }
        if is_first {
            return Ok(None);
        }
        limits.admit(self.peer.ip()).map(|place| Some((self.peer, place)))
    }

    /// Waits until the connection has lasted too long.
    async fn over(&self) {
        while Instant::now() < self.until.get() {
            tokio::time::sleep_until(self.until.get()).await;
        }
    }
}

fn route(
    worker: &Worker,
    request: &mut Request<Incoming>,
    client: Visitor,
    agreed: &RefCell<Option<Agreed>>,
) -> Reply {
    let client = match client {
        Ok(client) => client,
        Err(refusal) => return refusal.response(),
    };
    let path = request.uri().path();
    if path == worker.config().websocket.path {
        return handshake(worker, request, client, agreed);
    }
    let Some(response) = worker.console().and_then(|console| console.page(path)) else {
        return plain(StatusCode::NOT_FOUND, "there is nothing at this path");
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return only("GET, HEAD");
    }
    response
}

/// The answer to another method than these.
pub(crate) fn only(methods: &'static str) -> Reply {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("use {methods}"));
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// Answers an opening handshake.
fn handshake(
    worker: &Worker,
    request: &mut Request<Incoming>,
    client: Option<(SocketAddr, Place)>,
    agreed: &RefCell<Option<Agreed>>,
) -> Reply {
    if !worker.limits().origins().allow(request.headers()) {
        worker.meters().handshakes.of(Handshake::Forbidden).add(1);
        return upgrade::Refusal::Origin.response();
    }
    let compress = worker.config().namespaces.any_compresses();
    match upgrade::upgrade(request, compress) {
        Ok((response, encoding)) => {
            agreed.replace(Some(Agreed {
                transport: Transport::WebSocket(encoding),
                caller: Caller::of(worker, request, client),
            }));
            response
        }
        Err(refusal) => {
            worker.meters().handshakes.of(Handshake::BadRequest).add(1);
            refusal.response()
        }
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
