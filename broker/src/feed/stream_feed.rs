//! The live side of one stream: the interests in its channels, and when they have to be settled or audited.
//!
//! **Settling** (`settle`). A barrier proves that the leader has all our subscriptions and tells how far the stream has come; then
//! the newest publication of every unsettled exact channel is read, from a replica that is at least as far. From there
//! on the live feed is complete, and what lies before is left to be read by those who lack it.
//!
//! **Audit** (`audit`). The newest publications are read; then a barrier: what was stored before had the time to arrive by the
//! time of its answer. What did not arrive was lost, and is left to be read.

mod audit;
mod settle;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tailwater_protocol::position::Epoch;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::interest::InterestId;
use super::pending::{Outlets, Pending};
use crate::connection::Connection;
use crate::error::BrokerError;
use crate::jetstream::{self, Heads};
use crate::publication::Publication;
use crate::stream::Streams;
use crate::timeline::Timeline;
use crate::wire::{Message, OwnedMessage, Wire};

/// How long one request of a round may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a round that failed; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Member = Rc<RefCell<Pending>>;

/// What a round needs to ask.
pub(super) struct Asks {
    /// The connection for live subscriptions: barriers travel behind them.
    pub(super) live: Wire<Member>,
    /// The connection for publications, for what is rare.
    pub(super) connection: Connection,
    pub(super) streams: Streams,
    pub(super) outlets: Rc<Outlets>,
}

/// The live side of one stream.
pub(super) struct StreamFeed {
    timeline: Arc<Timeline>,
    members: RefCell<HashMap<InterestId, Weak<RefCell<Pending>>>>,
    /// The largest offset that arrived on this connection.
    highest: Cell<u64>,
    /// An older offset arrived behind a newer one: the stream may have begun anew.
    suspect: Cell<bool>,
    asked: Notify,
    audit_due: Notify,
    /// Messages that this stream did not republish, though they came where it does.
    strangers: Cell<u64>,
}

impl StreamFeed {
    pub(super) fn new(timeline: Arc<Timeline>) -> Self {
        Self {
            timeline,
            members: RefCell::default(),
            highest: Cell::new(0),
            suspect: Cell::new(false),
            asked: Notify::new(),
            audit_due: Notify::new(),
            strangers: Cell::new(0),
        }
    }

    pub(super) fn add(&self, id: InterestId, member: &Member) {
        self.members.borrow_mut().insert(id, Rc::downgrade(member));
    }

    pub(super) fn remove(&self, id: InterestId) {
        self.members.borrow_mut().remove(&id);
    }

    pub(super) fn life(&self) -> u32 {
        self.timeline.life().number
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.timeline.life().epoch
    }

    /// The publication, if the stream itself republished it: anybody who may publish there could forge it otherwise.
    pub(super) fn genuine<'m>(&self, message: &Message<'m>) -> Option<Publication<'m>> {
        let stream = &self.timeline.stream;
        let publication = Publication::read(message.headers, message.payload).filter(|publication| {
            let subject = message
                .subject
                .strip_prefix(stream.live_prefix.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"."));
            publication.stream == stream.name.as_bytes() && subject == Some(publication.subject.as_bytes())
        });
        if publication.is_none() {
            let count = self.strangers.get() + 1;
            self.strangers.set(count);
            if count == 1 {
                let (stream, subject) = (&*stream.name, String::from_utf8_lossy(message.subject));
                tracing::warn!(stream, %subject, "ignored a message that the stream did not republish: let nobody publish there");
            }
        }
        publication
    }

    /// Whether the stream may have begun anew, now that this offset has arrived: a connection brings a stream's
    /// publications in the order of their offsets.
    pub(super) fn is_suspect(&self, offset: u64) -> bool {
        if offset < self.highest.get() {
            self.suspect.set(true);
            self.ask();
        } else {
            self.highest.set(offset);
        }
        self.suspect.get()
    }

    /// How far the stream has come, for those who judge cursors.
    pub(super) fn reached(&self, offset: u64) {
        self.timeline.reached(offset);
    }

    /// The link broke or is back: offsets of different connections are in no order.
    pub(super) fn interrupted(&self) {
        self.highest.set(0);
        self.ask();
    }

    /// Asks for a round.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Asks for an audit before its time.
    pub(super) fn audit_soon(&self) {
        self.audit_due.notify_one();
    }

    fn members(&self) -> Vec<Member> {
        self.members.borrow().values().filter_map(Weak::upgrade).collect()
    }

    fn unsettled(&self) -> Vec<Member> {
        let is_settled = |member: &Member| {
            let pending = member.borrow();
            pending
                .ordered
                .as_ref()
                .is_none_or(|ordered| ordered.sequence.is_settled())
        };
        let mut members = self.members();
        members.retain(|member| !is_settled(member));
        members
    }

    /// Settles and audits for as long as the feed runs: an audit of many channels takes its time, and who joins meanwhile
    /// does not wait for its end.
    pub(super) async fn run(self: Rc<Self>, asks: Rc<Asks>) {
        tokio::join!(self.keep_settled(&asks), self.keep_audited(&asks));
    }

    async fn keep_settled(&self, asks: &Asks) {
        let mut patience = Patience::default();
        loop {
            if self.suspect.get() || !self.unsettled().is_empty() {
                let settled = self.settle(asks).await;
                if matches!(settled, Err(BrokerError::NoResponders { .. })) {
                    asks.streams.doubt();
                }
                patience.wait_after(settled, &self.timeline).await;
            } else {
                self.asked.notified().await;
            }
        }
    }

    async fn keep_audited(&self, asks: &Asks) {
        let interval = self.timeline.stream.audit_interval;
        let mut patience = Patience::default();
        let mut audit_at = Instant::now() + interval.mul_f64(0.5 + fastrand::f64() / 2.0);
        loop {
            tokio::select! {
                () = sleep_until(audit_at) => {}
                () = self.audit_due.notified() => {}
            }
            let audited = self.audit(asks).await;
            if matches!(audited, Err(BrokerError::NoStream { .. })) {
                asks.streams.doubt();
            }
            if audited.is_ok() {
                // Between three quarters and all of the interval, so that a fleet does not ask as one.
                audit_at = Instant::now() + interval.mul_f64(0.75 + fastrand::f64() / 4.0);
            }
            // It may have found something to settle.
            self.ask();
            patience.wait_after(audited, &self.timeline).await;
        }
    }

    async fn ask_heads(&self, asks: &Asks, subjects: &[&str], upto: u64) -> Result<Heads, BrokerError> {
        let wire = asks.outlets.history.wire();
        jetstream::heads(wire, &self.timeline.stream, subjects, upto, REQUEST_TIMEOUT).await
    }
}

/// The pauses between rounds that fail.
struct Patience {
    pause: Duration,
    complained: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pause: FIRST_PAUSE,
            complained: false,
        }
    }
}

impl Patience {
    /// Waits if the round failed, each time longer, and tells the log the first time.
    async fn wait_after(&mut self, round: Result<(), BrokerError>, timeline: &Timeline) {
        let Err(error) = round else {
            *self = Self::default();
            return;
        };
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(stream = &*timeline.stream.name, %error, "durable channels wait for JetStream");
        }
        sleep(self.pause.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
fn is_exact(member: &Member) -> bool {
    !member.borrow().interest.channel().is_wildcard()
}

/// The subject of an exact channel in the stream.
fn subject_of(pending: &Pending) -> Option<Arc<str>> {
    let is_exact = !pending.interest.channel().is_wildcard();
    is_exact.then(|| subject_of_any(pending)).flatten()
}

/// The subject of a channel in the stream, which may have wildcards.
fn subject_of_any(pending: &Pending) -> Option<Arc<str>> {
    pending
        .interest
        .durable
        .as_ref()
        .map(|durable| Arc::from(durable.subject.as_str()))
}

/// Subject and offset of a message that was read back.
fn head(message: &OwnedMessage) -> Option<(&str, u64)> {
    Publication::of(message).map(|publication| (publication.subject, publication.offset.get()))
}
