//! What the server answers to a command. Failures are `error` messages instead (see [`crate::error`]).

use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::payload::Payload;
use crate::position::{Epoch, Offset};
use crate::push::{Deleted, LostReason};

/// What the server answers to a command. `connect` is answered by [`crate::push::Connected`], which is also a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The subscription stands; it precedes every update of it. Without an id if the server subscribed the session
    /// itself, as its token asked.
    Subscribed(Subscribed),
    /// The subscription has ended; no update of it follows. Without an id if the server ended it.
    Unsubscribed {
        /// The channel, as subscribed.
        channel: Channel,
    },
    /// The publication has been passed on; on a durable channel, stored.
    Published {
        /// Where it was stored. Durable channels only.
        offset: Option<Offset>,
        /// A publication of the same `key` was there already, and this one was left out.
        duplicate: bool,
    },
    /// The service's answer to `request`.
    Reply {
        /// The answer.
        payload: Payload,
    },
    /// Who is on the channel.
    Presence(Presence),
    /// A page of what the channel stores.
    History(History),
    /// The new token is in force.
    Refreshed {
        /// When it expires: RFC 3339, UTC, with milliseconds. Absent if it does not.
        expires_at: Option<String>,
    },
    /// The answer to `ping`.
    Pong,
}

impl Reply {
    /// Every `type` of a reply, in the order of the protocol's table, less `connected`, which is a push too.
    pub const KINDS: [&str; 8] = [
        "subscribed",
        "unsubscribed",
        "published",
        "reply",
        "presence",
        "history",
        "refreshed",
        "pong",
    ];

    /// The `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subscribed(_) => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Published { .. } => "published",
            Self::Reply { .. } => "reply",
            Self::Presence(_) => "presence",
            Self::History(_) => "history",
            Self::Refreshed { .. } => "refreshed",
            Self::Pong => "pong",
        }
    }
}

/// The subscription stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Subscribed {
    /// The channel, as subscribed.
    pub channel: Channel,
    /// True if the channel keeps what it carries, so that a client may resume.
    pub durable: bool,
    /// The cursor to keep until the first update, or, after a resume, the point from which delivery really continues.
    /// Durable channels only.
    pub offset: Option<Offset>,
    /// The epoch of `offset`. Durable channels only.
    pub epoch: Option<Epoch>,
    /// Only if `since` was given: true if everything since then follows; false is always followed by `lost`.
    pub recovered: Option<bool>,
}

/// Who is on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Presence {
    /// The channel.
    pub channel: Channel,
    /// How many sessions there are.
    pub count: u32,
    /// The sessions, or some of them if `count` says more.
    pub members: Vec<Member>,
}

/// One session on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The session, as its own `connected` named it.
    pub session: String,
    /// The user, unless anonymous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A page of what a durable channel stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The channel.
    pub channel: Channel,
    /// The epoch of every offset in this page.
    pub epoch: Epoch,
    /// The stream's last offset when the page was read: to subscribe `since` it goes on behind the newest page.
    pub upto: Offset,
    /// The publications, in the order asked for.
    pub publications: Vec<Publication>,
    /// Where the next page starts: the `offset` of its `since` (oldest first) or `before` (newest first), with `epoch`.
    /// Absent if the range is finished.
    pub next: Option<Offset>,
    /// What is no longer there of the part of the range that this page covers; told to who gave `since` as a position.
    /// Of a pattern it may be pessimistic. `epoch_changed`: `since` or `before` is of another epoch or of a place that
    /// the stream has not come to, and was left out of account.
    pub lost: Option<Gap>,
}

/// One stored publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// What was published; `""` in a delete marker.
    pub payload: Payload,
    /// The concrete channel, if the one asked for is a pattern.
    pub subject: Option<String>,
    /// Where it is stored.
    pub offset: Offset,
    /// When it was stored: RFC 3339, UTC, with milliseconds.
    pub time: Option<String>,
    /// The publisher's W3C `traceparent`.
    pub trace: Option<String>,
    /// Set if this is a delete marker.
    pub deleted: Option<Deleted>,
}

/// A hole in what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first offset that may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Offset>,
    /// The last offset that may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Offset>,
    /// How many publications are missing, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Why.
    pub reason: LostReason,
}
