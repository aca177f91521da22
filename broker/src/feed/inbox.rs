//! What the feed hands to one worker: a queue bounded in bytes.
//!
//! Cost of one batch: one uncontended lock, one reference count, and a wake of the worker if it sleeps.
//! The feed never waits for a worker. When the queue is full, an interest is marked *behind* and what
//! comes for it is counted instead of queued, until the worker has emptied the queue; it then hears how
//! many publications it has missed, so that subscribers are told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tailwater_protocol::batch::Batch;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::push::LostReason;
use tokio::sync::Notify;

use super::interest::InterestId;

/// One thing for a worker to pass on to its subscribers of an interest.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Publications, in order, encoded for the subscribers that speak `codec`.
    Batch {
        /// Which interest.
        interest: InterestId,
        /// Whose encoding.
        codec: Codec,
        /// The frames.
        batch: Batch,
    },
    /// Publications are missing here.
    Lost {
        /// Which interest.
        interest: InterestId,
        /// The subscribers of one codec alone, or all.
        codec: Option<Codec>,
        /// How many publications, if that is known.
        count: Option<u64>,
        /// Why.
        reason: LostReason,
    },
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
    /// Publications counted but not queued, by interest and codec.
    behind: HashMap<(InterestId, Codec), u64>,
}

impl Inbox {
    /// A queue of at most `limit_bytes` of frames (a single larger batch still passes alone). When it
    /// is full, publications are counted per interest, and the count is delivered in their place.
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
            Delivery::Lost { .. } => size_of::<Delivery>(),
        };
        let full = queue.bytes > 0 && queue.bytes + length > self.limit_bytes;
        match &delivery {
            // Once behind, an interest stays behind until the worker has caught up: else what fits
            // again would overtake the notice of what did not.
            Delivery::Batch {
                interest,
                codec,
                batch,
            } if full || queue.behind.contains_key(&(*interest, *codec)) => {
                *queue.behind.entry((*interest, *codec)).or_default() += batch.len() as u64;
            }
            Delivery::Lost { interest, codec, .. } if full => {
                for codec in Codec::ALL
                    .into_iter()
                    .filter(|each| codec.is_none_or(|only| only == *each))
                {
                    queue.behind.entry((*interest, codec)).or_default();
                }
            }
            _ => {
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
                        .map(|((interest, codec), count)| Delivery::Lost {
                            interest,
                            codec: Some(codec),
                            count: (count > 0).then_some(count),
                            reason: LostReason::EdgeOverloaded,
                        }),
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
