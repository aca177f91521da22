//! What a request over HTTP is answered with: JSON, and where something is wrong the protocol's `error` with a status that
//! says the same.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::push::Push;

use crate::http::Reply;
use crate::limits;
use crate::metrics::meters::Handshake;
use crate::upgrade::Refusal;
use crate::worker::Worker;

/// A response of JSON.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut response = Reply::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The response to a request that fails as a whole.
pub(crate) fn error(error: ErrorMessage) -> Reply {
    let status = status(error.code);
    let retry_after = error.retry_after_ms.map(|millis| millis.div_ceil(1000).max(1));
    // A client that is over a limit is to go away for a moment, even if nobody knows for how long.
    let retry_after = retry_after.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(1));
    let mut response = json(status, Codec::Json.encode(&Push::Error(error).into()));
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The last response on its connection: who goes on must connect again, which is counted.
pub(crate) fn last(mut response: Reply) -> Reply {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// The response to a client that is over a limit.
pub(crate) fn over(refusal: limits::refusal::Refusal) -> Reply {
    last(error(refusal.error()))
}

/// The response to a page that may not connect, which is counted.
pub(crate) fn foreign_origin(worker: &Worker) -> Reply {
    worker.meters().handshakes.of(Handshake::Forbidden).add(1);
    last(error(ErrorMessage::new(
        ErrorCode::Forbidden,
        Refusal::Origin.to_string(),
    )))
}

/// The status that says the same as a code (RFC 9110 section 15, RFC 6585 section 4).
pub(crate) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadMessage | ErrorCode::UnknownType | ErrorCode::NotDurable | ErrorCode::BadCursor => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::Unauthenticated | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NoSuchChannel => StatusCode::NOT_FOUND,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Limit | ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable | ErrorCode::NoResponders => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::ServiceError => StatusCode::BAD_GATEWAY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The head of a response whose body follows until the connection ends (RFC 9112 section 6.3), with these headers and the
/// date (RFC 9110 section 6.6.1).
pub(crate) fn head(status: StatusCode, headers: &hyper::HeaderMap) -> Vec<u8> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut head = format!("HTTP/1.1 {status}\r\ndate: {date}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head
}
