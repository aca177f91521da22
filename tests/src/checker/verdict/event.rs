//! What can happen to a subscription, and what can be wrong with that.

use std::collections::HashMap;
use std::fmt;

use crate::checker::truth::SubjectId;

/// What happened to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `subscribed` came.
    Subscribed {
        /// The offset of the cursor that was given; none if the subscription was new.
        since: Option<u64>,
        /// What the answer says.
        offset: u64,
        /// What the answer says.
        epoch: String,
        /// What the answer says.
        recovered: Option<bool>,
    },
    /// `update` came.
    Update {
        /// Its subject.
        subject: SubjectId,
        /// Its offset.
        offset: u64,
        /// The fingerprint of its payload.
        print: u64,
    },
    /// `lost` came.
    Lost {
        /// The first offset it names.
        from: Option<u64>,
        /// The last offset it names.
        to: Option<u64>,
        /// Why.
        reason: String,
    },
    /// `position` came.
    Position {
        /// What it says.
        offset: u64,
    },
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// It is stored, and never came, and no `lost` named it.
    Missing {
        /// The subject.
        subject: String,
        /// The offset.
        offset: u64,
    },
    /// The edge gave a cursor that lies behind something it had not delivered.
    CursorAhead {
        /// The cursor.
        cursor: u64,
        /// The subject.
        subject: String,
        /// What had not been delivered.
        offset: u64,
    },
    /// It came twice in one connection, or behind a later one.
    Again {
        /// The subject.
        subject: String,
        /// The offset.
        offset: u64,
    },
    /// It came with another payload than it is stored with.
    Altered {
        /// The subject.
        subject: String,
        /// The offset.
        offset: u64,
    },
    /// It came, and is not stored there.
    NeverStored {
        /// The subject.
        subject: String,
        /// The offset.
        offset: u64,
    },
    /// It came, and its subject is not the subscription's.
    Stray {
        /// The subject.
        subject: String,
    },
    /// The epoch changed, and nobody had recreated the stream.
    EpochChanged,
    /// `lost` came without the range that a durable channel owes.
    LostWithoutRange,
    /// `recovered` was not true, and no `lost` followed.
    NotRecovered,
    /// An update came without an offset, before `subscribed`, or whatever else the protocol does not allow.
    Protocol(String),
    /// The subscription was never confirmed.
    NeverSubscribed,
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { subject, offset } => write!(formatter, "missing: {subject} at {offset}"),
            Self::CursorAhead {
                cursor,
                subject,
                offset,
            } => write!(
                formatter,
                "the cursor {cursor} is ahead of {subject} at {offset}, which has not come"
            ),
            Self::Again { subject, offset } => write!(formatter, "again or too late: {subject} at {offset}"),
            Self::Altered { subject, offset } => write!(formatter, "another payload: {subject} at {offset}"),
            Self::NeverStored { subject, offset } => write!(formatter, "never stored: {subject} at {offset}"),
            Self::Stray { subject } => write!(formatter, "not subscribed to: {subject}"),
            Self::EpochChanged => formatter.write_str("the epoch changed"),
            Self::LostWithoutRange => formatter.write_str("`lost` without a range"),
            Self::NotRecovered => formatter.write_str("`recovered` was not true and no `lost` followed"),
            Self::Protocol(what) => write!(formatter, "not as the protocol says: {what}"),
            Self::NeverSubscribed => formatter.write_str("never subscribed"),
        }
    }
}

/// What was counted for a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Updates that came.
    pub updates: u64,
    /// Updates that came again after a reconnect, as a pattern's may.
    pub repeats: u64,
    /// Times it went on from a cursor.
    pub resumes: u64,
    /// `lost` messages, by reason.
    pub lost: HashMap<String, u64>,
    /// Stored publications that did not come and that a `lost` named.
    pub named: u64,
    /// Everything that was wrong.
    pub wrong: u64,
}

impl Counts {
    /// Adds those of another subscription.
    pub fn add(&mut self, other: &Self) {
        self.updates += other.updates;
        self.repeats += other.repeats;
        self.resumes += other.resumes;
        self.named += other.named;
        self.wrong += other.wrong;
        for (reason, count) in &other.lost {
            *self.lost.entry(reason.clone()).or_default() += count;
        }
    }
}
