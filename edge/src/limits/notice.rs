//! A line of the log that an attacker could cause at will: it stands there every ten seconds at most, with how often it
//! would have.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Clock;

/// The pause between two lines.
const PAUSE_NANOS: u64 = 10_000_000_000;

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Notice {
    count: AtomicU64,
    /// When the next line may be written.
    next: AtomicU64,
}

impl Notice {
    /// Counts once more. Gives how often that was since the last line, if it is time for one.
    pub(super) fn now(&self, clock: Clock) -> Option<u64> {
        self.at(clock.now())
    }

    fn at(&self, now: u64) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let next = |next| (next <= now).then_some(now + PAUSE_NANOS);
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
            .map(|_| self.count.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_events_is_a_line_now_and_then_with_their_number() {
        let notice = Notice::default();
        assert_eq!(notice.at(5), Some(1));
        assert!((6..1000).all(|now| notice.at(now).is_none()));
        assert_eq!(notice.at(5 + PAUSE_NANOS), Some(995));
        assert_eq!(notice.at(6 + PAUSE_NANOS), None);
    }
}
