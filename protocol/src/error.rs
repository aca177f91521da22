//! All that a client may be told about a failure. Causes stay in the server's log; a client reads a code in words, a
//! sentence for people, and what to do next.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::payload::Payload;

/// Why a command failed. Program against the code; the message beside it is for people and may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The message cannot be read, or a field is missing, malformed or contradicts another one. Do not retry: correct
    /// the place that the message names.
    BadMessage,
    /// The server has no command of this `type`. Do not retry: check the spelling, or the server's version.
    UnknownType,
    /// The session has not said who it is, or what it said was not accepted. Send `connect` with a token, then retry.
    Unauthenticated,
    /// The token has expired. Obtain a new one, send it by `refresh` (or connect again with it), then retry.
    TokenExpired,
    /// This user may not do that, or the channel is a pattern that its namespace does not allow. Do not retry until the
    /// permissions have changed.
    Forbidden,
    /// No namespace holds this channel. Do not retry: check the name, or ask the operator for a namespace.
    NoSuchChannel,
    /// A bound is reached: channels of this session, commands in one frame, publications of a page. Do not retry before
    /// something has been given up or made smaller.
    Limit,
    /// Too many commands or bytes in too short a time. Retry after `retry_after_ms`.
    RateLimited,
    /// The server, or NATS behind it, cannot do it now. Retry after `retry_after_ms`, else with back-off.
    Unavailable,
    /// No service listens on the channel of a `request`. Retry with back-off if one is expected to come.
    NoResponders,
    /// The service behind the channel of a `request` answered with an error of its own: `service_error` holds it, and
    /// `payload` what the service sent beside it. Whether to retry is the service's to say.
    ServiceError,
    /// The answer did not come in time; the command may have been carried out nevertheless. Retry what may be done
    /// twice; a `publish` only with its `key`.
    Timeout,
    /// The message is larger than the server takes. Do not retry: send less.
    TooLarge,
    /// The channel keeps no history, so `since`, `latest` and `history` do not exist for it. Do not retry: leave them
    /// out, or ask the operator for a durable namespace.
    NotDurable,
    /// The cursor is malformed. Do not retry with it: use one that the server gave, or start from `"beginning"`.
    BadCursor,
    /// A fault of the server, which is in its log. Retry with back-off, and tell the operator if it lasts.
    Internal,
}

/// Whether the same command may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Not as it is: change the command first.
    Never,
    /// After `retry_after_ms`; if absent, with exponential back-off.
    Later,
    /// Once the session has a valid token.
    WithToken,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::BadMessage,
        Self::UnknownType,
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::Forbidden,
        Self::NoSuchChannel,
        Self::Limit,
        Self::RateLimited,
        Self::Unavailable,
        Self::NoResponders,
        Self::ServiceError,
        Self::Timeout,
        Self::TooLarge,
        Self::NotDurable,
        Self::BadCursor,
        Self::Internal,
    ];

    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::UnknownType => "unknown_type",
            Self::Unauthenticated => "unauthenticated",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::NoSuchChannel => "no_such_channel",
            Self::Limit => "limit",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::NoResponders => "no_responders",
            Self::ServiceError => "service_error",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::NotDurable => "not_durable",
            Self::BadCursor => "bad_cursor",
            Self::Internal => "internal",
        }
    }

    /// The code of this name; `None` if this version knows none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// Whether the same command may succeed later.
    pub fn retry(self) -> Retry {
        match self {
            Self::Unauthenticated | Self::TokenExpired => Retry::WithToken,
            Self::RateLimited | Self::Unavailable | Self::NoResponders | Self::Timeout | Self::Internal => {
                Retry::Later
            }
            Self::BadMessage
            | Self::UnknownType
            | Self::Forbidden
            | Self::NoSuchChannel
            | Self::Limit
            | Self::ServiceError
            | Self::TooLarge
            | Self::NotDurable
            | Self::BadCursor => Retry::Never,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A code that this version does not know reads as `internal`, whose advice is the careful one.
impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Self::from_name(&name).unwrap_or(Self::Internal))
    }
}

/// The `error` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorMessage {
    /// The id of the command that failed, whenever it could be read.
    pub id: Option<u32>,
    /// Why.
    pub code: ErrorCode,
    /// A sentence for people: what is wrong, where, and what to do.
    pub message: String,
    /// The channel it is about, as the client wrote it.
    pub channel: Option<String>,
    /// When to retry, in milliseconds from now.
    pub retry_after_ms: Option<u32>,
    /// Only with [`ErrorCode::ServiceError`]: what the service said.
    pub service_error: Option<Box<ServiceError>>,
}

/// The error of a service that answered a `request`, as the conventions of NATS services have it (ADR-32).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// The service's own code: the header `Nats-Service-Error-Code`, mostly a number in the manner of HTTP.
    pub code: String,
    /// A sentence of the service: the header `Nats-Service-Error`.
    pub description: String,
    /// What the service sent beside its error; `""` if that is nothing. On the wire a field of the message itself.
    pub payload: Payload,
}

impl ErrorMessage {
    /// An error with nothing but its code and sentence; set the other fields as needed.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            id: None,
            code,
            message: message.into(),
            channel: None,
            retry_after_ms: None,
            service_error: None,
        }
    }
}

impl fmt::Display for ErrorMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ErrorMessage {}
