//! `GET /sse`: server-sent events (HTML standard, section 9.2). The connection is taken as one is that becomes a
//! WebSocket, and the body has no length and no chunks: it ends with the connection. So the same bytes go to every stream
//! of a channel, straight to the sockets.

use std::cell::RefCell;

use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode};
use tailwater_broker::trace::TraceHeaders;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::Subscribe;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::error::ErrorMessage;
use tailwater_protocol::event_stream;
use tailwater_protocol::push::Push;

use super::query::Query;
use super::{answer, origin, query};
use crate::config::Secret;
use crate::http::{Agreed, Caller, Reply, Transport, Visitor, only};
use crate::session::{End, Session, identify};
use crate::worker::Worker;

/// What an `EventSource` sends when it comes back.
const LAST_EVENT_ID: &str = "last-event-id";

/// How long a client waits before it comes back, if nothing else is said.
const RETRY_MS: u32 = 2000;

/// Some proxies pass nothing on before they have so much.
const PADDING: usize = 2048;

/// What a request for a stream asks for.
pub(crate) struct StreamRequest {
    pub(crate) query: Query,
    /// Headers of the answer, beside those that all have.
    shared: HeaderMap,
}

impl StreamRequest {
    /// In what the client is written to.
    pub(crate) fn encoding(&self) -> Encoding {
        match self.query.subscribes.as_slice() {
            [only] if !only.channel.is_wildcard() => Encoding::EVENTS_WITH_IDS,
            _ => Encoding::EVENTS,
        }
    }
}

/// Answers a request for a stream. If that is to be one, the answer is only what ends the HTTP phase, and is not sent.
pub(crate) fn accept(
    worker: &Worker,
    request: &Request<Incoming>,
    client: Visitor,
    agreed: &RefCell<Option<Agreed>>,
) -> Reply {
    let headers = request.headers();
    if !worker.limits().origins().allow(headers) {
        return answer::foreign_origin(worker);
    }
    let refused = match (request.method(), client) {
        (_, Err(refusal)) => answer::over(refusal),
        (&Method::GET, Ok(client)) => match read(worker, request) {
            Ok(query) => {
                agreed.replace(Some(Agreed {
                    transport: Transport::Events(Box::new(StreamRequest {
                        query,
                        shared: origin::headers(headers).collect(),
                    })),
                    caller: Caller::of(worker, request, client),
                }));
                return answer::last(answer::json(StatusCode::OK, ""));
            }
            Err(error) => answer::error(error),
        },
        (&Method::OPTIONS, Ok(_)) => return origin::preflight(headers),
        _ => only("GET"),
    };
    origin::share(refused, headers)
}

/// The query of a request, with the id that an `EventSource` remembers.
///
/// # Errors
/// What the client is told.
pub(crate) fn read(worker: &Worker, request: &Request<Incoming>) -> Result<Query, ErrorMessage> {
    let last_event_id = request.headers().get(LAST_EVENT_ID);
    let last_event_id = last_event_id.map(|id| String::from_utf8_lossy(id.as_bytes()));
    let limit = worker.config().websocket.max_channels_per_session;
    query::parse(
        request.uri().query().unwrap_or_default(),
        last_event_id.as_deref(),
        limit,
    )
}

/// Finds out who the client is, and begins the stream with what it subscribes to; or says why there is none, and ends.
pub(crate) async fn begin(
    session: &Session,
    worker: &Worker,
    request: StreamRequest,
    brought: (Option<Result<Secret, ErrorMessage>>, Option<TraceHeaders>),
) -> Vec<Subscribe> {
    let StreamRequest { query, mut shared } = request;
    let connected = match identify::admit(session, worker, brought).await {
        Ok(connected) => connected,
        Err(error) => {
            let mut refusal = answer::error(error.clone());
            refusal.headers_mut().extend(shared);
            let mut whole = answer::head(refusal.status(), refusal.headers());
            Codec::Json.encode_into(&Push::Error(error).into(), &mut whole);
            session.push_message(whole.into());
            session.end(End::Done);
            return Vec::new();
        }
    };
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream"),
        // Nobody on the way may keep it or change it, and nginx is not to buffer it.
        (CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        shared.insert(name, HeaderValue::from_static(value));
    }
    let mut start = answer::head(StatusCode::OK, &shared);
    start.extend_from_slice(&event_stream::comment(&" ".repeat(PADDING)));
    start.extend_from_slice(&event_stream::retry(RETRY_MS));
    start.extend_from_slice(&Encoding::EVENTS.encode(&Push::Connected(connected).into()));
    session.push_message(start.into());
    // That a client which never says anything is gone shows only in that TCP gets no word of it.
    let settings = &worker.config().websocket;
    session.expect_word_of_tcp(settings.ping_interval + settings.pong_timeout);
    query.subscribes
}
