//! What one worker counts. Only its own thread writes, so a counter is a load, an addition and a store: no locked
//! instruction, no lock, and nothing to hand over. Whoever reads adds the workers up.
//!
//! Cost of the fan-out: three additions a batch and audience, none a subscriber (see [`Meters::handed`]).

use std::sync::atomic::{AtomicU64, Ordering};

use tailwater_broker::health::Histogram;
use tailwater_protocol::command::Command;
use tailwater_protocol::error::ErrorCode;
use tailwater_protocol::push::LostReason;

/// A number that one thread changes and any may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(more),
            Ordering::Relaxed,
        );
    }

    /// Takes away what was added.
    #[inline]
    pub(crate) fn take(&self, less: u64) {
        self.add(less.wrapping_neg());
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A label whose values are known: one counter each.
pub(crate) trait Label: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// Its place among them.
    fn index(self) -> usize;

    /// How it is written.
    fn name(self) -> &'static str;
}

macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$meaning])* $value,)* }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$value,)*];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }
    };
}

label! {
    /// How a client is connected.
    Transport {
        Websocket = "websocket",
        Sse = "sse",
        Poll = "poll",
    }
}

label! {
    /// How an opening handshake ended.
    Handshake {
        /// It has a session, which may have to say who it is.
        Accepted = "accepted",
        /// Its token was not accepted.
        Unauthenticated = "unauthenticated",
        /// Its origin, a hook or a revocation is against it.
        Forbidden = "forbidden",
        /// Too many handshakes in too short a time.
        RateLimited = "rate_limited",
        /// Too many connections.
        OverLimit = "over_limit",
        /// It is none that a WebSocket begins with.
        BadRequest = "bad_request",
        /// Nobody could decide about it.
        Unavailable = "unavailable",
        /// The client does not speak TLS, or not as the edge does, or one of them does not trust the other's certificate.
        TlsFailed = "tls_failed",
    }
}

impl Handshake {
    /// How a handshake ends whose client is told this.
    pub(crate) fn refused(error: ErrorCode) -> Self {
        match error {
            ErrorCode::Forbidden => Self::Forbidden,
            ErrorCode::Limit => Self::OverLimit,
            ErrorCode::RateLimited => Self::RateLimited,
            ErrorCode::Unavailable | ErrorCode::Timeout => Self::Unavailable,
            _ => Self::Unauthenticated,
        }
    }
}

label! {
    /// What an update was promised.
    Promise {
        Live = "live",
        Durable = "durable",
    }
}

label! {
    /// From where a resume was answered.
    Recovery {
        /// Nothing was missing, or it was in memory.
        Ring = "ring",
        /// The stream was read.
        DirectGet = "direct_get",
        /// Not in full, or not at all.
        Refused = "refused",
    }
}

/// Counters by a label.
#[derive(Debug)]
pub(crate) struct By<L, const N: usize>([Counter; N], std::marker::PhantomData<fn(L)>);

impl<L: Label, const N: usize> Default for By<L, N> {
    fn default() -> Self {
        const { assert!(N == L::ALL.len()) };
        Self(
            std::array::from_fn(|_| Counter::default()),
            std::marker::PhantomData,
        )
    }
}

impl<L: Label, const N: usize> By<L, N> {
    #[inline]
    pub(crate) fn of(&self, label: L) -> &Counter {
        &self.0[label.index()]
    }
}

/// The commands that are counted by name, and one place for what is none of them.
const COMMANDS: usize = Command::KINDS.len() + 1;

/// Every `reason` of `lost` that this server gives.
pub(crate) const LOST_REASONS: [&str; 6] = [
    "slow_consumer",
    "edge_overloaded",
    "nats_disconnected",
    "nats_refused",
    "trimmed",
    "epoch_changed",
];

/// Every error code, and success.
const RESULTS: usize = ErrorCode::ALL.len() + 1;

/// What is written in place of a command that there is not.
pub(crate) const UNKNOWN_COMMAND: &str = "unknown";

/// Updates of a batch that did not go out at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Short {
    /// Sessions that got nothing of it.
    pub(crate) sessions: u64,
    /// Of all sessions.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Short {
    /// Adds what another session did not get.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            frames: self.frames + other.frames,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) connections: By<Transport, 3>,
    pub(crate) handshakes: By<Handshake, 8>,
    pub(crate) deliveries: By<Promise, 2>,
    pub(crate) delivered_bytes: Counter,
    pub(crate) batches: Counter,
    pub(crate) outbox_bytes: Counter,
    pub(crate) slow_sessions: Counter,
    pub(crate) catch_ups: Counter,
    pub(crate) recoveries: By<Recovery, 3>,
    pub(crate) delivery_delay: Histogram,
    lost: [Counter; LOST_REASONS.len()],
    commands: [[Counter; RESULTS]; COMMANDS],
}

impl Meters {
    /// A walk has offered a batch of so many updates and bytes to so many sessions, all of which took it but for `short`.
    #[inline]
    pub(crate) fn handed(&self, promise: Promise, sessions: u64, batch: (u64, u64), short: Short) {
        let (frames, bytes) = batch;
        self.add_handed(
            promise,
            (sessions * frames).saturating_sub(short.frames),
            (sessions * bytes).saturating_sub(short.bytes),
            sessions.saturating_sub(short.sessions),
        );
    }

    /// So many updates went to sockets in so many writes.
    #[inline]
    pub(crate) fn add_handed(&self, promise: Promise, frames: u64, bytes: u64, writes: u64) {
        self.deliveries.of(promise).add(frames);
        self.delivered_bytes.add(bytes);
        self.batches.add(writes);
    }

    /// So many messages say that publications were lost.
    pub(crate) fn announced(&self, reason: &LostReason, messages: u64) {
        if let Some(place) = LOST_REASONS.iter().position(|known| *known == reason.as_str()) {
            self.lost[place].add(messages);
        }
    }

    /// How often it was told that something was lost for this one of [`LOST_REASONS`].
    pub(crate) fn lost(&self, place: usize) -> u64 {
        self.lost[place].get()
    }

    /// A command was answered, or refused with a code. `command` is its `type`, or anything else for what is none.
    pub(crate) fn command(&self, command: &str, error: Option<ErrorCode>) {
        let known = Command::KINDS.iter().position(|kind| *kind == command);
        let code = error.and_then(|error| ErrorCode::ALL.iter().position(|code| *code == error));
        let result = code.map_or(0, |code| code + 1);
        self.commands[known.unwrap_or(COMMANDS - 1)][result].add(1);
    }

    /// Commands by their type and result.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let results = || std::iter::once("ok").chain(ErrorCode::ALL.iter().map(|code| code.as_str()));
        let kinds = Command::KINDS.into_iter().chain([UNKNOWN_COMMAND]);
        let each = kinds.zip(&self.commands);
        each.flat_map(move |(kind, counters)| {
            let counted = results().zip(counters);
            counted.map(move |(result, counter)| (kind, result, counter.get()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_counts_what_went_out_and_not_what_was_left() {
        let meters = Meters::default();
        let short = Short {
            sessions: 1,
            frames: 2 + 1,
            bytes: 200 + 100,
        };
        // Ten sessions: one got nothing of two updates, another one the first.
        meters.handed(Promise::Live, 10, (2, 200), short);
        assert_eq!(meters.deliveries.of(Promise::Live).get(), 17);
        assert_eq!((meters.delivered_bytes.get(), meters.batches.get()), (1700, 9));
    }

    #[test]
    fn every_reason_that_the_edge_gives_is_counted() {
        for reason in LOST_REASONS {
            let known = LostReason::ALL.iter().find(|known| known.as_str() == reason);
            let meters = Meters::default();
            meters.announced(known.expect("a reason of the protocol"), 3);
            let counted: u64 = (0..LOST_REASONS.len()).map(|place| meters.lost(place)).sum();
            assert_eq!(counted, 3, "{reason}");
        }
    }

    #[test]
    fn what_is_no_command_is_counted_under_one_name() {
        let meters = Meters::default();
        meters.command("ping", None);
        meters.command("no such thing", Some(ErrorCode::UnknownType));
        let counted: Vec<_> = meters.commands().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [("ping", "ok", 1), (UNKNOWN_COMMAND, "unknown_type", 1)]);
    }
}
