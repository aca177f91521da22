//! Order on durable channels: which live publication follows the last one, and where some are missing. No I/O.
//!
//! The server republishes each publication with its sequence and that of the one before it *on the same subject*; so a
//! missing publication shows on the next one of its subject. A last one that goes missing shows in the audit alone.
//!
//! While a channel is *unsettled* (the interest is new, the link broke, a gap on a pattern, the stream went back) what
//! arrives is not passed on: it is stored, and whoever needs it is told to read it, once it is known up to where.

use std::collections::HashMap;
use std::sync::Arc;

/// Subjects that a pattern may have seen since its floor; beyond it the channel is settled anew, which raises the floor.
const MAX_SUBJECTS: usize = 65_536;

/// Newest offsets by the hash of their subject.
pub(crate) type Seen = HashMap<u64, u64>;

/// What to do with a live publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pass it on: it follows what was passed on before.
    Follows,
    /// Pass it on, and let the workers read what lies between what they have and `from`.
    Gap { from: u64 },
    /// Known already, or left to be read.
    Skip,
    /// Left to be read: the channel has become unsettled.
    Unsettled,
}

/// The order of one channel.
#[derive(Debug)]
pub(super) struct Sequence {
    /// Everything up to here has been passed on, or is left to be read.
    tip: u64,
    /// The largest offset that arrived while unsettled.
    unsettled: Option<u64>,
    /// Counts how often the channel became unsettled.
    doubts: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Exact,
    Pattern {
        /// Everything up to here was certainly passed on.
        floor: u64,
        /// The newest of each subject since.
        seen: Seen,
    },
}

impl Sequence {
    /// The order of a new interest; unsettled.
    pub(super) fn new(is_wildcard: bool) -> Self {
        let kind = if is_wildcard {
            Kind::Pattern {
                floor: 0,
                seen: Seen::new(),
            }
        } else {
            Kind::Exact
        };
        Self {
            tip: 0,
            unsettled: Some(0),
            doubts: 1,
            kind,
        }
    }

    pub(super) fn tip(&self) -> u64 {
        self.tip
    }

    /// Of a pattern: everything up to here was certainly passed on.
    pub(super) fn floor(&self) -> u64 {
        match self.kind {
            Kind::Exact => self.tip,
            Kind::Pattern { floor, .. } => floor,
        }
    }

    /// Of a pattern: so many subjects since its floor that an audit is due.
    pub(super) fn is_crowded(&self) -> bool {
        matches!(&self.kind, Kind::Pattern { seen, .. } if seen.len() == MAX_SUBJECTS / 2)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    /// Changes with every call of [`Sequence::unsettle`].
    pub(super) fn doubts(&self) -> u64 {
        self.doubts
    }

    /// A live publication: its offset, that of the one before it on its subject, and the hash of its subject.
    pub(super) fn next(&mut self, offset: u64, previous: u64, subject: u64) -> Verdict {
        if let Some(highest) = &mut self.unsettled {
            *highest = offset.max(*highest);
            return Verdict::Skip;
        }
        if offset <= self.tip {
            return Verdict::Skip;
        }
        let verdict = match &mut self.kind {
            Kind::Exact if previous > self.tip => Verdict::Gap { from: previous },
            Kind::Exact => Verdict::Follows,
            Kind::Pattern { floor, seen } => {
                let newest = seen.get(&subject).copied().unwrap_or(0);
                if previous > newest.max(*floor) || seen.len() >= MAX_SUBJECTS {
                    self.unsettle();
                    self.unsettled = Some(offset);
                    return Verdict::Unsettled;
                }
                seen.insert(subject, offset);
                Verdict::Follows
            }
        };
        self.tip = offset;
        verdict
    }

    /// From now on nothing is passed on.
    pub(super) fn unsettle(&mut self) {
        self.doubts += 1;
        self.unsettled.get_or_insert(0);
    }

    /// The channel is known to have come to `upto`, and all that comes from now on is seen here. Gives what a pattern
    /// passed on since its floor, and the floor.
    pub(super) fn settle(&mut self, upto: u64) -> Option<(u64, Arc<Seen>)> {
        let arrived = self.unsettled.take().unwrap_or(0);
        // What was passed on may be newer than what is still stored.
        self.tip = upto.max(arrived).max(self.tip);
        match &mut self.kind {
            Kind::Exact => None,
            Kind::Pattern { floor, seen } => {
                let before = std::mem::replace(floor, self.tip);
                Some((before, Arc::new(std::mem::take(seen))))
            }
        }
    }

    /// The stream began anew: nothing that was known holds.
    pub(super) fn renew(&mut self) {
        self.tip = 0;
        self.unsettle();
        self.unsettled = Some(0);
        if let Kind::Pattern { floor, seen } = &mut self.kind {
            *floor = 0;
            seen.clear();
        }
    }

    /// The audit has found that an exact channel has come to `head`, and everything up to there has had the time to
    /// arrive. True if it did not.
    pub(super) fn lags(&mut self, head: u64) -> bool {
        let lags = self.unsettled.is_none() && head > self.tip;
        if lags {
            self.tip = head;
        }
        lags
    }

    /// The audit has found these heads of a pattern's subjects stored up to `upto`, and everything up to there has had
    /// the time to arrive. Gives the new floor, or nothing if something did not arrive.
    pub(super) fn audit(&mut self, upto: u64, heads: impl Iterator<Item = (u64, u64)>) -> Option<u64> {
        let Kind::Pattern { floor, seen } = &mut self.kind else {
            return None;
        };
        let mut heads = heads;
        if !heads
            .all(|(subject, head)| head <= *floor || seen.get(&subject).is_some_and(|seen| *seen >= head))
        {
            return None;
        }
        *floor = upto.max(*floor);
        let floor = *floor;
        seen.retain(|_, offset| *offset > floor);
        self.tip = self.tip.max(floor);
        Some(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(is_wildcard: bool, upto: u64) -> Sequence {
        let mut sequence = Sequence::new(is_wildcard);
        sequence.settle(upto);
        sequence
    }

    #[test]
    fn an_exact_channel_follows_its_own_chain() {
        let mut sequence = settled(false, 10);
        assert_eq!(sequence.next(10, 4, 0), Verdict::Skip);
        assert_eq!(sequence.next(14, 10, 0), Verdict::Follows);
        assert_eq!(sequence.next(15, 14, 0), Verdict::Follows);
        // 20 was stored and never came.
        assert_eq!(sequence.next(22, 20, 0), Verdict::Gap { from: 20 });
        // What stood before has expired.
        assert_eq!(sequence.next(30, 0, 0), Verdict::Follows);
        assert_eq!(sequence.tip(), 30);
    }

    #[test]
    fn nothing_is_passed_on_before_a_channel_is_settled_and_all_that_came_is_left_to_be_read() {
        let mut sequence = Sequence::new(false);
        assert_eq!(sequence.next(14, 13, 0), Verdict::Skip);
        sequence.settle(12);
        assert_eq!((sequence.tip(), sequence.is_settled()), (14, true));
        assert_eq!(sequence.next(14, 13, 0), Verdict::Skip);
        assert_eq!(sequence.next(15, 14, 0), Verdict::Follows);
    }

    #[test]
    fn a_pattern_has_a_chain_for_each_subject() {
        let mut sequence = settled(true, 10);
        assert_eq!(sequence.next(11, 3, 1), Verdict::Follows);
        assert_eq!(sequence.next(12, 0, 2), Verdict::Follows);
        assert_eq!(sequence.next(13, 11, 1), Verdict::Follows);
        // 14 of subject 2 never came.
        assert_eq!(sequence.next(15, 14, 2), Verdict::Unsettled);
        assert_eq!(sequence.next(16, 15, 2), Verdict::Skip);
        let (floor, seen) = sequence.settle(15).expect("a pattern");
        assert_eq!((floor, seen.get(&1), seen.get(&2)), (10, Some(&13), Some(&12)));
        assert_eq!(sequence.tip(), 16);
        assert_eq!(sequence.next(17, 16, 2), Verdict::Follows);
    }

    #[test]
    fn an_audit_raises_the_floor_only_if_every_head_has_come() {
        let mut sequence = settled(true, 10);
        sequence.next(11, 0, 1);
        sequence.next(13, 0, 2);
        assert_eq!(
            sequence.audit(13, [(1, 11), (2, 13), (3, 9)].into_iter()),
            Some(13)
        );
        // 15 of subject 2 was the last one and never came.
        sequence.next(16, 11, 1);
        assert_eq!(sequence.audit(16, [(1, 16), (2, 15)].into_iter()), None);
        // A head that came meanwhile is newer than the audit's.
        sequence.next(17, 16, 1);
        assert_eq!(sequence.audit(16, [(1, 16), (2, 13)].into_iter()), Some(16));
    }

    #[test]
    fn an_audit_of_an_exact_channel_sees_the_lost_last_one() {
        let mut sequence = settled(false, 10);
        assert!(!sequence.lags(10) && !sequence.lags(4));
        assert!(sequence.lags(12));
        assert_eq!(sequence.next(13, 12, 0), Verdict::Follows);
        sequence.unsettle();
        assert!(!sequence.lags(20));
    }

    #[test]
    fn each_doubt_is_told_apart() {
        let mut sequence = settled(true, 10);
        let before = sequence.doubts();
        sequence.unsettle();
        assert_ne!(before, sequence.doubts());
        sequence.renew();
        assert_eq!((sequence.tip(), sequence.is_settled()), (0, false));
    }
}
