//! The opening handshake (RFC 6455 section 4.2): each mistake has an answer of its own. Extensions are `extensions`'.

pub(crate) mod extensions;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, StatusCode, Version};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::encoding::Encoding;

use crate::http::{Reply, plain};

/// Why a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a WebSocket handshake is a GET request")]
    Method,
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    #[error("the header `Host` must be there, once")]
    Host,
    #[error("a WebSocket handshake has no body")]
    Body,
    #[error("this is a WebSocket address: the header `Upgrade: websocket` is missing")]
    Upgrade,
    #[error("the header `Connection` must name `Upgrade`; a proxy may have removed it")]
    Connection,
    #[error("the header `Sec-WebSocket-Version` is missing")]
    VersionMissing,
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    VersionUnknown,
    #[error("the header `Sec-WebSocket-Key` is missing")]
    KeyMissing,
    #[error("the header `Sec-WebSocket-Key` must be 16 bytes in base64, once")]
    KeyMalformed,
    #[error(
        "pages of this `Origin` may not connect here: `origin.allow` in the server's configuration says which may"
    )]
    Origin,
    #[error(
        "none of the offered subprotocols is spoken here: offer tailwater.v1.json, tailwater.v1.msgpack or none"
    )]
    Subprotocol,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Upgrade | Refusal::VersionUnknown => StatusCode::UPGRADE_REQUIRED,
            Refusal::Origin => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer to the client: a 4xx with a line that says what is wrong.
    pub(crate) fn response(self) -> Reply {
        let mut response = plain(self.status(), &self.to_string());
        let headers = response.headers_mut();
        match self {
            Refusal::Method => headers.insert(ALLOW, HeaderValue::from_static("GET")),
            Refusal::Upgrade => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"))
            }
            Refusal::VersionUnknown => headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            _ => None,
        };
        response
    }
}

/// Checks a handshake and answers it; the codec is that of the first offered subprotocol that we know,
/// or JSON if none is offered. Compression is agreed on if the client offers it and `compress` says that some namespace
/// wants it.
///
/// # Errors
/// What is wrong with the request.
pub(crate) fn upgrade(request: &mut Request<Incoming>, compress: bool) -> Result<(Reply, Encoding), Refusal> {
    let codec = check(request)?;
    let extension = extensions::answer(request.headers()).filter(|_| compress);
    let offered = request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL);
    // The session takes the socket from the connection itself, so the future is not needed.
    let (response, _) = fastwebsockets::upgrade::upgrade(request).map_err(|_| Refusal::KeyMalformed)?;
    let (mut head, _) = response.into_parts();
    if offered {
        head.headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(codec.subprotocol()),
        );
    }
    if let Some(extension) = extension {
        let extension = HeaderValue::from_static(extension);
        head.headers.insert(SEC_WEBSOCKET_EXTENSIONS, extension);
    }
    let encoding = match extension {
        Some(_) => Encoding::deflated(codec),
        None => Encoding::plain(codec),
    };
    Ok((Reply::from_parts(head, Full::new(Bytes::new())), encoding))
}

fn check<B>(request: &Request<B>) -> Result<Codec, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    // RFC 9112 section 3.2, RFC 6455 section 4.2.1.
    if headers.get_all(HOST).iter().count() != 1 {
        return Err(Refusal::Host);
    }
    // Its bytes would be read as frames.
    if headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
    {
        return Err(Refusal::Body);
    }
    if !lists(headers, UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket")) {
        return Err(Refusal::Upgrade);
    }
    if !lists(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::Connection);
    }
    match headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) {
        Some(b"13") => {}
        Some(_) => return Err(Refusal::VersionUnknown),
        None => return Err(Refusal::VersionMissing),
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().ok_or(Refusal::KeyMissing)?;
    // Room for what 24 characters may hold; more is no key.
    let mut nonce = [0; 18];
    let decoded = STANDARD.decode_slice(key.as_bytes(), &mut nonce);
    if decoded != Ok(16) || keys.next().is_some() {
        return Err(Refusal::KeyMalformed);
    }
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(Codec::Json);
    }
    lists(headers, SEC_WEBSOCKET_PROTOCOL)
        .find_map(Codec::from_subprotocol)
        .ok_or(Refusal::Subprotocol)
}

/// The members of a comma-separated header, which may stand several times (RFC 9110 section 5.6.1).
fn lists(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut Request<()>)) -> Request<()> {
        let mut request = Request::new(());
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("edge"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(
            SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        change(&mut request);
        request
    }

    fn set(name: HeaderName, value: &'static str) -> impl FnOnce(&mut Request<()>) {
        move |request| {
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
    }

    #[test]
    fn a_handshake_without_subprotocol_speaks_json() {
        assert_eq!(check(&request(|_| {})), Ok(Codec::Json));
    }

    #[test]
    fn the_first_known_subprotocol_is_chosen() {
        let offer = set(
            SEC_WEBSOCKET_PROTOCOL,
            "other, tailwater.v1.msgpack,tailwater.v1.json",
        );
        assert_eq!(check(&request(offer)), Ok(Codec::MessagePack));
    }

    #[test]
    fn each_mistake_has_an_answer_of_its_own() {
        let without = |name: HeaderName| {
            request(move |request| {
                request.headers_mut().remove(name);
            })
        };
        let cases = [
            (
                request(|request| *request.method_mut() = Method::POST),
                Refusal::Method,
                405,
            ),
            (
                request(|request| *request.version_mut() = Version::HTTP_10),
                Refusal::HttpVersion,
                400,
            ),
            (without(HOST), Refusal::Host, 400),
            (request(set(CONTENT_LENGTH, "5")), Refusal::Body, 400),
            (request(set(TRANSFER_ENCODING, "chunked")), Refusal::Body, 400),
            (without(UPGRADE), Refusal::Upgrade, 426),
            (request(set(UPGRADE, "h2c")), Refusal::Upgrade, 426),
            (without(CONNECTION), Refusal::Connection, 400),
            (request(set(CONNECTION, "close")), Refusal::Connection, 400),
            (without(SEC_WEBSOCKET_VERSION), Refusal::VersionMissing, 400),
            (
                request(set(SEC_WEBSOCKET_VERSION, "8")),
                Refusal::VersionUnknown,
                426,
            ),
            (without(SEC_WEBSOCKET_KEY), Refusal::KeyMissing, 400),
            (
                request(set(SEC_WEBSOCKET_KEY, "short")),
                Refusal::KeyMalformed,
                400,
            ),
            (
                request(set(SEC_WEBSOCKET_KEY, "c2hvcnQ=")),
                Refusal::KeyMalformed,
                400,
            ),
            (
                request(set(SEC_WEBSOCKET_PROTOCOL, "graphql-ws")),
                Refusal::Subprotocol,
                400,
            ),
        ];
        for (request, refusal, status) in cases {
            assert_eq!(check(&request), Err(refusal));
            assert_eq!(refusal.response().status().as_u16(), status, "{refusal}");
        }
    }
}
