//! What a client sent, as a whole.

use bytes::Bytes;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::deflate::{self, InflateError};

use super::Violation;
use super::guard::TOO_LARGE;

/// What a client sent, as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A text message; its UTF-8 has been checked.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A compressed message of either kind.
    Deflated(Deflated),
    /// A ping, with what its pong must repeat.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The peer closes, with the code to echo, if it gave one.
    Close(Option<u16>),
}

impl Inbound {
    /// A whole data message.
    pub(super) fn of(text: bool, deflated: bool, body: Bytes) -> Self {
        match (text, deflated) {
            (_, true) => Self::Deflated(Deflated { text, body }),
            (true, false) => Self::Text(body),
            (false, false) => Self::Binary(body),
        }
    }
}

/// A compressed message, as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deflated {
    text: bool,
    body: Bytes,
}

impl Deflated {
    /// The codec whose messages are of this kind, text or binary.
    pub(crate) fn codec(&self) -> Codec {
        if self.text {
            Codec::Json
        } else {
            Codec::MessagePack
        }
    }

    /// The message, of at most `limit_bytes`; the UTF-8 of a text has been checked.
    ///
    /// # Errors
    /// 1009 if it is larger. 1007 if it is not UTF-8, or cannot be inflated: RFC 7692 names no code for that, and data
    /// that is not what the message says is what RFC 6455 section 7.4.1 has this one for.
    pub(crate) fn inflate(&self, limit_bytes: usize) -> Result<Vec<u8>, Violation> {
        let message = deflate::inflate(&self.body, limit_bytes).map_err(|error| match error {
            InflateError::TooLarge => TOO_LARGE,
            InflateError::Malformed => Violation {
                code: CloseCode::InvalidUtf8,
                reason: "a compressed message cannot be inflated",
            },
        })?;
        if self.text && std::str::from_utf8(&message).is_err() {
            return Err(Violation::NOT_UTF8);
        }
        Ok(message)
    }
}
