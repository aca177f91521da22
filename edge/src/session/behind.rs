//! What a durable subscription lacks and what it has: where to read on, and what to leave out. Pure.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tailwater_broker::history::Cursor;
use tailwater_protocol::batch::Batch;
use tokio::time::Instant;

use crate::metrics::meters::Recovery;
use crate::telemetry::traces::Span;

/// A subscription that is not in step with its channel.
#[derive(Debug)]
pub(crate) struct Behind {
    /// Everything up to here has been written or waits in the outbox.
    pub(crate) cursor: Cursor,
    /// What the client has been told that it lacks.
    pub(crate) told: Option<(u64, u64)>,
    /// What it has beyond the cursor.
    skips: Vec<Skip>,
    /// Its reads have failed since the last that did not.
    pub(crate) rest: Option<Rest>,
    /// It resumes: from where it is answered so far.
    pub(crate) resumes: Option<Recovery>,
    /// Lasts until it is level.
    pub(crate) span: Span,
}

/// The pause between two reads that fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    /// The end of the pause.
    pub(crate) until: Instant,
    /// How long it is, random part left out.
    pub(crate) pause: Duration,
}

/// Publications that a subscription to a pattern has, though they lie behind its cursor.
#[derive(Debug)]
struct Skip {
    /// It has everything up to here, but what the feed missed.
    upto: u64,
    /// What it got from the feed; the rest it has read itself.
    fed: Vec<(u64, u64)>,
    /// The newest that the feed passed on, by the hash of the subject.
    seen: Arc<HashMap<u64, u64>>,
}

impl Behind {
    /// Reads on from `cursor`.
    pub(crate) fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            told: None,
            skips: Vec::new(),
            rest: None,
            resumes: None,
            span: Span::default(),
        }
    }

    /// The frames of `batch` that the client lacks.
    pub(crate) fn lacks(&self, batch: &Batch) -> Vec<Range<usize>> {
        let entries = batch.entries();
        let first = entries.partition_point(|entry| entry.offset <= self.cursor.offset());
        if self.skips.is_empty() {
            let rest = first..entries.len();
            return Some(rest).filter(|rest| !rest.is_empty()).into_iter().collect();
        }
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (index, entry) in entries.iter().enumerate().skip(first) {
            if self
                .skips
                .iter()
                .any(|skip| skip.has(entry.offset, entry.subject))
            {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == index => run.end += 1,
                _ => runs.push(index..index + 1),
            }
        }
        runs
    }

    /// Everything up to `offset` has been written or waits in the outbox.
    pub(crate) fn reach(&mut self, offset: u64) {
        self.cursor = Cursor::Had(offset);
        self.skips.retain(|skip| skip.upto > offset);
    }

    /// The part of a loss that the client has not been told.
    pub(crate) fn tell(&mut self, lost: (u64, u64)) -> Option<(u64, u64)> {
        let new = match self.told {
            Some((_, to)) if lost.1 <= to => return None,
            Some((_, to)) => (lost.0.max(to + 1), lost.1),
            None => lost,
        };
        self.told = Some(new);
        Some(new)
    }
}

impl Skip {
    fn has(&self, offset: u64, subject: u64) -> bool {
        let fed = |(from, to): &(u64, u64)| *from < offset && offset <= *to;
        let missed = || self.seen.get(&subject).is_none_or(|seen| *seen < offset);
        offset <= self.upto && !(self.fed.iter().any(fed) && missed())
    }
}

/// What a subscription to a pattern got from the feed, which may learn later that it missed something: ranges of
/// offsets, each without its start. The last is open while the subscription is in step.
#[derive(Debug, Default)]
pub(crate) struct Fed(Vec<(u64, u64)>);

impl Fed {
    /// Everything came from elsewhere, or is certain.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From where a resume is safe for a subscription that has everything up to `has`, if the feed certainly passed on
    /// everything up to `certain`.
    pub(crate) fn certain(&self, has: u64, certain: u64) -> u64 {
        let first = self.0.iter().find(|(_, to)| *to > certain);
        first.map_or(has, |(from, _)| has.min(certain.max(*from)))
    }

    /// In step from `from` on.
    pub(crate) fn open(&mut self, from: u64) {
        self.add(from, u64::MAX);
    }

    /// In step no more; it has everything up to `to`.
    pub(crate) fn close(&mut self, to: u64) {
        if let Some(last) = self.0.last_mut().filter(|last| last.1 == u64::MAX) {
            last.1 = to;
        }
    }

    /// Got what the ring had of the feed between these offsets.
    pub(crate) fn add(&mut self, from: u64, to: u64) {
        match self.0.last_mut() {
            Some(last) if last.1 >= from => last.1 = to.max(last.1),
            _ => self.0.push((from, to)),
        }
    }

    /// Everything up to `certain` was passed on by the feed.
    pub(crate) fn prune(&mut self, certain: u64) {
        self.0.retain(|(_, to)| *to > certain);
    }

    /// The feed may have missed something behind `floor`; `seen` is what it passed on since. The subscription has
    /// everything up to `has` but that. Gives how to read it again, or nothing if it got all from elsewhere.
    pub(crate) fn rewind(&mut self, floor: u64, has: u64, seen: &Arc<HashMap<u64, u64>>) -> Option<Rewound> {
        self.close(has);
        self.prune(floor);
        let first = self.0.first()?.0.max(floor);
        (first < has).then(|| Rewound {
            cursor: first,
            skip: Skip {
                upto: has,
                fed: std::mem::take(&mut self.0),
                seen: seen.clone(),
            },
        })
    }
}

/// How to read again.
#[derive(Debug)]
pub(crate) struct Rewound {
    cursor: u64,
    skip: Skip,
}

impl Behind {
    /// Reads again what the feed may have missed.
    pub(crate) fn rewind(&mut self, rewound: Rewound) {
        self.cursor = Cursor::Had(rewound.cursor);
        self.skips.push(rewound.skip);
    }
}

#[cfg(test)]
mod tests {
    use tailwater_protocol::batch::{BatchBuilder, subject_hash};
    use tailwater_protocol::channel::Channel;
    use tailwater_protocol::codec::Codec;
    use tailwater_protocol::payload::PayloadRef;
    use tailwater_protocol::position::Offset;
    use tailwater_protocol::push::UpdateRef;

    use super::*;

    /// Offsets 1 to 10, odd ones on `a.odd`, even ones on `a.even`.
    fn batch() -> Batch {
        let channel = Channel::new("a.*").expect("a channel");
        let mut builder = BatchBuilder::new(Codec::Json);
        for offset in 1..=10_u64 {
            builder.push(&UpdateRef {
                subject: Some(if offset % 2 == 1 { "a.odd" } else { "a.even" }),
                offset: Offset::new(offset).ok(),
                ..UpdateRef::new(&channel, PayloadRef::classify(b"1"))
            });
        }
        builder.finish()
    }

    fn lacks(behind: &Behind) -> Vec<u64> {
        let batch = batch();
        let runs = behind.lacks(&batch);
        let entries = runs
            .into_iter()
            .flatten()
            .map(|index| batch.entries()[index].offset);
        entries.collect()
    }

    fn seen(odd: u64, even: u64) -> Arc<HashMap<u64, u64>> {
        Arc::new(HashMap::from([
            (subject_hash("a.odd"), odd),
            (subject_hash("a.even"), even),
        ]))
    }

    #[test]
    fn what_lies_behind_the_cursor_is_lacking() {
        let mut behind = Behind::new(Cursor::From(0));
        behind.reach(7);
        assert_eq!(lacks(&behind), [8, 9, 10]);
        behind.reach(10);
        assert!(lacks(&behind).is_empty());
    }

    #[test]
    fn a_pattern_that_is_read_again_gets_only_what_the_feed_missed() {
        let mut fed = Fed::default();
        fed.open(2);
        // The feed passed on 3, 5, 7 and 4, and missed 6 and 8.
        let mut behind = Behind::new(Cursor::Had(8));
        behind.rewind(fed.rewind(2, 8, &seen(7, 4)).expect("something to read"));
        assert_eq!(lacks(&behind), [6, 8, 9, 10]);
        behind.reach(8);
        assert_eq!(lacks(&behind), [9, 10]);
    }

    #[test]
    fn what_a_subscription_has_read_itself_is_not_read_again() {
        let mut fed = Fed::default();
        fed.open(0);
        fed.close(4);
        // 5 to 7 were read from the stream, then it was in step again.
        fed.open(7);
        let mut behind = Behind::new(Cursor::Had(9));
        behind.rewind(fed.rewind(0, 9, &seen(9, 2)).expect("something to read"));
        // The feed missed 4, 6 and 8; 6 came by reading.
        assert_eq!(lacks(&behind), [4, 8, 10]);
    }

    #[test]
    fn what_is_certain_is_not_read_again() {
        let mut fed = Fed::default();
        fed.open(0);
        fed.close(4);
        assert!(fed.rewind(4, 6, &seen(0, 0)).is_none());
        fed.open(6);
        assert!(fed.rewind(6, 6, &seen(0, 0)).is_none());
    }

    #[test]
    fn a_loss_is_told_once() {
        let mut behind = Behind::new(Cursor::Had(0));
        assert_eq!(behind.tell((3, 5)), Some((3, 5)));
        assert_eq!(behind.tell((3, 5)), None);
        assert_eq!(behind.tell((4, 8)), Some((6, 8)));
    }
}
