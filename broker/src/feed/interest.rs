//! Interest in a subject: who in this process wants what is published there.
//!
//! The registry is shared by all workers and the feed. Every subscription of a session holds a
//! [`Membership`]; the feed subscribes in NATS when an interest is new and unsubscribes after a linger
//! when nobody is left, so that a page reload does not churn interest in the whole cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_protocol::channel::Channel;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::position::Epoch;
use tokio::sync::watch;

use crate::error::BrokerError;
use crate::stream::Stream;
use crate::subject::{Subject, SubjectPrefix};
use crate::timeline::Timeline;

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
    /// The stream of a durable namespace.
    pub stream: Option<Arc<Stream>>,
    /// Whether publications are compressed for those who can read that.
    pub compress: bool,
    /// Whether updates say where they stand in their publisher's trace.
    pub trace: bool,
}

/// What only a durable interest has.
#[derive(Debug)]
pub(crate) struct Durable {
    /// The stream.
    pub(crate) timeline: Arc<Timeline>,
    /// The channel as the stream's subject, which may have wildcards.
    pub(crate) subject: Subject,
    place: Mutex<Place>,
}

/// How far the feed has come on a durable channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Everything up to this offset has been handed to the workers, or they were told to read it. Of an exact channel
    /// it is where the last publication is stored, or, if none is, how far the stream had come.
    pub tip: u64,
    /// The life of the stream that the offset belongs to; see [`Interest::settled`].
    pub life: u32,
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
    pub(crate) durable: Option<Durable>,
    takers: Mutex<Takers>,
}

#[derive(Debug, Default)]
struct Takers {
    /// A worker, the encoding of its subscribers and their number; short, walked once a batch.
    list: Vec<(usize, Encoding, usize)>,
    /// Since when nobody is left.
    idle_since: Option<Instant>,
    /// Nobody may join any more: the feed is about to unsubscribe.
    closed: bool,
}

impl Interest {
    pub(crate) fn new(
        id: InterestId,
        key: InterestKey,
        terms: Terms,
        timeline: Option<Arc<Timeline>>,
    ) -> Self {
        let (progress, _) = watch::channel(Progress::Opening);
        let durable = timeline.map(|timeline| Durable {
            timeline,
            subject: terms.prefix.subject(&key.channel),
            place: Mutex::default(),
        });
        Self {
            durable,
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

    /// How far the feed has come; nothing on a live channel.
    pub fn place(&self) -> Option<Place> {
        self.durable.as_ref().map(|durable| *durable.lock())
    }

    /// How far the feed has come, and the epoch of its offsets. Waits until that is known, as it is not while the
    /// interest is new and while the stream begins anew; without a deadline of its own.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] if NATS does not let us, [`BrokerError::Stopped`] if the channel is not durable.
    pub async fn settled(&self) -> Result<(Place, Epoch), BrokerError> {
        if self.durable.is_none() {
            return Err(BrokerError::Stopped);
        }
        let mut progress = self.progress.subscribe();
        loop {
            if *progress.borrow_and_update() == Progress::Refused {
                return Err(BrokerError::Refused {
                    subject: self.key.subject.to_string(),
                });
            }
            if let Some(standing) = self.standing() {
                return Ok(standing);
            }
            // A life that has begun is told here before and after the place in it is known.
            progress.changed().await.map_err(|_| BrokerError::Stopped)?;
        }
    }

    /// How far the feed has come, and the epoch of its offsets; nothing on a live channel, and for the moment in which
    /// the stream begins anew.
    fn standing(&self) -> Option<(Place, Epoch)> {
        let durable = self.durable.as_ref()?;
        let (place, life) = (*durable.lock(), durable.timeline.life());
        let is_settled = *self.progress.borrow() == Progress::Active;
        (is_settled && place.life == life.number).then_some((place, life.epoch))
    }

    /// The largest offset that is known to be stored in the stream; 0 on a live channel.
    pub fn stream_reached(&self) -> u64 {
        self.durable
            .as_ref()
            .map_or(0, |durable| durable.timeline.highest())
    }

    /// Adds a subscriber of `worker` that can read `encoding`; it gets that without compression if the channel does not
    /// compress. Nothing if the interest is being closed.
    pub(crate) fn join(self: &Arc<Self>, worker: usize, encoding: Encoding) -> Option<Membership> {
        let encoding = if self.terms.compress {
            encoding
        } else {
            encoding.uncompressed()
        };
        let mut takers = self.lock();
        if takers.closed {
            return None;
        }
        takers.idle_since = None;
        match takers
            .list
            .iter_mut()
            .find(|taker| (taker.0, taker.1) == (worker, encoding))
        {
            Some((_, _, count)) => *count += 1,
            None => takers.list.push((worker, encoding, 1)),
        }
        Some(Membership {
            interest: self.clone(),
            worker,
            encoding,
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
    pub(crate) fn copy_takers(&self, takers: &mut Vec<(usize, Encoding)>) {
        takers.clear();
        takers.extend(
            self.lock()
                .list
                .iter()
                .map(|(worker, encoding, _)| (*worker, *encoding)),
        );
    }

    /// Whether the takers are `known`.
    pub(crate) fn has_takers(&self, known: &[(usize, Encoding)]) -> bool {
        let takers = self.lock();
        let takers = takers.list.iter();
        let takers = takers.map(|(worker, encoding, _)| (*worker, *encoding));
        takers.eq(known.iter().copied())
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

impl Durable {
    /// The feed has come to `place`.
    pub(crate) fn reach(&self, place: Place) {
        *self.lock() = place;
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        // Replaced whole: a panic elsewhere leaves it right.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscriber's part in an interest; dropping it leaves.
#[derive(Debug)]
pub struct Membership {
    interest: Arc<Interest>,
    worker: usize,
    encoding: Encoding,
}

impl Membership {
    /// The interest.
    pub fn interest(&self) -> &Arc<Interest> {
        &self.interest
    }

    /// In what the subscriber gets what is published.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut takers = self.interest.lock();
        let found = takers
            .list
            .iter()
            .position(|taker| (taker.0, taker.1) == (self.worker, self.encoding));
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn durable() -> Interest {
        let stream = Arc::new(Stream {
            name: "D".into(),
            live_prefix: "_tw.live".into(),
            sync_subject: "_tw.sync.D".into(),
            api_prefix: "$JS.API".into(),
            max_messages_per_subject: None,
            audit_interval: Duration::from_secs(30),
            epoch: Epoch::new("d-1").expect("an epoch"),
        });
        let terms = Terms {
            stream: Some(stream.clone()),
            ..Terms::default()
        };
        let channel = Channel::new("d.a").expect("a channel");
        let key = InterestKey {
            subject: terms.prefix.subject(&channel),
            channel,
        };
        Interest::new(InterestId(1), key, terms, Some(Arc::new(Timeline::new(stream))))
    }

    #[test]
    fn who_asks_while_the_stream_begins_anew_waits_and_gets_the_place_in_the_new_life() {
        let interest = durable();
        let durable = interest.durable.as_ref().expect("durable");
        let settles = |place: Place| {
            durable.reach(place);
            interest.progress.send_replace(Progress::Active);
        };
        let mut first = Box::pin(interest.settled());
        assert!(first.as_mut().now_or_never().is_none(), "not confirmed yet");
        settles(Place { tip: 7, life: 0 });
        let (place, epoch) = first.now_or_never().expect("settled").expect("not refused");
        assert_eq!((place.tip, epoch.as_str()), (7, "d-1"));

        // The new life is known before the interest is unsettled in it.
        let life = durable.timeline.renew(Epoch::new("d-2").expect("an epoch"), 3);
        let mut second = Box::pin(interest.settled());
        assert!(
            second.as_mut().now_or_never().is_none(),
            "the place is of the old life"
        );
        interest.progress.send_replace(Progress::Opening);
        assert!(second.as_mut().now_or_never().is_none());
        durable.reach(Place {
            tip: 0,
            life: life.number,
        });
        assert!(
            second.as_mut().now_or_never().is_none(),
            "not settled in the new one"
        );
        settles(Place {
            tip: 3,
            life: life.number,
        });
        let (place, epoch) = second.now_or_never().expect("settled").expect("not refused");
        assert_eq!((place.tip, epoch.as_str()), (3, "d-2"));
    }

    #[test]
    fn who_waits_for_an_interest_that_nats_refuses_is_told_so() {
        let interest = durable();
        let mut waiting = Box::pin(interest.settled());
        assert!(waiting.as_mut().now_or_never().is_none());
        interest.progress.send_replace(Progress::Refused);
        let refused = waiting.now_or_never().expect("an answer");
        assert!(matches!(refused, Err(BrokerError::Refused { .. })), "{refused:?}");
    }
}
