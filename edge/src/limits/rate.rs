//! So much a second, and a burst: the generic cell rate algorithm (ITU-T I.371, virtual scheduling). What is kept of one
//! who is bounded is a single number, when all that it has taken is paid for; nothing runs while nothing is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// A rate, and how far ahead of it one may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    per_sec: u64,
    burst_nanos: u64,
}

impl Rate {
    /// So many units a second, of which those of `burst` may be taken at once; nothing if there is no limit, which 0
    /// says.
    pub(crate) fn new(per_sec: u64, burst: Duration) -> Option<Self> {
        let burst_nanos = u64::try_from(burst.as_nanos()).unwrap_or(u64::MAX);
        (per_sec > 0).then_some(Self { per_sec, burst_nanos })
    }

    /// When everything is paid for, once `count` units more are taken at `now`.
    pub(crate) fn taken(self, paid_at: u64, now: u64, count: usize) -> u64 {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let cost = count.saturating_mul(NANOS) / self.per_sec;
        paid_at.max(now).saturating_add(cost)
    }

    /// How long nothing may be taken, from `now` on; zero if something may, be it more than there is room for.
    pub(crate) fn wait(self, paid_at: u64, now: u64) -> Duration {
        let ahead = paid_at.saturating_sub(now);
        if ahead < self.burst_nanos {
            return Duration::ZERO;
        }
        Duration::from_nanos(ahead - self.burst_nanos + 1)
    }

    /// How long until half of the burst may be taken at once; zero if it may.
    pub(crate) fn recovery(self, paid_at: u64, now: u64) -> Duration {
        let ahead = paid_at.saturating_sub(now);
        Duration::from_nanos(ahead.saturating_sub(self.burst_nanos / 2))
    }
}

/// A rate that threads share.
#[derive(Debug)]
pub(crate) struct SharedRate {
    rate: Rate,
    paid_at: AtomicU64,
}

impl SharedRate {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            paid_at: AtomicU64::new(0),
        }
    }

    /// Takes one unit.
    ///
    /// # Errors
    /// How long to wait, if none may be taken; none is then.
    pub(crate) fn take(&self, now: u64) -> Result<(), Duration> {
        let take = |paid_at| {
            let free = self.rate.wait(paid_at, now).is_zero();
            free.then(|| self.rate.taken(paid_at, now, 1))
        };
        match self
            .paid_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Ok(()),
            Err(paid_at) => Err(self.rate.wait(paid_at, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn a_burst_may_be_taken_at_once_and_then_as_much_as_time_brings() {
        let rate = SharedRate::new(Rate::new(100, Duration::from_secs(2)).unwrap());
        let now = 7 * NANOS;
        let taken = (0..1000).take_while(|_| rate.take(now).is_ok()).count();
        assert_eq!(taken, 200);
        // One more goes as soon as it has begun to come; a hundredth of a second brings the next.
        assert!(rate.take(now + 1).is_ok());
        let wait = rate.take(now + 9 * MILLI).unwrap_err();
        assert!(
            wait <= Duration::from_millis(1) + Duration::from_nanos(1),
            "{wait:?}"
        );
        assert!(rate.take(now + 10 * MILLI + 1).is_ok());
        assert!(rate.take(now + 10 * MILLI + 1).is_err());
        // However long nothing is taken, no more than the burst is saved.
        let later = now + 3600 * NANOS;
        assert_eq!((0..1000).take_while(|_| rate.take(later).is_ok()).count(), 200);
    }

    #[test]
    fn what_is_larger_than_the_burst_is_taken_and_waited_for() {
        let rate = Rate::new(1000, Duration::from_secs(1)).unwrap();
        let paid_at = rate.taken(0, 0, 5000);
        assert_eq!(rate.wait(paid_at, 0), Duration::from_nanos(4 * NANOS + 1));
        assert_eq!(rate.recovery(paid_at, 0), Duration::from_millis(4500));
        assert!(rate.recovery(paid_at, 5 * NANOS).is_zero());
        assert!(Rate::new(0, Duration::from_secs(1)).is_none());
    }
}
