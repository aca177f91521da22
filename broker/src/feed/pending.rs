//! What has arrived for one interest and not gone out yet, encoded once an encoding; and batches that wait for more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tailwater_protocol::batch::{BatchBuilder, subject_hash};
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::position::Epoch;
use tailwater_protocol::push::{LostReason, UpdateRef};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::inbox::{Delivery, Inbox, Origin};
use super::interest::{Interest, Place};
use super::sequence::{Sequence, Verdict};
use super::stream_feed::StreamFeed;
use crate::history::{History, Source, Span};
use crate::publication::{Publication, TimeText};
use crate::trace::{self, Sampled, TraceParent};
use crate::wire::{Headers, Message};

/// Sampled publications of one batch that are told apart; of a flood, the first are enough.
const MAX_SAMPLED: usize = 16;

/// Where batches go: the workers' inboxes, and the ring.
pub(super) struct Outlets {
    pub(super) inboxes: Arc<[Arc<Inbox>]>,
    pub(super) history: History,
    /// Where publications were missing, counted.
    pub(super) gaps: Arc<AtomicU64>,
    /// Sampled publications are told apart.
    pub(super) traces: bool,
}

impl Outlets {
    /// Publications are missing, and will be read.
    pub(super) fn count_gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }
}

/// What has arrived for one interest and not gone out yet.
pub(super) struct Pending {
    pub(super) interest: Arc<Interest>,
    /// Only of a durable channel.
    pub(super) ordered: Option<Ordered>,
    /// Who wanted it when the connection was drained last.
    takers: Vec<(usize, Encoding)>,
    /// One for each encoding that they take.
    builders: Vec<BatchBuilder>,
    bytes: usize,
    /// Waits in [`Held`].
    held: bool,
    /// The connection has been drained since the last publication: others may want it by now.
    drained: bool,
    /// When what is pending begins.
    stored_at: Option<SystemTime>,
    /// What is sampled of it.
    sampled: Vec<Sampled>,
}

/// What only a durable channel has.
pub(super) struct Ordered {
    pub(super) stream: Rc<StreamFeed>,
    pub(super) sequence: Sequence,
    /// What is pending follows everything up to here.
    from: u64,
    /// The stream began anew, and the workers have not been told.
    pub(super) renewed: bool,
}

impl Pending {
    pub(super) fn new(interest: Arc<Interest>, stream: Option<Rc<StreamFeed>>) -> Rc<RefCell<Self>> {
        let ordered = stream.map(|stream| Ordered {
            stream,
            sequence: Sequence::new(interest.channel().is_wildcard()),
            from: 0,
            renewed: false,
        });
        Rc::new(RefCell::new(Self {
            interest,
            ordered,
            takers: Vec::new(),
            builders: Vec::new(),
            bytes: 0,
            held: false,
            drained: true,
            stored_at: None,
            sampled: Vec::new(),
        }))
    }

    /// How much waits, in bytes of payload; zero if nothing does.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a publication; true if it is the first since the connection was drained.
    pub(super) fn add(&mut self, message: &Message<'_>, outlets: &Outlets) -> bool {
        if self.ordered.is_some() {
            return self.add_stored(message, outlets);
        }
        let first = self.refresh_takers(outlets);
        let interest = self.interest.clone();
        let channel = interest.channel();
        let name = channel
            .is_wildcard()
            .then(|| String::from_utf8_lossy(message.subject));
        let prefix = &interest.terms.prefix;
        let subject = name
            .as_deref()
            .map(|name| prefix.channel(name).unwrap_or_default());
        let payload = PayloadRef::classify(message.payload);
        let mut update = UpdateRef {
            subject,
            ..UpdateRef::new(channel, payload)
        };
        if self.is_traced(outlets) && !message.headers.is_empty() {
            update.trace = self.trace(message.headers, subject, None, outlets);
        }
        let subject = subject.map_or(0, subject_hash);
        self.encode(&update, subject, message.payload.len());
        first
    }

    /// Adds a publication of a durable channel if it is its turn.
    fn add_stored(&mut self, message: &Message<'_>, outlets: &Outlets) -> bool {
        let first = self.refresh_takers(outlets);
        let Some((publication, subject)) = self.in_order(message, outlets) else {
            self.drained |= first;
            return false;
        };
        let interest = self.interest.clone();
        let mut time = TimeText::default();
        if self.bytes == 0 {
            self.stored_at = publication.stored_at();
        }
        let epoch = self.epoch_for_ids();
        let mut update = UpdateRef {
            epoch: epoch.as_ref(),
            ..publication.update(interest.channel(), &interest.terms.prefix, &mut time)
        };
        if self.is_traced(outlets) {
            update.trace = self.trace(message.headers, update.subject, Some(&publication), outlets);
        }
        self.encode(&update, subject, message.payload.len());
        first
    }

    /// The epoch of what is added now, if somebody wants ids with it.
    fn epoch_for_ids(&self) -> Option<Epoch> {
        let with_ids = |builder: &BatchBuilder| builder.encoding() == Encoding::EVENTS_WITH_IDS;
        let wanted = self.builders.iter().any(with_ids);
        let ordered = self.ordered.as_ref().filter(|_| wanted)?;
        Some(ordered.stream.epoch())
    }

    /// Whether anybody asks for traces.
    #[inline]
    fn is_traced(&self, outlets: &Outlets) -> bool {
        outlets.traces || self.interest.terms.trace
    }

    /// What an update says of its publisher's trace; a sampled publication is noted.
    #[inline(never)]
    fn trace<'m>(
        &mut self,
        headers: Headers<'m>,
        subject: Option<&str>,
        stored: Option<&Publication<'_>>,
        outlets: &Outlets,
    ) -> Option<&'m str> {
        let told = self.interest.terms.trace;
        let (text, parent) = TraceParent::of(headers)?;
        if outlets.traces && parent.sampled && self.sampled.len() < MAX_SAMPLED {
            self.sampled.push(Sampled {
                parent,
                state: trace::state(headers).map(Into::into),
                channel: subject.unwrap_or_default().into(),
                read_at: SystemTime::now(),
                stored_at: stored.and_then(Publication::stored_at),
            });
        }
        told.then_some(text)
    }

    /// The publication and the hash of its subject, if it is genuine and its turn has come.
    fn in_order<'m>(&mut self, message: &Message<'m>, outlets: &Outlets) -> Option<(Publication<'m>, u64)> {
        let ordered = self.ordered.as_mut()?;
        let publication = ordered.stream.genuine(message)?;
        let offset = publication.offset.get();
        let before = ordered.sequence.tip();
        if ordered.stream.is_suspect(offset) && ordered.sequence.is_settled() {
            ordered.sequence.unsettle();
        }
        let subject = subject_hash(publication.subject);
        match ordered.sequence.next(offset, publication.previous, subject) {
            Verdict::Follows => {
                if ordered.sequence.is_crowded() {
                    ordered.stream.audit_soon();
                }
            }
            Verdict::Skip => return None,
            Verdict::Unsettled => {
                outlets.count_gap();
                ordered.stream.ask();
                return None;
            }
            Verdict::Gap { from } => {
                outlets.count_gap();
                self.flush_to(outlets, Some(before));
                if let Some(ordered) = &mut self.ordered {
                    ordered.from = from;
                }
                tracing::debug!(channel = %self.interest.channel(), before, from, "publications are missing here and will be read");
            }
        }
        Some((publication, subject))
    }

    /// Looks once a drain who wants it; true if this is the first publication since.
    fn refresh_takers(&mut self, outlets: &Outlets) -> bool {
        let first = std::mem::take(&mut self.drained);
        if first {
            let mut takers = Vec::new();
            self.interest.copy_takers(&mut takers);
            if takers != self.takers {
                // What is held was meant for the others.
                self.flush(outlets);
                self.takers = takers;
                let taken = |encoding: &Encoding| self.takers.iter().any(|(_, taken)| taken == encoding);
                let taken = Encoding::ALL.into_iter().filter(taken);
                self.builders = taken.map(BatchBuilder::new).collect();
            }
        }
        first
    }

    fn encode(&mut self, update: &UpdateRef<'_>, subject: u64, length: usize) {
        // At least one byte, so that an empty publication counts as one.
        self.bytes += length + 1;
        for builder in &mut self.builders {
            builder.push_as(update, subject);
        }
    }

    /// Hands what is here to the workers.
    pub(super) fn flush(&mut self, outlets: &Outlets) {
        let tip = self.ordered.as_ref().map(|ordered| ordered.sequence.tip());
        self.flush_to(outlets, tip);
    }

    /// Hands what is here to the workers: of a durable channel it is everything up to `tip`.
    fn flush_to(&mut self, outlets: &Outlets, tip: Option<u64>) {
        self.bytes = 0;
        self.held = false;
        let span = self.ordered.as_mut().zip(tip).map(|(ordered, tip)| {
            let from = std::mem::replace(&mut ordered.from, tip);
            (from.min(tip), tip)
        });
        // Before any worker can see the batch: who takes a seat behind it must know of it.
        self.publish_place();
        let interest = self.interest.id;
        let origin = self.take_origin();
        for builder in &mut self.builders {
            if builder.is_empty() {
                continue;
            }
            let encoding = builder.encoding();
            let batch = builder.finish();
            if let Some((from, to)) = span {
                let batch = batch.clone();
                let source = Source::Live;
                let span = Span {
                    from,
                    to,
                    batch,
                    source,
                };
                outlets.history.spans().add(interest, encoding, span);
            }
            for (worker, _) in self.takers.iter().filter(|(_, taken)| *taken == encoding) {
                outlets.inboxes[*worker].push(Delivery::Batch {
                    interest,
                    encoding,
                    batch: batch.clone(),
                    span,
                    origin: origin.clone(),
                });
            }
        }
        if let Some((from, to)) = span
            && from < to
        {
            self.tell_who_came(to, outlets);
        }
    }

    fn take_origin(&mut self) -> Option<Arc<Origin>> {
        let stored_at = self.stored_at.take();
        if stored_at.is_none() && self.sampled.is_empty() {
            return None;
        }
        let sampled = std::mem::take(&mut self.sampled);
        Some(Arc::new(Origin { stored_at, sampled }))
    }

    /// Who came since the takers were looked at was not encoded for, and may have asked for the place before it was
    /// published: they read what there is up to `to`.
    fn tell_who_came(&self, to: u64, outlets: &Outlets) {
        if self.interest.has_takers(&self.takers) {
            return;
        }
        let interest = self.interest.id;
        let mut takers = Vec::new();
        self.interest.copy_takers(&mut takers);
        for (worker, encoding) in takers.into_iter().filter(|taker| !self.takers.contains(taker)) {
            let encoding = Some(encoding);
            outlets.inboxes[worker].push(Delivery::Advance {
                interest,
                encoding,
                to,
            });
        }
    }

    /// Tells those who join how far the channel has come.
    pub(super) fn publish_place(&self) {
        if let (Some(ordered), Some(durable)) = (&self.ordered, &self.interest.durable) {
            ordered.stream.reached(ordered.from);
            durable.reach(Place {
                tip: ordered.from,
                life: ordered.stream.life(),
            });
        }
    }

    /// The channel was settled: what is pending next follows its tip.
    pub(super) fn restart(&mut self) {
        if let Some(ordered) = &mut self.ordered {
            ordered.from = ordered.sequence.tip();
        }
        self.publish_place();
    }

    /// Tells every worker with subscribers something, behind what is pending.
    pub(super) fn tell(&mut self, outlets: &Outlets, delivery: &Delivery) {
        self.drained = true;
        // Not in place of those that what is pending is encoded for.
        let mut takers = Vec::new();
        self.interest.copy_takers(&mut takers);
        let mut workers: Vec<usize> = takers.into_iter().map(|(worker, _)| worker).collect();
        workers.sort_unstable();
        workers.dedup();
        for worker in workers {
            outlets.inboxes[worker].push(delivery.clone());
        }
    }

    /// Tells every subscriber that publications may be missing here.
    pub(super) fn announce(&mut self, outlets: &Outlets, reason: &LostReason) {
        self.flush(outlets);
        let lost = Delivery::Lost {
            interest: self.interest.id,
            encoding: None,
            count: None,
            reason: reason.clone(),
        };
        self.tell(outlets, &lost);
    }

    /// The connection was drained: what is here goes out, or is to be held for more.
    pub(super) fn drained(&mut self, outlets: &Outlets) -> bool {
        self.drained = true;
        if self.interest.terms.max_delay.is_zero() {
            self.flush(outlets);
            return false;
        }
        self.bytes > 0 && !std::mem::replace(&mut self.held, true)
    }
}

/// Batches of namespaces with a `max_delay` that wait for more, in the order in which they are due.
/// Bounded by the number of interests.
#[derive(Default)]
pub(super) struct Held {
    due: RefCell<VecDeque<(Instant, Rc<RefCell<Pending>>)>>,
    added: Notify,
}

impl Held {
    pub(super) fn add(&self, pending: &Rc<RefCell<Pending>>) {
        let due = Instant::now() + pending.borrow().interest.terms.max_delay;
        let mut queue = self.due.borrow_mut();
        let place = queue.partition_point(|(other, _)| *other <= due);
        queue.insert(place, (due, pending.clone()));
        self.added.notify_one();
    }

    /// Hands over what is due, when it is; runs until it is dropped.
    pub(super) async fn run(&self, outlets: &Outlets) {
        loop {
            let next = self.due.borrow().front().map(|(due, _)| *due);
            match next {
                None => self.added.notified().await,
                Some(due) if due > Instant::now() => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.added.notified() => {}
                },
                Some(_) => {
                    let first = self.due.borrow_mut().pop_front();
                    if let Some((_, pending)) = first {
                        pending.borrow_mut().flush(outlets);
                    }
                }
            }
        }
    }
}
