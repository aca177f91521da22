//! From the connection to the workers: encodes what arrives once an encoding, straight from the bytes that
//! were read, and hands each worker with subscribers a shared batch.
//!
//! What is pending for an interest, and the order of durable channels, is `pending`'s.
//!
//! Cost of one publication: one encoding (and compression, see `deflate`) for each in use. Cost of one batch: one lock a worker and two
//! allocations; no task is woken but the workers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tailwater_protocol::push::LostReason;

use super::Registry;
use super::interest::Progress;
use super::pending::{Held, Outlets, Pending};
use crate::wire::{Handler, Incident, Message, SubscriptionId, Subscriptions};

/// A batch is closed at this many bytes, so that workers start writing and one batch never fills an inbox.
const BATCH_BYTES: usize = 256 * 1024;

/// Takes what the connection for live subscriptions brings.
pub(super) struct Reader {
    registry: Registry,
    outlets: Rc<Outlets>,
    /// What got a publication since the connection was drained last.
    touched: Vec<Rc<RefCell<Pending>>>,
    held: Rc<Held>,
}

impl Reader {
    pub(super) fn new(registry: Registry, outlets: Rc<Outlets>, held: Rc<Held>) -> Self {
        Self {
            registry,
            outlets,
            touched: Vec::new(),
            held,
        }
    }
}

impl Handler for Reader {
    type Subscription = Rc<RefCell<Pending>>;

    fn message(&mut self, _: SubscriptionId, pending: &mut Self::Subscription, message: &Message<'_>) {
        let mut now = pending.borrow_mut();
        let first = now.add(message, &self.outlets);
        if now.bytes() >= BATCH_BYTES {
            now.flush(&self.outlets);
        }
        if first {
            self.touched.push(pending.clone());
        }
    }

    fn drained(&mut self, _: &mut Subscriptions<Self::Subscription>) {
        for pending in self.touched.drain(..) {
            if pending.borrow_mut().drained(&self.outlets) {
                self.held.add(&pending);
            }
        }
    }

    fn confirmed(&mut self, _: SubscriptionId, pending: &mut Self::Subscription) {
        let pending = pending.borrow();
        match &pending.ordered {
            // Active once it is known where it begins.
            Some(ordered) => ordered.stream.ask(),
            None => {
                let activate = |progress: &mut Progress| {
                    std::mem::replace(progress, Progress::Active) != Progress::Active
                };
                pending.interest.progress.send_if_modified(activate);
            }
        }
    }

    fn refused(&mut self, _: SubscriptionId, pending: Self::Subscription, reason: &str) {
        let mut pending = pending.borrow_mut();
        let interest = pending.interest.clone();
        tracing::warn!(subject = %interest.key.subject, reason, "NATS refused a subscription: check the user's permissions");
        interest.close();
        self.registry
            .remove_if(&interest.key, |_, present| Arc::ptr_eq(present, &interest));
        if interest.progress.send_replace(Progress::Refused) == Progress::Active {
            pending.announce(&self.outlets, &LostReason::NatsRefused);
        }
    }

    fn incident(&mut self, incident: &Incident, subscriptions: &mut Subscriptions<Self::Subscription>) {
        let (broken, again) = match incident {
            Incident::Disconnected { .. } => (true, false),
            Incident::Connected { again } => (false, *again),
            _ => return,
        };
        for (_, pending) in subscriptions.iter_mut() {
            let mut pending = pending.borrow_mut();
            match &mut pending.ordered {
                // What went by is read from the stream.
                Some(ordered) if broken || again => {
                    ordered.sequence.unsettle();
                    ordered.stream.interrupted();
                }
                // Told when every subscription is in place again: who reads the state anew on the notice
                // misses nothing that is published afterwards.
                None if again => pending.announce(&self.outlets, &LostReason::NatsDisconnected),
                _ => {}
            }
        }
    }
}
