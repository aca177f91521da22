//! Why a client is not let in, and what it is told: a status, a sentence and when to come back.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use tailwater_protocol::error::{ErrorCode, ErrorMessage};

use crate::http::{Reply, plain};

/// Where no time is known after which there is room.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

/// Connections of an address end less often than those of all.
const RETRY_WHEN_ADDRESS_IS_FULL: Duration = Duration::from_secs(5);

/// The limit that a client is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no room for another connection: come back with back-off")]
    Connections,
    #[error("too many connections are made at the moment: come back with back-off")]
    Handshakes { wait: Duration },
    #[error("this address has too many connections: close some first")]
    AddressConnections,
    #[error("this address connects too often: wait for the time that `Retry-After` names")]
    AddressHandshakes { wait: Duration },
}

impl Refusal {
    /// How many kinds there are.
    pub(super) const KINDS: usize = 4;

    /// Those of them that are about how fast connections are made.
    pub(super) const RATES: [usize; 2] = [1, 3];

    /// Which of them it is.
    pub(super) fn kind(self) -> usize {
        match self {
            Self::Connections => 0,
            Self::Handshakes { .. } => 1,
            Self::AddressConnections => 2,
            Self::AddressHandshakes { .. } => 3,
        }
    }

    /// The limit's name in the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshakes { .. } => "handshakes",
            Self::AddressConnections => "connections_per_address",
            Self::AddressHandshakes { .. } => "handshakes_per_address",
        }
    }

    /// What an operator may do about it, to follow a sentence.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Connections | Self::Handshakes { .. } => "",
            Self::AddressConnections | Self::AddressHandshakes { .. } => {
                ": if the address is that of a proxy, it belongs into `proxy.trusted`"
            }
        }
    }

    /// 429 (RFC 6585 section 4) if it is the client's own doing, else 503.
    fn status(self) -> StatusCode {
        match self {
            Self::Connections | Self::Handshakes { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::AddressConnections | Self::AddressHandshakes { .. } => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// `Retry-After` in whole seconds (RFC 9110 section 10.2.3).
    fn retry_after_secs(self) -> u64 {
        let wait = match self {
            Self::Connections => RETRY_WHEN_FULL,
            Self::AddressConnections => RETRY_WHEN_ADDRESS_IS_FULL,
            Self::Handshakes { wait } | Self::AddressHandshakes { wait } => wait,
        };
        wait.as_secs() + u64::from(wait.subsec_nanos() > 0).max(u64::from(wait.is_zero()))
    }

    /// What a client is told that understands our errors.
    pub(crate) fn error(self) -> ErrorMessage {
        let code = match self {
            Self::Connections | Self::Handshakes { .. } => ErrorCode::Unavailable,
            Self::AddressConnections => ErrorCode::Limit,
            Self::AddressHandshakes { .. } => ErrorCode::RateLimited,
        };
        let millis = self.retry_after_secs().saturating_mul(1000);
        ErrorMessage {
            retry_after_ms: Some(u32::try_from(millis).unwrap_or(u32::MAX)),
            ..ErrorMessage::new(code, self.to_string())
        }
    }

    /// The answer to a request.
    pub(crate) fn response(self) -> Reply {
        let mut response = plain(self.status(), &self.to_string());
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after_secs()));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    /// The answer as bytes, for a client whose request is not read.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let (status, body, seconds) = (self.status(), format!("{self}\n"), self.retry_after_secs());
        format!(
            "HTTP/1.1 {status}\r\nRetry-After: {seconds}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_to_come_back_in_whole_seconds_and_never_at_once() {
        for (millis, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            let wait = Duration::from_millis(millis);
            let refusal = Refusal::AddressHandshakes { wait };
            assert_eq!(refusal.retry_after_secs(), seconds, "{millis}");
            assert_eq!(refusal.response().headers()[RETRY_AFTER], seconds.to_string());
        }
        let bytes = String::from_utf8(Refusal::Connections.bytes()).unwrap();
        assert!(
            bytes.starts_with("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"),
            "{bytes}"
        );
    }
}
