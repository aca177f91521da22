//! What the server says unasked. `UpdateRef` is the one message of the hot path: it borrows everything, so that the
//! encoder copies a publication once, into its frame.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::Channel;
use crate::error::ErrorMessage;
use crate::limits::PROTOCOL_VERSION;
use crate::payload::{Payload, PayloadRef};
use crate::position::{Epoch, Offset};
use crate::reply::Member;

/// What the server says unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// The session is authenticated: the first message of all. Also the answer to `connect`, then with its id.
    Connected(Connected),
    /// A publication on a channel.
    Update(Update),
    /// Publications are missing here, and these are they.
    Lost(Lost),
    /// Everything of the channel up to here has been delivered: the cursor to keep.
    Position {
        /// The channel, as subscribed.
        channel: Channel,
        /// The cursor.
        offset: Offset,
        /// The epoch of `offset`.
        epoch: Epoch,
    },
    /// Somebody came to a channel.
    Joined {
        /// The channel.
        channel: Channel,
        /// Who.
        member: Member,
    },
    /// Somebody left a channel.
    Left {
        /// The channel.
        channel: Channel,
        /// Who.
        member: Member,
    },
    /// This edge is about to leave: connect again, to another one.
    Drain {
        /// When to, in milliseconds from now. Each client is told another time, so that they do not come at once.
        reconnect_after_ms: u32,
    },
    /// A command failed, or the session has trouble.
    Error(ErrorMessage),
}

impl Push {
    /// Every `type` of a push, in the order of the protocol's description.
    pub const KINDS: [&str; 8] = [
        "connected",
        "update",
        "lost",
        "position",
        "joined",
        "left",
        "drain",
        "error",
    ];

    /// The `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connected(_) => "connected",
            Self::Update(_) => "update",
            Self::Lost(_) => "lost",
            Self::Position { .. } => "position",
            Self::Joined { .. } => "joined",
            Self::Left { .. } => "left",
            Self::Drain { .. } => "drain",
            Self::Error(_) => "error",
        }
    }
}

/// The session is authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Connected {
    /// The session's name, for logs and presence. It is no secret and opens nothing.
    pub session: String,
    /// The protocol's version: 1.
    pub protocol: u32,
    /// `Welcome!`
    pub message: String,
    /// The user, unless anonymous.
    pub user: Option<String>,
    /// When the token expires: RFC 3339, UTC, with milliseconds. Absent if it does not.
    pub expires_at: Option<String>,
    /// How often the server pings, in milliseconds. A client that hears nothing for twice as long has lost the
    /// connection.
    pub ping_interval_ms: u32,
}

impl Connected {
    /// What `message` says.
    pub const MESSAGE: &str = "Welcome!";

    /// For an anonymous session; set `user` and `expires_at` for another one.
    pub fn new(session: impl Into<String>, ping_interval_ms: u32) -> Self {
        Self {
            session: session.into(),
            protocol: PROTOCOL_VERSION,
            message: Self::MESSAGE.to_owned(),
            user: None,
            expires_at: None,
            ping_interval_ms,
        }
    }
}

/// A publication on a channel, owned, as a client decodes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The channel, as subscribed.
    pub channel: Channel,
    /// What was published; `""` in a delete marker.
    pub payload: Payload,
    /// The concrete channel, if the subscribed one is a pattern.
    pub subject: Option<String>,
    /// Where it is stored. Durable channels only.
    pub offset: Option<Offset>,
    /// When it was stored: RFC 3339, UTC, with milliseconds.
    pub time: Option<String>,
    /// The publisher's W3C `traceparent`.
    pub trace: Option<String>,
    /// Set if this is a delete marker: the subject's last value is gone.
    pub deleted: Option<Deleted>,
}

impl Update {
    /// The update, borrowed.
    pub fn as_ref(&self) -> UpdateRef<'_> {
        UpdateRef {
            channel: &self.channel,
            payload: self.payload.as_ref(),
            subject: self.subject.as_deref(),
            offset: self.offset,
            epoch: None,
            time: self.time.as_deref(),
            trace: self.trace.as_deref(),
            deleted: self.deleted,
        }
    }
}

/// A publication on a channel, borrowed, as the hot path encodes it. The fields are those of [`Update`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateRef<'a> {
    /// The channel, as subscribed.
    pub channel: &'a Channel,
    /// What was published; `Text("")` in a delete marker.
    pub payload: PayloadRef<'a>,
    /// The concrete channel, if the subscribed one is a pattern.
    pub subject: Option<&'a str>,
    /// Where it is stored.
    pub offset: Option<Offset>,
    /// The epoch of `offset`. Only events with ids carry it; clients of the others know it.
    pub epoch: Option<&'a Epoch>,
    /// When it was stored.
    pub time: Option<&'a str>,
    /// The publisher's `traceparent`.
    pub trace: Option<&'a str>,
    /// Set if this is a delete marker.
    pub deleted: Option<Deleted>,
}

impl<'a> UpdateRef<'a> {
    /// An update with nothing but its payload, as a live channel of an exact name has it.
    pub fn new(channel: &'a Channel, payload: PayloadRef<'a>) -> Self {
        Self {
            channel,
            payload,
            subject: None,
            offset: None,
            epoch: None,
            time: None,
            trace: None,
            deleted: None,
        }
    }

    /// The concrete channel of the publication.
    pub fn concrete(&self) -> &'a str {
        self.subject.unwrap_or(self.channel.as_str())
    }
}

/// Why the last value of a subject is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deleted {
    /// It outlived its age limit.
    MaxAge,
    /// Somebody purged it.
    Purge,
}

/// Publications are missing in what the client receives: never silently.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Lost {
    /// The channel, as subscribed.
    pub channel: Channel,
    /// The first offset that may be missing. Durable channels only.
    pub from: Option<Offset>,
    /// The last offset that may be missing. Durable channels only.
    pub to: Option<Offset>,
    /// How many publications are missing, if that is known.
    pub count: Option<u64>,
    /// Why.
    pub reason: LostReason,
}

/// Why publications are missing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LostReason {
    /// `trimmed`: they are no longer stored. On a pattern this may be pessimistic: the missing offsets may have
    /// belonged to other channels.
    Trimmed,
    /// `epoch_changed`: the stream was recreated, restored or set back, so the cursor means nothing in it. Delivery
    /// goes on from the oldest that is stored.
    EpochChanged,
    /// `edge_overloaded`: the edge could not keep up with NATS. Live channels only.
    EdgeOverloaded,
    /// `slow_consumer`: this client read too slowly, and the oldest that it had not read were dropped. Live channels
    /// only.
    SlowConsumer,
    /// `nats_disconnected`: the edge had no connection to NATS. Live channels only.
    NatsDisconnected,
    /// `nats_refused`: NATS no longer lets the edge subscribe to the channel; nothing more comes until it
    /// is subscribed to again. Live channels only.
    NatsRefused,
    /// `too_large`: a publication was larger than the edge passes on.
    TooLarge,
    /// A reason of a newer server, as it came.
    Other(String),
}

impl LostReason {
    /// Every reason that this version knows.
    pub const ALL: [Self; 7] = [
        Self::Trimmed,
        Self::EpochChanged,
        Self::EdgeOverloaded,
        Self::SlowConsumer,
        Self::NatsDisconnected,
        Self::NatsRefused,
        Self::TooLarge,
    ];

    /// The reason on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Trimmed => "trimmed",
            Self::EpochChanged => "epoch_changed",
            Self::EdgeOverloaded => "edge_overloaded",
            Self::SlowConsumer => "slow_consumer",
            Self::NatsDisconnected => "nats_disconnected",
            Self::NatsRefused => "nats_refused",
            Self::TooLarge => "too_large",
            Self::Other(reason) => reason,
        }
    }
}

impl From<String> for LostReason {
    fn from(text: String) -> Self {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .unwrap_or(Self::Other(text))
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl Serialize for LostReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for LostReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
