//! Lets pages of other origins that may connect read what they are answered (CORS: Fetch standard, section 3.2). Which
//! may, is `origin.allow`, as for a WebSocket.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};
use hyper::{StatusCode, http::HeaderName};

use crate::http::{Reply, plain};

/// The headers that let the page read the answer; none for who names no origin. The origin has been let in.
pub(crate) fn headers(request: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
    let origin = request.get(ORIGIN).cloned();
    let headers = origin.map(|origin| {
        [
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
            (
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("retry-after"),
            ),
            (VARY, HeaderValue::from_static("origin")),
        ]
    });
    headers.into_iter().flatten()
}

/// Adds them to an answer.
pub(crate) fn share(mut answer: Reply, request: &HeaderMap) -> Reply {
    answer.headers_mut().extend(headers(request));
    answer
}

/// The answer to a browser that asks whether it may send the request.
pub(crate) fn preflight(request: &HeaderMap) -> Reply {
    let mut answer = plain(StatusCode::NO_CONTENT, "");
    *answer.body_mut() = Default::default();
    let headers = answer.headers_mut();
    headers.clear();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST"),
    );
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, last-event-id"),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    share(answer, request)
}
