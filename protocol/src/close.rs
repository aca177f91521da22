//! Why the server ends a connection, and whether to come back. Codes are RFC 6455's where one fits (section 7.4.1),
//! else from 4400 to 4499, which are ours to define (section 7.4.2).

/// The status code of a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// 1000: the client asked for it, and all is well.
    Normal = 1000,
    /// 1001: the server ends without a drain.
    GoingAway = 1001,
    /// 1002: the client broke RFC 6455.
    ProtocolError = 1002,
    /// 1003: a kind of frame that the negotiated subprotocol does not use.
    Unsupported = 1003,
    /// 1007: a text frame that is not UTF-8.
    InvalidUtf8 = 1007,
    /// 1009: a message above the server's limit.
    TooLarge = 1009,
    /// 1011: a fault of the server.
    Internal = 1011,
    /// 1012: the server has drained, as `drain` said before.
    Drain = 1012,
    /// 1013: the server, or the limits of this user or address, hold no more connections.
    Overloaded = 1013,
    /// 4400: the token was not accepted.
    Unauthenticated = 4400,
    /// 4401: the token has expired, and no `refresh` came within the grace.
    TokenExpired = 4401,
    /// 4403: the session was revoked, or its user may not connect.
    Revoked = 4403,
    /// 4408: no `connect` came in time.
    HelloTimeout = 4408,
    /// 4410: an operator or service ended the session.
    Disconnected = 4410,
    /// 4411: no answer to pings.
    PingTimeout = 4411,
    /// 4413: the client read too slowly on a live channel whose policy is `disconnect`.
    SlowConsumer = 4413,
    /// 4414: the client read nothing for the stall timeout.
    Stalled = 4414,
    /// 4429: the client kept sending above its rate.
    RateLimited = 4429,
}

/// Whether and how to connect again after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reconnect {
    /// Not by itself: the same would happen again, or it is not wanted.
    Never,
    /// With exponential back-off and jitter; durable channels resume from their cursors. After [`CloseCode::TooLarge`]
    /// without what was sent and not answered.
    Backoff,
    /// After the time that `drain` named; without one, with back-off.
    AsDrainSaid,
    /// With a new token.
    WithNewToken,
}

impl CloseCode {
    /// Every code.
    pub const ALL: [Self; 18] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::Unsupported,
        Self::InvalidUtf8,
        Self::TooLarge,
        Self::Internal,
        Self::Drain,
        Self::Overloaded,
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::Revoked,
        Self::HelloTimeout,
        Self::Disconnected,
        Self::PingTimeout,
        Self::SlowConsumer,
        Self::Stalled,
        Self::RateLimited,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The code of this number; `None` if the server does not send it.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }

    /// What the close frame says to people: the reason and what to do, at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "bye",
            Self::GoingAway => "the server is going away: reconnect with back-off",
            Self::ProtocolError => "the client broke RFC 6455: correct it before reconnecting",
            Self::Unsupported => {
                "JSON travels in text frames, MessagePack in binary ones: correct that before reconnecting"
            }
            Self::InvalidUtf8 => "a text frame was not UTF-8: correct that before reconnecting",
            Self::TooLarge => "the message was too large: reconnect, but do not send it again",
            Self::Internal => "a fault of the server: reconnect with back-off",
            Self::Drain => "the server has drained: reconnect after the time that `drain` named",
            Self::Overloaded => "too many connections: reconnect with back-off",
            Self::Unauthenticated => "the token was not accepted: reconnect with a valid one",
            Self::TokenExpired => "the token has expired: reconnect with a new one",
            Self::Revoked => "access was revoked: do not reconnect with this token",
            Self::HelloTimeout => "no `connect` came in time: reconnect with a token",
            Self::Disconnected => "ended by the operator: do not reconnect by yourself",
            Self::PingTimeout => "no answer to pings: reconnect with back-off and resume",
            Self::SlowConsumer => "the client read too slowly: reconnect with back-off",
            Self::Stalled => {
                "the client stopped reading: reconnect with back-off and resume from the last cursor"
            }
            Self::RateLimited => "too many commands: send fewer, reconnect with back-off",
        }
    }

    /// Whether and how to connect again.
    pub fn reconnect(self) -> Reconnect {
        match self {
            Self::Normal
            | Self::ProtocolError
            | Self::Unsupported
            | Self::InvalidUtf8
            | Self::Disconnected => Reconnect::Never,
            Self::GoingAway
            | Self::TooLarge
            | Self::Internal
            | Self::Overloaded
            | Self::PingTimeout
            | Self::SlowConsumer
            | Self::Stalled
            | Self::RateLimited => Reconnect::Backoff,
            Self::Drain => Reconnect::AsDrainSaid,
            Self::Unauthenticated | Self::TokenExpired | Self::Revoked | Self::HelloTimeout => {
                Reconnect::WithNewToken
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_CLOSE_REASON_BYTES;

    #[test]
    fn every_reason_fits_its_frame_and_every_code_reads_back() {
        for code in CloseCode::ALL {
            assert!(code.reason().len() <= MAX_CLOSE_REASON_BYTES, "{code:?}");
            assert_eq!(CloseCode::from_code(code.code()), Some(code));
        }
        assert_eq!(CloseCode::from_code(1005), None);
    }

    #[test]
    fn our_own_codes_are_in_their_range() {
        let ours = CloseCode::ALL
            .into_iter()
            .map(CloseCode::code)
            .filter(|code| *code >= 1014);
        assert!(ours.into_iter().all(|code| (4400..=4499).contains(&code)));
    }
}
