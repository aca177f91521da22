//! The live side of one stream: the interests in its channels, and when they have to be settled or audited.
//!
//! **Settling.** A barrier proves that the leader has all our subscriptions and tells how far the stream has come; then
//! the newest publication of every unsettled exact channel is read, from a replica that is at least as far. From there
//! on the live feed is complete, and what lies before is left to be read by those who lack it.
//!
//! **Audit.** The newest publications are read; then a barrier: what was stored before had the time to arrive by the
//! time of its answer. What did not arrive was lost, and is left to be read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tailwater_protocol::batch::subject_hash;
use tailwater_protocol::position::Epoch;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::inbox::Delivery;
use super::interest::{InterestId, Progress};
use super::pending::{Outlets, Pending};
use crate::connection::Connection;
use crate::epoch;
use crate::error::BrokerError;
use crate::jetstream::{self, Get, Heads};
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

/// Every so many audits it is seen to that the sync message does not expire.
const KEEP_EVERY: u64 = 10;

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

    /// Settles and audits for as long as the feed runs.
    pub(super) async fn run(self: Rc<Self>, asks: Rc<Asks>) {
        let interval = self.timeline.stream.audit_interval;
        let mut audit_at = Instant::now() + interval.mul_f64(0.5 + fastrand::f64() / 2.0);
        let mut pause = FIRST_PAUSE;
        let mut complained = false;
        let mut audits = 0_u64;
        loop {
            let worked = if self.suspect.get() || !self.unsettled().is_empty() {
                self.settle(&asks).await
            } else if Instant::now() >= audit_at {
                // Between three quarters and all of the interval, so that a fleet does not ask as one.
                audit_at = Instant::now() + interval.mul_f64(0.75 + fastrand::f64() / 4.0);
                audits += 1;
                self.audit(&asks, audits.is_multiple_of(KEEP_EVERY)).await
            } else {
                tokio::select! {
                    () = self.asked.notified() => {}
                    () = sleep_until(audit_at) => {}
                }
                Ok(())
            };
            match worked {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    complained = false;
                }
                Err(error) => {
                    if matches!(error, BrokerError::NoResponders { .. }) {
                        asks.streams.doubt();
                    }
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(stream = &*self.timeline.stream.name, %error, "durable channels wait for JetStream");
                    }
                    sleep(pause.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Finds out up to where each unsettled channel is to be read, and lets the live feed go on from there.
    async fn settle(&self, asks: &Asks) -> Result<(), BrokerError> {
        if self.suspect.replace(false) {
            self.highest.set(0);
            for member in self.members() {
                if let Some(ordered) = &mut member.borrow_mut().ordered {
                    ordered.sequence.unsettle();
                }
            }
        }
        let doubts = |member: &Member| {
            let pending = member.borrow();
            pending.ordered.as_ref().map(|ordered| ordered.sequence.doubts())
        };
        let members: Vec<_> = self
            .unsettled()
            .into_iter()
            .map(|member| (doubts(&member), member))
            .collect();
        let known = self.timeline.highest();
        let upto = jetstream::barrier(&asks.live, &self.timeline.stream, REQUEST_TIMEOUT).await?;
        let exact: Vec<&Member> = members
            .iter()
            .map(|(_, member)| member)
            .filter(|member| is_exact(member))
            .collect();
        let (heads, epoch) = self.heads(asks, &exact, upto).await?;
        if let Some(epoch) = self.changed_epoch(asks, epoch, upto < known).await? {
            self.renew(epoch, upto, &asks.outlets);
            return Ok(());
        }
        self.timeline.reached(upto);
        for (asked, member) in &members {
            // Who became unsettled again since has to wait for the next round.
            if doubts(member) == *asked {
                let mut pending = member.borrow_mut();
                let head = subject_of(&pending).and_then(|subject| heads.get(&subject).copied());
                self.settle_one(&mut pending, head.unwrap_or(upto), &asks.outlets);
            }
        }
        Ok(())
    }

    fn settle_one(&self, pending: &mut Pending, upto: u64, outlets: &Outlets) {
        pending.flush(outlets);
        let interest = pending.interest.id;
        let is_new = *pending.interest.progress.borrow() == Progress::Opening;
        let Some(ordered) = &mut pending.ordered else {
            return;
        };
        let before = ordered.sequence.tip();
        let pattern = ordered.sequence.settle(upto);
        let to = ordered.sequence.tip();
        let renewed = std::mem::take(&mut ordered.renewed);
        pending.restart();
        let news = match pattern {
            _ if renewed => Some(Delivery::Renewed {
                interest,
                epoch: self.timeline.life().epoch,
                to,
            }),
            _ if is_new => None,
            None => (to > before).then_some(Delivery::Advance {
                interest,
                codec: None,
                to,
            }),
            Some((floor, seen)) => {
                // What the ring holds may lack what the feed has missed.
                outlets.history.spans().forget(interest);
                Some(Delivery::Rewind {
                    interest,
                    floor,
                    seen,
                    to,
                })
            }
        };
        if let Some(news) = news {
            pending.tell(outlets, &news);
        }
        let activate =
            |progress: &mut Progress| std::mem::replace(progress, Progress::Active) != Progress::Active;
        pending.interest.progress.send_if_modified(activate);
    }

    /// The newest offset of each exact channel by its subject, from a replica that has all up to `upto`, and the epoch
    /// that stands in the stream.
    async fn heads(
        &self,
        asks: &Asks,
        exact: &[&Member],
        upto: u64,
    ) -> Result<(HashMap<Arc<str>, u64>, Option<Epoch>), BrokerError> {
        let subjects: Vec<Arc<str>> = exact
            .iter()
            .filter_map(|member| subject_of(&member.borrow()))
            .collect();
        let mut newest = HashMap::with_capacity(subjects.len());
        // Without any, the epoch alone is asked for.
        let mut groups = subjects.chunks(jetstream::MAX_SUBJECTS);
        let mut group = groups.next().unwrap_or_default();
        loop {
            let asked: Vec<&str> = group.iter().map(AsRef::as_ref).collect();
            let heads = self.ask_heads(asks, &asked, upto).await?;
            for (subject, head) in heads.messages.iter().filter_map(head) {
                newest.insert(Arc::from(subject), head);
            }
            match groups.next() {
                Some(next) => group = next,
                None => return Ok((newest, heads.epoch)),
            }
        }
    }

    async fn ask_heads(&self, asks: &Asks, subjects: &[&str], upto: u64) -> Result<Heads, BrokerError> {
        let wire = asks.outlets.history.wire();
        jetstream::heads(wire, &self.timeline.stream, subjects, upto, REQUEST_TIMEOUT).await
    }

    /// The epoch that is in force now, if it is another one than we know.
    async fn changed_epoch(
        &self,
        asks: &Asks,
        found: Option<Epoch>,
        went_back: bool,
    ) -> Result<Option<Epoch>, BrokerError> {
        let known = self.timeline.life().epoch;
        let stream = &self.timeline.stream;
        let mut now = match found {
            Some(epoch) => epoch,
            None => epoch::refresh(&asks.connection, stream, &known).await?,
        };
        if now == known && went_back {
            // Sequences are given out a second time.
            now = epoch::raise(&asks.connection, stream, &known).await?;
        }
        Ok((now != known).then_some(now))
    }

    /// The stream began anew, and has come to `upto`.
    fn renew(&self, epoch: Epoch, upto: u64, outlets: &Outlets) {
        tracing::warn!(stream = &*self.timeline.stream.name, %epoch, "the stream began anew: clients are told, and read it from its start");
        self.timeline.renew(epoch, upto);
        self.highest.set(0);
        for member in self.members() {
            let mut pending = member.borrow_mut();
            pending.flush(outlets);
            outlets.history.spans().forget(pending.interest.id);
            let is_new = *pending.interest.progress.borrow() == Progress::Opening;
            if let Some(ordered) = &mut pending.ordered {
                ordered.sequence.renew();
                ordered.renewed |= !is_new;
            }
            pending.restart();
            // Who joins meanwhile waits until it is known where the channel begins.
            pending.interest.progress.send_replace(Progress::Opening);
        }
    }

    /// Looks for publications that never arrived.
    async fn audit(&self, asks: &Asks, keep_epoch: bool) -> Result<(), BrokerError> {
        if keep_epoch {
            let known = self.timeline.life().epoch;
            epoch::refresh(&asks.connection, &self.timeline.stream, &known).await?;
        }
        let (exact, patterns): (Vec<Member>, Vec<Member>) = self.members().into_iter().partition(is_exact);
        let known = self.timeline.highest();
        let mut groups: Vec<&[Member]> = exact.chunks(jetstream::MAX_SUBJECTS).collect();
        groups.extend(patterns.chunks(1));
        // Without any interest, the epoch alone is looked at.
        groups.extend(groups.is_empty().then_some(&[][..]));
        let mut found = Vec::with_capacity(groups.len());
        for group in groups {
            let newest = match self.newest(asks, group).await {
                Err(error) if jetstream::is_too_many(&error) => {
                    self.newest_by_reading(asks, &group[0]).await?
                }
                newest => newest?,
            };
            if newest.epoch != Some(self.timeline.life().epoch) {
                self.suspect.set(true);
                return Ok(());
            }
            found.push((group, newest));
        }
        let upto = jetstream::barrier(&asks.live, &self.timeline.stream, REQUEST_TIMEOUT).await?;
        if upto < known {
            self.suspect.set(true);
            return Ok(());
        }
        for (group, newest) in found {
            for member in group {
                audit_one(&mut member.borrow_mut(), &newest, &asks.outlets);
            }
        }
        Ok(())
    }

    /// The newest publications of these channels.
    async fn newest(&self, asks: &Asks, group: &[Member]) -> Result<Newest, BrokerError> {
        let subjects: Vec<Arc<str>> = group
            .iter()
            .filter_map(|member| subject_of_any(&member.borrow()))
            .collect();
        let subjects: Vec<&str> = subjects.iter().map(AsRef::as_ref).collect();
        let heads = self.ask_heads(asks, &subjects, 0).await?;
        let newest = heads.messages.iter().filter_map(head);
        Ok(Newest {
            upto: heads.upto,
            epoch: heads.epoch,
            offsets: newest
                .map(|(subject, offset)| (subject_hash(subject), offset))
                .collect(),
        })
    }

    /// The newest publications of a pattern with more subjects than the server lists: reads all since its floor.
    async fn newest_by_reading(&self, asks: &Asks, member: &Member) -> Result<Newest, BrokerError> {
        let heads = self.ask_heads(asks, &[], 0).await?;
        let (interest, floor) = {
            let pending = member.borrow();
            let floor = pending
                .ordered
                .as_ref()
                .map_or(0, |ordered| ordered.sequence.floor());
            (pending.interest.clone(), floor)
        };
        let mut newest = Newest {
            upto: floor,
            epoch: heads.epoch,
            offsets: HashMap::new(),
        };
        while newest.upto < heads.upto {
            let request = Get {
                seq: Some(newest.upto + 1),
                batch: 1000,
                ..Get::default()
            };
            let wire = asks.outlets.history.wire();
            let got = jetstream::get(wire, &self.timeline.stream, &request, REQUEST_TIMEOUT).await?;
            let Some(last) = got.messages.last().and_then(jetstream::sequence) else {
                break;
            };
            for (subject, offset) in got.messages.iter().filter_map(head) {
                let name = interest.terms.prefix.channel(subject);
                if name.is_some_and(|name| interest.channel().matches(name)) {
                    newest.offsets.insert(subject_hash(subject), offset);
                }
            }
            newest.upto = last;
        }
        Ok(newest)
    }
}

/// The newest publications of some channels.
struct Newest {
    /// They are the newest up to here.
    upto: u64,
    /// The epoch that stands in the stream.
    epoch: Option<Epoch>,
    /// By the hash of the subject.
    offsets: HashMap<u64, u64>,
}

fn audit_one(pending: &mut Pending, newest: &Newest, outlets: &Outlets) {
    pending.flush(outlets);
    let interest = pending.interest.id;
    let own = subject_of(pending).map(|subject| subject_hash(&subject));
    let Some(ordered) = pending
        .ordered
        .as_mut()
        .filter(|ordered| ordered.sequence.is_settled())
    else {
        return;
    };
    let sequence = &mut ordered.sequence;
    let from = sequence.tip();
    let certain = |offset| Delivery::Certain {
        interest,
        from,
        offset,
    };
    let news = match own.map(|own| newest.offsets.get(&own).copied()) {
        Some(Some(to)) => sequence.lags(to).then_some(Delivery::Advance {
            interest,
            codec: None,
            to,
        }),
        // The last publication has expired: a cursor that stays there would look like a loss one day.
        Some(None) => sequence.lags(newest.upto).then_some(certain(newest.upto)),
        None => {
            let audited = sequence.audit(
                newest.upto,
                newest.offsets.iter().map(|(subject, head)| (*subject, *head)),
            );
            if audited.is_none() {
                sequence.unsettle();
            }
            audited.map(certain)
        }
    };
    if ordered.sequence.is_settled() {
        pending.restart();
    }
    if let Some(news) = news {
        pending.tell(outlets, &news);
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
