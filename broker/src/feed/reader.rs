//! From the connection to the workers: encodes what arrives once a codec, straight from the bytes that
//! were read, and hands each worker with subscribers a shared batch.
//!
//! Cost of one publication: one encoding a codec in use. Cost of one batch: one lock a worker and two
//! allocations; no task is woken but the workers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tailwater_protocol::batch::BatchBuilder;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::push::{LostReason, UpdateRef};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Registry;
use super::inbox::{Delivery, Inbox};
use super::interest::{Interest, Progress};
use crate::wire::{Handler, Incident, Message, SubscriptionId, Subscriptions};

/// A batch is closed at this many bytes, so that workers start writing and one batch never fills an inbox.
const BATCH_BYTES: usize = 256 * 1024;

/// What has arrived for one interest and not gone out yet.
pub(super) struct Pending {
    pub(super) interest: Arc<Interest>,
    /// Who wanted it when the connection was drained last.
    takers: Vec<(usize, Codec)>,
    builders: [BatchBuilder; 2],
    bytes: usize,
    /// Waits in [`Held`].
    held: bool,
    /// The connection has been drained since the last publication: others may want it by now.
    drained: bool,
}

impl Pending {
    pub(super) fn new(interest: Arc<Interest>) -> Rc<RefCell<Self>> {
        let builders = Codec::ALL.map(BatchBuilder::new);
        Rc::new(RefCell::new(Self {
            interest,
            takers: Vec::new(),
            builders,
            bytes: 0,
            held: false,
            drained: true,
        }))
    }

    /// Adds a publication; true if it is the first since the connection was drained.
    fn add(&mut self, message: &Message<'_>, inboxes: &[Arc<Inbox>]) -> bool {
        let first = std::mem::take(&mut self.drained);
        if first {
            let mut takers = Vec::new();
            self.interest.copy_takers(&mut takers);
            if takers != self.takers {
                // What is held was meant for the others.
                self.flush(inboxes);
                self.takers = takers;
            }
        }
        // At least one byte, so that an empty publication counts as one.
        self.bytes += message.payload.len() + 1;
        let channel = self.interest.channel();
        let name = channel
            .is_wildcard()
            .then(|| String::from_utf8_lossy(message.subject));
        let prefix = &self.interest.terms.prefix;
        let subject = name
            .as_deref()
            .map(|name| prefix.channel(name).unwrap_or_default());
        let payload = PayloadRef::classify(message.payload);
        for (codec, builder) in Codec::ALL.into_iter().zip(&mut self.builders) {
            if self.takers.iter().any(|(_, taken)| *taken == codec) {
                builder.push(&UpdateRef {
                    subject,
                    ..UpdateRef::new(channel, payload)
                });
            }
        }
        first
    }

    /// Hands what is here to the workers.
    fn flush(&mut self, inboxes: &[Arc<Inbox>]) {
        self.bytes = 0;
        self.held = false;
        for (codec, builder) in Codec::ALL.into_iter().zip(&mut self.builders) {
            if builder.is_empty() {
                continue;
            }
            let batch = builder.finish();
            let interest = self.interest.id;
            for (worker, _) in self.takers.iter().filter(|(_, taken)| *taken == codec) {
                inboxes[*worker].push(Delivery::Batch {
                    interest,
                    codec,
                    batch: batch.clone(),
                });
            }
        }
    }

    /// Tells every subscriber that publications may be missing here.
    fn announce(&mut self, inboxes: &[Arc<Inbox>], reason: &LostReason) {
        self.flush(inboxes);
        self.drained = true;
        self.interest.copy_takers(&mut self.takers);
        self.takers.sort_unstable_by_key(|(worker, _)| *worker);
        self.takers.dedup_by_key(|(worker, _)| *worker);
        for (worker, _) in &self.takers {
            let interest = self.interest.id;
            inboxes[*worker].push(Delivery::Lost {
                interest,
                codec: None,
                count: None,
                reason: reason.clone(),
            });
        }
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
    fn add(&self, pending: &Rc<RefCell<Pending>>) {
        let due = Instant::now() + pending.borrow().interest.terms.max_delay;
        let mut queue = self.due.borrow_mut();
        let place = queue.partition_point(|(other, _)| *other <= due);
        queue.insert(place, (due, pending.clone()));
        self.added.notify_one();
    }

    /// Hands over what is due, when it is; runs until it is dropped.
    pub(super) async fn run(&self, inboxes: &[Arc<Inbox>]) {
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
                        pending.borrow_mut().flush(inboxes);
                    }
                }
            }
        }
    }
}

/// Takes what the connection for live subscriptions brings.
pub(super) struct Reader {
    registry: Registry,
    inboxes: Arc<[Arc<Inbox>]>,
    /// What got a publication since the connection was drained last.
    touched: Vec<Rc<RefCell<Pending>>>,
    held: Rc<Held>,
}

impl Reader {
    pub(super) fn new(registry: Registry, inboxes: Arc<[Arc<Inbox>]>, held: Rc<Held>) -> Self {
        Self {
            registry,
            inboxes,
            touched: Vec::new(),
            held,
        }
    }
}

impl Handler for Reader {
    type Subscription = Rc<RefCell<Pending>>;

    fn message(&mut self, _: SubscriptionId, pending: &mut Self::Subscription, message: &Message<'_>) {
        let mut now = pending.borrow_mut();
        let first = now.add(message, &self.inboxes);
        if now.bytes >= BATCH_BYTES {
            now.flush(&self.inboxes);
        }
        if first {
            self.touched.push(pending.clone());
        }
    }

    fn drained(&mut self, _: &mut Subscriptions<Self::Subscription>) {
        for pending in self.touched.drain(..) {
            let mut now = pending.borrow_mut();
            now.drained = true;
            if now.interest.terms.max_delay.is_zero() {
                now.flush(&self.inboxes);
            } else if now.bytes > 0 && !std::mem::replace(&mut now.held, true) {
                drop(now);
                self.held.add(&pending);
            }
        }
    }

    fn confirmed(&mut self, _: SubscriptionId, pending: &mut Self::Subscription) {
        pending
            .borrow()
            .interest
            .progress
            .send_if_modified(|progress| std::mem::replace(progress, Progress::Active) != Progress::Active);
    }

    fn refused(&mut self, _: SubscriptionId, pending: Self::Subscription, reason: &str) {
        let mut pending = pending.borrow_mut();
        let interest = pending.interest.clone();
        tracing::warn!(subject = %interest.key.subject, reason, "NATS refused a subscription: check the user's permissions");
        interest.close();
        self.registry
            .remove_if(&interest.key, |_, present| Arc::ptr_eq(present, &interest));
        if interest.progress.send_replace(Progress::Refused) == Progress::Active {
            pending.announce(&self.inboxes, &LostReason::NatsRefused);
        }
    }

    fn incident(&mut self, incident: &Incident, subscriptions: &mut Subscriptions<Self::Subscription>) {
        // Told when every subscription is in place again: who reads the state anew on the notice misses
        // nothing that is published afterwards.
        if matches!(incident, Incident::Connected { again: true }) {
            for (_, pending) in subscriptions.iter_mut() {
                pending
                    .borrow_mut()
                    .announce(&self.inboxes, &LostReason::NatsDisconnected);
            }
        }
    }
}
