//! What the feed hands to one worker: a queue bounded in bytes.
//!
//! Cost of one batch: one uncontended lock, one reference count, and a wake of the worker if it sleeps.
//! The feed never waits for a worker. When the queue is full, an interest is marked *behind* and what
//! comes for it is counted instead of queued, until the worker has emptied the queue; it then hears how
//! many publications it has missed, so that subscribers are told, or, on a durable channel, up to where it
//! has to read them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tailwater_protocol::batch::Batch;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::position::Epoch;
use tailwater_protocol::push::LostReason;
use tokio::sync::Notify;

use super::interest::InterestId;
use crate::trace::Sampled;

/// What is measured of a batch.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// When NATS stored its first publication, by the clock of the server; nothing of a live channel.
    pub stored_at: Option<SystemTime>,
    /// Those of its publications that their publishers have sampled, the first few.
    pub sampled: Vec<Sampled>,
}

/// One thing for a worker to pass on to its subscribers of an interest.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Publications, in order, for the subscribers that get `encoding`.
    Batch {
        /// Which interest.
        interest: InterestId,
        /// In what they are encoded.
        encoding: Encoding,
        /// The frames.
        batch: Batch,
        /// Of a durable channel: the batch holds every publication behind the first offset up to the second.
        span: Option<(u64, u64)>,
        /// Where they come from, for those who measure; nothing where there is nothing to say. Of a channel that is
        /// neither durable nor traced it takes a word here and no memory.
        origin: Option<Arc<Origin>>,
    },
    /// Publications are missing here.
    Lost {
        /// Which interest.
        interest: InterestId,
        /// The subscribers of one encoding alone, or all.
        encoding: Option<Encoding>,
        /// How many publications, if that is known.
        count: Option<u64>,
        /// Why.
        reason: LostReason,
    },
    /// A durable channel has come to this offset, and what a subscriber lacks up to there is to be read.
    Advance {
        /// Which interest.
        interest: InterestId,
        /// The subscribers of one encoding alone, or all.
        encoding: Option<Encoding>,
        /// The offset.
        to: u64,
    },
    /// A publication of a pattern may have been missed: what lies behind `floor` is to be read again, but for what
    /// was passed on.
    Rewind {
        /// Which interest.
        interest: InterestId,
        /// Everything up to here was passed on.
        floor: u64,
        /// The newest that was passed on since, by the hash of its subject; everything of a subject up to there was.
        seen: Arc<HashMap<u64, u64>>,
        /// How far the channel has come.
        to: u64,
    },
    /// Everything up to this offset has certainly been passed on.
    Certain {
        /// Which interest.
        interest: InterestId,
        /// The last offset that was passed on.
        from: u64,
        /// The offset.
        offset: u64,
    },
    /// The stream began anew: what subscribers have is of another life.
    Renewed {
        /// Which interest.
        interest: InterestId,
        /// The epoch of all offsets from now on.
        epoch: Epoch,
        /// Its number; see [`Place`](super::Place).
        life: u32,
        /// How far the channel has come.
        to: u64,
    },
}

/// What did not fit.
#[derive(Clone, Copy, Debug)]
enum Behind {
    /// So many publications of a live channel.
    Count(u64),
    /// Publications of a durable channel, up to this offset.
    To(u64),
}

impl Behind {
    fn told(self, interest: InterestId, encoding: Encoding) -> Delivery {
        let encoding = Some(encoding);
        match self {
            Self::Count(count) => Delivery::Lost {
                interest,
                encoding,
                count: (count > 0).then_some(count),
                reason: LostReason::EdgeOverloaded,
            },
            Self::To(to) => Delivery::Advance {
                interest,
                encoding,
                to,
            },
        }
    }
}

/// The queue between the feed and one worker.
#[derive(Debug)]
pub struct Inbox {
    queue: Mutex<Queue>,
    filled: Notify,
    limit_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    deliveries: Vec<Delivery>,
    bytes: usize,
    /// Publications that were not queued, by interest and encoding.
    behind: HashMap<(InterestId, Encoding), Behind>,
}

impl Inbox {
    /// A queue of at most `limit_bytes` of frames (a single larger batch still passes alone). When it
    /// is full, publications are counted per interest, and the count is delivered in their place; of durable channels
    /// the offset up to which they are to be read.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            limit_bytes,
        }
    }

    /// Queues a delivery, or counts its publications if there is no room.
    pub(crate) fn push(&self, delivery: Delivery) {
        let mut queue = self.lock();
        let length = match &delivery {
            Delivery::Batch { batch, .. } => batch.bytes().len(),
            _ => size_of::<Delivery>(),
        };
        let full = queue.bytes > 0 && queue.bytes + length > self.limit_bytes;
        match &delivery {
            // Once behind, an interest stays behind until the worker has caught up: else what fits
            // again would overtake the notice of what did not.
            Delivery::Batch {
                interest,
                encoding,
                batch,
                span,
                ..
            } if full || queue.behind.contains_key(&(*interest, *encoding)) => {
                let behind = queue.behind.entry((*interest, *encoding));
                match (behind.or_insert(Behind::Count(0)), span) {
                    (behind, Some((_, to))) => *behind = Behind::To(*to),
                    (Behind::Count(count), None) => *count += batch.len() as u64,
                    (Behind::To(_), None) => {}
                }
            }
            Delivery::Lost {
                interest, encoding, ..
            } if full => {
                for encoding in Encoding::ALL
                    .into_iter()
                    .filter(|each| encoding.is_none_or(|only| only == *each))
                {
                    let behind = queue.behind.entry((*interest, encoding));
                    behind.or_insert(Behind::Count(0));
                }
            }
            // Rare and small, and nothing else says what these say: they always fit.
            _ => {
                if let Delivery::Renewed { interest, .. } = &delivery {
                    // Offsets of the life before.
                    queue.behind.retain(|(behind, _), _| behind != interest);
                }
                queue.bytes += length;
                queue.deliveries.push(delivery);
            }
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Waits until there is something, then moves all of it into `deliveries`, which must be empty.
    pub async fn take(&self, deliveries: &mut Vec<Delivery>) {
        loop {
            {
                let mut queue = self.lock();
                std::mem::swap(&mut queue.deliveries, deliveries);
                queue.bytes = 0;
                deliveries.extend(
                    queue
                        .behind
                        .drain()
                        .map(|((interest, encoding), behind)| behind.told(interest, encoding)),
                );
            }
            if !deliveries.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic between the lock and here cannot leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
