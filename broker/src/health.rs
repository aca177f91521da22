//! What is measured of the connections to NATS: how they are, how often they broke, and how long JetStream takes.
//!
//! Cost: one atomic addition for each thing that happens, none of them once a publication or a subscriber.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::connection::ConnectionState;

/// How a connection is and was. Cheap to clone; may be asked at any time, from any thread.
#[derive(Clone, Debug)]
pub struct Health {
    state: watch::Receiver<ConnectionState>,
    reconnects: Arc<AtomicU64>,
    jetstream: Arc<JetStreamTimes>,
}

impl Health {
    pub(crate) fn new(
        state: watch::Receiver<ConnectionState>,
        reconnects: Arc<AtomicU64>,
        jetstream: Arc<JetStreamTimes>,
    ) -> Self {
        Self {
            state,
            reconnects,
            jetstream,
        }
    }

    /// How the connection is, and a way to wait until that changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Whether NATS can be reached over it now.
    pub fn is_connected(&self) -> bool {
        *self.state.borrow() == ConnectionState::Connected
    }

    /// How often it was made again after it had been there.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// How long JetStream took to answer what was asked over it.
    pub fn jetstream(&self) -> &JetStreamTimes {
        &self.jetstream
    }
}

/// How long JetStream takes, by what it is asked. What got no answer in time counts with the time that was waited; what
/// could not be asked does not count.
#[derive(Debug, Default)]
pub struct JetStreamTimes {
    /// The publish that proves where the stream's leader is.
    pub barrier: Histogram,
    /// The newest publication of each channel.
    pub heads: Histogram,
    /// Stored publications.
    pub read: Histogram,
    /// A client's publication, until it is stored.
    pub publish: Histogram,
}

/// Upper bounds of the buckets of every histogram, in microseconds; one more bucket has none.
const BOUNDS_MICROS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// How often something took how long, in buckets from half a millisecond to 30 seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

/// What a [`Histogram`] held at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How often, by bucket: as many as there are [bounds](Histogram::bounds_secs), and one more above all of them.
    pub counts: [u64; BOUNDS_MICROS.len() + 1],
    /// All together, in microseconds.
    pub sum_micros: u64,
}

impl Histogram {
    /// Counts one that took so long.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Both ends of a bucket are as Prometheus has them: the bound belongs to it.
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Upper bounds of the buckets, in seconds.
    pub fn bounds_secs() -> impl Iterator<Item = f64> {
        BOUNDS_MICROS
            .into_iter()
            .map(|bound| Duration::from_micros(bound).as_secs_f64())
    }

    /// What is in it now.
    pub fn measured(&self) -> Measured {
        let mut measured = Measured::default();
        for (count, bucket) in measured.counts.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        measured.sum_micros = self.sum_micros.load(Ordering::Relaxed);
        measured
    }
}

impl Measured {
    /// Adds what another one held.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum_micros += other.sum_micros;
    }

    /// How often in all.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 1_000, 30_000_000, 30_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut measured = histogram.measured();
        assert_eq!(measured.counts[..3], [2, 2, 0]);
        assert_eq!(measured.counts[14..], [1, 1]);
        assert_eq!((measured.count(), measured.sum_micros), (6, 60_002_002));
        measured.add(&histogram.measured());
        assert_eq!(measured.count(), 12);
        assert_eq!(Histogram::bounds_secs().last(), Some(30.0));
    }
}
