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
    /// The connection broke before the answer to a request came. What was asked may have been done.
    #[error(
        "the connection to NATS broke before an answer from `{subject}` came: what was asked may have been done"
    )]
    AnswerLost {
        /// The subject of the request.
        subject: String,
    },
    /// NATS does not let us receive acknowledgements. What was sent before that was known may be stored. Allow the
    /// edge's user to subscribe to its inbox.
    #[error(
        "NATS refuses answers on `{subject}`, so whether the publication is stored is unknown: check the permissions \
         of the edge's user"
    )]
    InboxRefused {
        /// The subject that answers would have come on.
        subject: String,
    },
    /// No stream took the publication: the stream does not exist, does not hold this subject, has no leader at the
    /// moment, or JetStream is off. Nothing was stored. Worth another try after a pause.
    #[error(
        "no stream takes `{subject}` now, nothing was stored: the stream `{stream}` has no leader or does not exist"
    )]
    StreamAway {
        /// The stream that should have.
        stream: String,
        /// The subject.
        subject: String,
    },
    /// The subject belongs to another stream than the namespace says. Nothing was stored. Check the subjects of both
    /// streams and the namespace's `stream`.
    #[error(
        "`{subject}` belongs to another stream than `{stream}`, nothing was stored: check the subjects of both"
    )]
    WrongStream {
        /// The stream that the namespace names.
        stream: String,
        /// The subject.
        subject: String,
    },
    /// The stream, or the account, is at a limit and refuses what is new. Nothing was stored. Raise the limit, or let
    /// the stream discard the oldest.
    #[error("the stream `{stream}` is full, nothing was stored: {reason}")]
    StreamFull {
        /// The stream.
        stream: String,
        /// The limit, in JetStream's words.
        reason: String,
    },
    /// The stream cannot take anything at the moment: too much is under way, it has no leader, it is offline, or an
    /// earlier attempt of the same publication is still being stored. Worth another try after a pause.
    #[error("the stream `{stream}` cannot store this now: {reason}")]
    StreamBusy {
        /// The stream.
        stream: String,
        /// Why, in JetStream's words.
        reason: String,
    },
    /// The publication is larger than the stream takes (`max_msg_size`). Nothing was stored.
    #[error("the publication is larger than the stream `{stream}` takes, nothing was stored")]
    TooLargeForStream {
        /// The stream.
        stream: String,
    },
    /// The stream refused the publication for another reason: it is sealed, for example. Nothing was stored. Look the
    /// code up in the documentation of nats-server.
    #[error("the stream `{stream}` refused the publication, nothing was stored: {reason} (code {code})")]
    StreamRefused {
        /// The stream.
        stream: String,
        /// JetStream's `err_code`.
        code: u64,
        /// Why, in JetStream's words.
        reason: String,
    },
    /// The stream did not acknowledge in time. The publication may or may not be stored.
    #[error(
        "the stream `{stream}` has not acknowledged within {timeout:?}: the publication may or may not be stored; \
         repeat it with the same `key`"
    )]
    Unacknowledged {
        /// The stream.
        stream: String,
        /// How long we waited.
        timeout: Duration,
    },
    /// The connection broke before the stream acknowledged. The publication may or may not be stored.
    #[error(
        "the connection to NATS broke before the stream `{stream}` acknowledged: the publication may or may not be \
         stored; repeat it with the same `key`"
    )]
    AcknowledgementLost {
        /// The stream.
        stream: String,
    },
    /// Something answered in time, but it was no acknowledgement of the stream: another subscriber of the subject
    /// answers publications. The publication may or may not be stored.
    #[error(
        "what answered on `{subject}` was not the stream `{stream}`: the publication may or may not be stored; repeat \
         it with the same `key`"
    )]
    StrangeAcknowledgement {
        /// The stream.
        stream: String,
        /// The subject.
        subject: String,
    },
    /// The publication is stored, but the stream's sequence has outgrown what clients can count to. Begin a new stream.
    #[error("the publication is stored, but the stream `{stream}` has reached {sequence}, beyond any offset")]
    OffsetTooLarge {
        /// The stream.
        stream: String,
        /// Where it is stored.
        sequence: u64,
    },
    /// JetStream is off, on the servers or for the account, or is in a domain. Turn it on, or correct
    /// `nats.jetstream_domain`.
    #[error(
        "JetStream does not answer on `{api}`: turn it on in NATS, for the servers and the account, or correct \
         `nats.jetstream_domain`"
    )]
    NoJetStream {
        /// Prefix of the API's subjects.
        api: String,
    },
    /// JetStream answered with an error of its own. What it says tells whether another try is worth it.
    #[error("JetStream refuses `{request}`: {description} (error {code})")]
    JetStream {
        /// The subject of the request.
        request: String,
        /// JetStream's number of the error (`err_code`).
        code: u64,
        /// What it says, and what to do about it where we know.
        description: String,
    },
    /// There is no such stream, and we are not to create it.
    #[error("there is no stream `{stream}`")]
    NoStream {
        /// Its name.
        stream: String,
    },
    /// The stream, or JetStream as a whole, has no leader: most of its servers are away, or they are still electing one.
    /// Worth another try after a pause.
    #[error(
        "nobody answers for the stream `{stream}`: it, or JetStream as a whole, has no leader now; are most of its \
         servers away?"
    )]
    NoLeader {
        /// Its name.
        stream: String,
    },
    /// The stream cannot be created, because another one has some of its subjects. Use that one, or narrow one of
    /// them.
    #[error(
        "the stream `{stream}` cannot be created, because {other} has some of its subjects ({subjects}): name that \
         stream in the namespace (`stream = \"…\"`), or narrow the subjects of one of them"
    )]
    SubjectsTaken {
        /// The stream that was to be created.
        stream: String,
        /// Its subjects.
        subjects: String,
        /// Who has them, as far as NATS lets us know.
        other: String,
    },
    /// The stream is not as durable channels need it, and we may not or must not change it.
    #[error("the stream `{stream}` cannot serve durable channels: {}", .reasons.join("; "))]
    StreamUnfit {
        /// Its name.
        stream: String,
        /// What is wrong, each with what to do.
        reasons: Vec<String>,
    },
    /// The key-value bucket is not as it must be. Correct what the reason names.
    #[error("the bucket `{bucket}` cannot be used: {reason}")]
    BucketUnfit {
        /// Its name.
        bucket: String,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// What JetStream answered is not what it should be: a server that is too old, or none.
    #[error("NATS answers `{request}` with what is no answer of JetStream")]
    Unintelligible {
        /// The subject of the request.
        request: String,
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
    /// A pattern matches more subjects than are read at once.
    #[error("more than {limit} subjects match")]
    TooManySubjects {
        /// How many are read at once.
        limit: usize,
    },
    /// The thread of the feed has ended: the process is shutting down.
    #[error("the edge is shutting down")]
    Stopped,
    /// The feed's thread could not be started.
    #[error("the feed's thread cannot be started")]
    Thread(#[source] io::Error),
}
