//! What one subscriber has received, checked against what it should: each publication once, and in order.

use std::ops::{AddAssign, Range};

use serde::Serialize;

/// Counts of one subscriber, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    /// Publications of other times, which nobody should have received.
    pub(crate) foreign: u64,
    /// Publications that the edge said were lost, one where it did not say how many.
    pub(crate) announced: u64,
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
    }
}

/// Numbers seen of those expected.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    expected: Range<u32>,
    /// A bit for each number that is expected.
    seen: Vec<u64>,
    unique: u32,
    next: u32,
    counts: Counts,
}

impl Ledger {
    pub(crate) fn new(expected: Range<u32>) -> Self {
        Self {
            seen: vec![0; expected.len().div_ceil(64)],
            unique: 0,
            next: expected.start,
            counts: Counts::default(),
            expected,
        }
    }

    /// A publication has come.
    pub(crate) fn record(&mut self, number: u32) {
        self.counts.delivered += 1;
        if !self.expected.contains(&number) {
            self.counts.foreign += 1;
            return;
        }
        let place = number - self.expected.start;
        let bit = 1_u64 << (place % 64);
        let word = &mut self.seen[(place / 64) as usize];
        if *word & bit != 0 {
            self.counts.doubled += 1;
            return;
        }
        *word |= bit;
        self.unique += 1;
        self.counts.out_of_order += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
    }

    /// The edge says that so many were lost.
    pub(crate) fn announce(&mut self, count: u64) {
        self.counts.announced += count;
    }

    /// Whether all that is expected has come.
    pub(crate) fn is_full(&self) -> bool {
        self.unique as usize == self.expected.len()
    }

    /// The verdict.
    pub(crate) fn counts(&self) -> Counts {
        let missing = self.expected.len() - self.unique as usize;
        Counts {
            lost: missing as u64,
            ..self.counts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_be_wrong_is_counted() {
        let mut ledger = Ledger::new(100..200);
        for number in (100..150).chain([149, 151, 150, 7, 200]).chain(152..199) {
            ledger.record(number);
        }
        assert!(!ledger.is_full());
        ledger.announce(2);
        let counts = Counts {
            delivered: 102,
            lost: 1,
            doubled: 1,
            out_of_order: 1,
            foreign: 2,
            announced: 2,
        };
        assert_eq!(ledger.counts(), counts);
        assert!(!ledger.counts().is_honest());
    }

    #[test]
    fn what_is_announced_is_honestly_lost() {
        let mut ledger = Ledger::new(0..3);
        ledger.announce(2);
        ledger.record(2);
        assert!(ledger.counts().is_honest() && !ledger.counts().is_complete());
    }

    #[test]
    fn once_and_in_order_is_complete() {
        let mut ledger = Ledger::new(5..300);
        (5..300).for_each(|number| ledger.record(number));
        assert!(ledger.is_full() && ledger.counts().is_complete());
        assert!(Ledger::new(0..0).is_full());
    }
}
