//! What one subscriber has received, checked against what it should: each publication once, and in order.

use std::ops::{AddAssign, Range};

use serde::{Deserialize, Serialize};

/// Counts of one subscriber, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    /// Publications of other times, which nobody should have received.
    pub(crate) foreign: u64,
    /// Publications that the edge said were lost, one where it did not say how many.
    pub(crate) announced: u64,
    /// Connections that the server closed.
    pub(crate) closed: u64,
}

impl Counts {
    /// Whether everything came once and in order, and nothing else.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_honest() && self.lost == 0
    }

    /// Whether what is missing was announced, neither more nor less, and the rest came once and in order.
    pub(crate) fn is_honest(&self) -> bool {
        self.lost == self.announced && self.doubled + self.out_of_order + self.foreign == 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.out_of_order += other.out_of_order;
        self.foreign += other.foreign;
        self.announced += other.announced;
        self.closed += other.closed;
    }
}

/// The numbers that one subscriber should receive: every `step`-th, from the first on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// 1, or the number of channels where publications go round them.
    pub(crate) step: u32,
}

impl Expected {
    /// Every number of a range.
    pub(crate) fn all(range: Range<u32>) -> Self {
        Self {
            first: range.start,
            count: range.end.saturating_sub(range.start),
            step: 1,
        }
    }

    /// The place of a number among those that are expected.
    fn place(self, number: u32) -> Option<u32> {
        let distance = number.checked_sub(self.first)?;
        let place = if self.step == 1 {
            distance
        } else if distance.is_multiple_of(self.step) {
            distance / self.step
        } else {
            return None;
        };
        (place < self.count).then_some(place)
    }
}

/// Numbers seen of those expected.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    expected: Expected,
    /// A bit for each number that is expected.
    seen: Vec<u64>,
    unique: u32,
    /// The place that comes next.
    next: u32,
    counts: Counts,
}

impl Ledger {
    pub(crate) fn new(expected: Expected) -> Self {
        Self {
            seen: vec![0; expected.count.div_ceil(64) as usize],
            unique: 0,
            next: 0,
            counts: Counts::default(),
            expected,
        }
    }

    /// A publication has come.
    #[inline]
    pub(crate) fn record(&mut self, number: u32) {
        self.counts.delivered += 1;
        let Some(place) = self.expected.place(number) else {
            self.counts.foreign += 1;
            return;
        };
        let bit = 1_u64 << (place % 64);
        let word = &mut self.seen[(place / 64) as usize];
        if *word & bit != 0 {
            self.counts.doubled += 1;
            return;
        }
        *word |= bit;
        self.unique += 1;
        self.counts.out_of_order += u64::from(place < self.next);
        self.next = self.next.max(place + 1);
    }

    /// The edge says that so many were lost.
    pub(crate) fn announce(&mut self, count: u64) {
        self.counts.announced += count;
    }

    /// The server has closed the connection.
    pub(crate) fn close(&mut self) {
        self.counts.closed = 1;
    }

    /// Whether all that is expected has come or was announced as lost, or nothing can come any more.
    pub(crate) fn is_done(&self) -> bool {
        let accounted = u64::from(self.unique) + self.counts.announced;
        accounted >= u64::from(self.expected.count) || self.counts.closed > 0
    }

    /// Publications received so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.delivered
    }

    /// The verdict.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            lost: u64::from(self.expected.count - self.unique),
            ..self.counts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_be_wrong_is_counted() {
        let mut ledger = Ledger::new(Expected::all(100..200));
        for number in (100..150).chain([149, 151, 150, 7, 200]).chain(152..199) {
            ledger.record(number);
        }
        assert!(!ledger.is_done());
        ledger.announce(2);
        assert!(ledger.is_done());
        let counts = Counts {
            delivered: 102,
            lost: 1,
            doubled: 1,
            out_of_order: 1,
            foreign: 2,
            announced: 2,
            closed: 0,
        };
        assert_eq!(ledger.counts(), counts);
        assert!(!ledger.counts().is_honest());
    }

    #[test]
    fn who_is_cut_off_waits_for_nothing() {
        let mut ledger = Ledger::new(Expected::all(0..3));
        assert!(!ledger.is_done());
        ledger.close();
        assert!(ledger.is_done() && ledger.counts().lost == 3);
    }

    #[test]
    fn what_is_announced_is_honestly_lost() {
        let mut ledger = Ledger::new(Expected::all(0..3));
        ledger.announce(2);
        ledger.record(2);
        assert!(ledger.counts().is_honest() && !ledger.counts().is_complete());
    }

    #[test]
    fn once_and_in_order_is_complete() {
        let mut ledger = Ledger::new(Expected::all(5..300));
        (5..300).for_each(|number| ledger.record(number));
        assert!(ledger.is_done() && ledger.counts().is_complete());
        assert!(Ledger::new(Expected::all(0..0)).is_done());
    }

    #[test]
    fn of_many_channels_each_has_its_own_numbers() {
        let expected = Expected {
            first: 102,
            count: 3,
            step: 10,
        };
        let mut ledger = Ledger::new(expected);
        [102, 112, 122]
            .into_iter()
            .for_each(|number| ledger.record(number));
        assert!(ledger.counts().is_complete() && ledger.is_done());
        [92, 103, 132]
            .into_iter()
            .for_each(|number| ledger.record(number));
        assert_eq!(ledger.counts().foreign, 3);
    }
}
