//! Interest in a subject: who in this process wants what is published there.
//!
//! The registry is shared by all workers and the feed. Every subscription of a session holds a
//! [`Membership`]; the feed subscribes in NATS when an interest is new and unsubscribes after a linger
//! when nobody is left, so that a page reload does not churn interest in the whole cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tokio::sync::watch;

use crate::subject::{Subject, SubjectPrefix};

/// Names an interest for as long as the process lives; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InterestId(pub(crate) u64);

/// What is asked for: a channel, and the prefix that its namespace puts before it in NATS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InterestKey {
    pub(crate) channel: Channel,
    pub(crate) subject: Subject,
}

/// What a namespace says about its channels.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What stands before a channel in NATS.
    pub prefix: SubjectPrefix,
    /// How long a publication may wait for others, to go out with them. Zero: not at all.
    pub max_delay: Duration,
}

/// Whether NATS sends us what is published on the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Asked for; the server has not confirmed yet.
    Opening,
    /// The server we are connected to has the subscription.
    Active,
    /// NATS refused the subscription.
    Refused,
}

/// Who in this process wants what is published on a subject.
#[derive(Debug)]
pub struct Interest {
    pub(crate) id: InterestId,
    pub(crate) key: InterestKey,
    pub(crate) terms: Terms,
    pub(crate) progress: watch::Sender<Progress>,
    takers: Mutex<Takers>,
}

#[derive(Debug, Default)]
struct Takers {
    /// A worker, the codec of its subscribers and their number; short, walked once a batch.
    list: Vec<(usize, Codec, usize)>,
    /// Since when nobody is left.
    idle_since: Option<Instant>,
    /// Nobody may join any more: the feed is about to unsubscribe.
    closed: bool,
}

impl Interest {
    pub(crate) fn new(id: InterestId, key: InterestKey, terms: Terms) -> Self {
        let (progress, _) = watch::channel(Progress::Opening);
        Self {
            id,
            key,
            terms,
            progress,
            takers: Mutex::default(),
        }
    }

    /// The name by which deliveries refer to it.
    pub fn id(&self) -> InterestId {
        self.id
    }

    /// The channel, as subscribed.
    pub fn channel(&self) -> &Channel {
        &self.key.channel
    }

    /// Adds a subscriber of `worker` that speaks `codec`. Nothing if the interest is being closed.
    pub(crate) fn join(self: &Arc<Self>, worker: usize, codec: Codec) -> Option<Membership> {
        let mut takers = self.lock();
        if takers.closed {
            return None;
        }
        takers.idle_since = None;
        match takers
            .list
            .iter_mut()
            .find(|taker| (taker.0, taker.1) == (worker, codec))
        {
            Some((_, _, count)) => *count += 1,
            None => takers.list.push((worker, codec, 1)),
        }
        Some(Membership {
            interest: self.clone(),
            worker,
            codec,
        })
    }

    /// Closes the interest for good if nobody has wanted it since `before`.
    pub(crate) fn close_if_idle_since(&self, before: Instant) -> bool {
        let mut takers = self.lock();
        takers.closed |= takers.list.is_empty() && takers.idle_since.is_some_and(|since| since <= before);
        takers.closed
    }

    /// Closes the interest for good: NATS refused it, and the next who asks must ask NATS again.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Copies the takers into `takers`, in place of what it held.
    pub(crate) fn copy_takers(&self, takers: &mut Vec<(usize, Codec)>) {
        takers.clear();
        takers.extend(
            self.lock()
                .list
                .iter()
                .map(|(worker, codec, _)| (*worker, *codec)),
        );
    }

    /// Whether nobody may join any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Takers> {
        // The list is changed in single steps: a panic elsewhere leaves it whole.
        self.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscriber's part in an interest; dropping it leaves.
#[derive(Debug)]
pub struct Membership {
    interest: Arc<Interest>,
    worker: usize,
    codec: Codec,
}

impl Membership {
    /// The interest.
    pub fn interest(&self) -> &Arc<Interest> {
        &self.interest
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut takers = self.interest.lock();
        let found = takers
            .list
            .iter()
            .position(|taker| (taker.0, taker.1) == (self.worker, self.codec));
        if let Some(position) = found {
            takers.list[position].2 -= 1;
            if takers.list[position].2 == 0 {
                takers.list.swap_remove(position);
            }
        }
        if takers.list.is_empty() {
            takers.idle_since = Some(Instant::now());
        }
    }
}
