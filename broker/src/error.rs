//! Everything that can go wrong between the edge and NATS.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What went wrong between the edge and NATS: a variant for each thing that a caller or an operator
/// does differently.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The credentials file cannot be read or is not one. Check `nats.credentials_file`.
    #[error("the NATS credentials file {path:?} cannot be used")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection could not be set up at all: a server URL that is none, a certificate that cannot
    /// be read. Not a server that is away: that is retried for ever.
    #[error("the NATS connection cannot be set up")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// NATS is away; the connection is being restored. Worth another try after a pause.
    #[error("NATS is away")]
    Away,
    /// NATS did not answer in time. Worth another try after a pause.
    #[error("NATS did not answer within {timeout:?}")]
    Unavailable {
        /// How long we waited.
        timeout: Duration,
    },
    /// No server could be reached in time, or none accepted us. Check the addresses, the credentials and
    /// the network policy.
    #[error("no NATS server answered within {timeout:?}")]
    Unreachable {
        /// How long we tried.
        timeout: Duration,
    },
    /// The servers were tried once, and none could be reached or accepted us. Check what the source says.
    #[error("cannot connect to NATS at {servers}")]
    Refusing {
        /// Their addresses.
        servers: String,
        /// What the last of them said, or what kept us from it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// NATS refused the subject. The permissions of the edge's user do not cover it.
    #[error("NATS refused the subject `{subject}`: check the permissions of the edge's user")]
    Refused {
        /// The subject.
        subject: String,
    },
    /// The publication is larger than the server's `max_payload`.
    #[error("the publication has {size} bytes; this NATS server takes {limit}")]
    TooLarge {
        /// Bytes of the publication.
        size: usize,
        /// The server's limit in bytes.
        limit: usize,
    },
    /// Nobody answers requests on this subject: a stream without a leader, or no such stream. Worth
    /// another try after a pause.
    #[error("nobody answers on `{subject}`")]
    NoResponders {
        /// The subject.
        subject: String,
    },
    /// The answers to a request came to more than was allowed for.
    #[error("the answer has more than {limit} bytes or too many parts")]
    ReplyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// As much as one connection takes is under way already. Worth another try after a pause.
    #[error("too much is under way on this NATS connection")]
    Busy,
    /// Something was to be sent to NATS that is not what NATS takes there.
    #[error("NATS cannot be sent this as {0}")]
    Malformed(&'static str),
    /// The thread of the feed has ended: the process is shutting down.
    #[error("the edge is shutting down")]
    Stopped,
    /// The feed's thread could not be started.
    #[error("the feed's thread cannot be started")]
    Thread(#[source] io::Error),
}
