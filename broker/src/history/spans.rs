//! The ring: what was published lately on the channels of this process, encoded, within one budget of bytes. The oldest
//! entry is dropped first.
//!
//! A [`Span`] holds every publication of one channel in a range of offsets, as far as its source knew them: the live
//! feed, or a read of the stream. Ten thousand clients that come back at once are answered from here.
//! Cost of adding a live batch: one lock without contention and a reference count.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tailwater_protocol::batch::Batch;
use tailwater_protocol::encoding::Encoding;

use super::Origin;
use crate::feed::InterestId;

/// What a span weighs besides its bytes.
const SPAN_BYTES: usize = 256;

/// Neighbours are joined up to this many bytes when they are read.
const JOINED_BYTES: usize = 64 * 1024;

/// Every publication of a channel with an offset in `(from, to]`.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) batch: Batch,
    pub(crate) source: Source,
}

/// Where a span comes from, and so what it proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The live feed: without gaps on each subject from `from` on, as far as the feed knows.
    Live,
    /// A read of the stream.
    Stored {
        /// Of a pattern: ranges of sequences that were not there any more.
        gaps: Vec<(u64, u64)>,
        /// Publications behind the span when it was read.
        pending: u64,
    },
}

impl Span {
    /// Whether there is a publication at `offset`.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        let entries = self.batch.entries();
        entries
            .binary_search_by_key(&offset, |entry| entry.offset)
            .is_ok()
    }

    /// The first offset behind `cursor`.
    pub(crate) fn first_behind(&self, cursor: u64) -> Option<u64> {
        let entries = self.batch.entries();
        let place = entries.partition_point(|entry| entry.offset <= cursor);
        entries.get(place).map(|entry| entry.offset)
    }

    /// How many publications lie behind `cursor`.
    pub(crate) fn count_behind(&self, cursor: u64) -> u64 {
        let entries = self.batch.entries();
        (entries.len() - entries.partition_point(|entry| entry.offset <= cursor)) as u64
    }

    fn weight(&self) -> usize {
        self.batch.bytes().len() + self.batch.len() * 24 + SPAN_BYTES
    }
}

type Key = (InterestId, Encoding);

/// The ring.
#[derive(Debug)]
pub(crate) struct Spans {
    inner: Mutex<Inner>,
    budget: usize,
}

#[derive(Debug, Default)]
struct Inner {
    channels: HashMap<Key, BTreeMap<u64, Span>>,
    /// As they were added; entries of spans that are gone are passed over.
    order: VecDeque<(Key, u64)>,
    count: usize,
    bytes: usize,
}

impl Spans {
    /// A ring of at most `budget` bytes; the oldest entries make room.
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            inner: Mutex::default(),
            budget,
        }
    }

    /// Adds a span, in place of one with the same start.
    pub(crate) fn add(&self, interest: InterestId, encoding: Encoding, span: Span) {
        let mut inner = self.lock();
        inner.insert((interest, encoding), span);
        while inner.bytes > self.budget {
            let Some((key, from)) = inner.order.pop_front() else {
                return;
            };
            inner.remove(key, from);
        }
    }

    /// The live feed has brought everything up to `from`, and nothing was published from there up to `to`.
    pub(crate) fn nothing_between(
        &self,
        (interest, encodings): (InterestId, &[Encoding]),
        from: u64,
        to: u64,
    ) {
        for &encoding in encodings {
            let mut inner = self.lock();
            let spans = inner.channels.get_mut(&(interest, encoding));
            let last = spans.and_then(|spans| spans.values_mut().next_back());
            if let Some(last) = last.filter(|last| last.to == from && last.source == Source::Live) {
                last.to = to;
                continue;
            }
            drop(inner);
            let (batch, source) = (Batch::default(), Source::Live);
            self.add(
                interest,
                encoding,
                Span {
                    from,
                    to,
                    batch,
                    source,
                },
            );
        }
    }

    /// What there is behind `cursor`, neighbours joined.
    pub(crate) fn behind(
        &self,
        interest: InterestId,
        encoding: Encoding,
        cursor: u64,
        origin: Origin,
    ) -> Option<Span> {
        let key = (interest, encoding);
        let mut inner = self.lock();
        let spans = inner.channels.get(&key)?;
        // Spans of different sources overlap: a longer one may begin before the nearest.
        let (_, first) =
            spans.range(..=cursor).rev().take(4).find(|(_, span)| {
                span.to > cursor && (origin == Origin::Any || span.source != Source::Live)
            })?;
        if first.source != Source::Live {
            return Some(first.clone());
        }
        let mut run = vec![first.clone()];
        let (mut to, mut bytes) = (first.to, first.batch.bytes().len());
        while let Some(next) = spans.get(&to)
            && next.source == Source::Live
            && bytes + next.batch.bytes().len() <= JOINED_BYTES
        {
            bytes += next.batch.bytes().len();
            to = next.to;
            run.push(next.clone());
        }
        if run.len() == 1 {
            return run.pop();
        }
        let batches: Vec<Batch> = run.iter().map(|span| span.batch.clone()).collect();
        let joined = Span {
            from: run[0].from,
            to,
            batch: Batch::concat(&batches),
            source: Source::Live,
        };
        for span in &run {
            inner.remove(key, span.from);
        }
        inner.insert(key, joined.clone());
        Some(joined)
    }

    /// The span that was read from the stream with this start.
    pub(crate) fn stored(&self, interest: InterestId, encoding: Encoding, from: u64) -> Option<Span> {
        let inner = self.lock();
        let span = inner.channels.get(&(interest, encoding))?.get(&from)?;
        (span.source != Source::Live).then(|| span.clone())
    }

    /// Forgets a channel: nobody wants it any more, or what is here is not to be trusted.
    pub(crate) fn forget(&self, interest: InterestId) {
        let mut inner = self.lock();
        for encoding in Encoding::ALL {
            if let Some(spans) = inner.channels.remove(&(interest, encoding)) {
                inner.bytes -= spans.values().map(Span::weight).sum::<usize>();
                inner.count -= spans.len();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic between the lock and here cannot leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, key: Key, span: Span) {
        self.bytes += span.weight();
        self.order.push_back((key, span.from));
        let replaced = self.channels.entry(key).or_default().insert(span.from, span);
        self.bytes -= replaced.as_ref().map_or(0, Span::weight);
        self.count += usize::from(replaced.is_none());
        // Replaced and joined spans leave their names behind.
        if self.order.len() > 1024 && self.order.len() / 4 > self.count {
            let channels = &self.channels;
            self.order
                .retain(|(key, from)| channels.get(key).is_some_and(|spans| spans.contains_key(from)));
        }
    }

    fn remove(&mut self, key: Key, from: u64) {
        let Some(spans) = self.channels.get_mut(&key) else {
            return;
        };
        if let Some(span) = spans.remove(&from) {
            self.bytes -= span.weight();
            self.count -= 1;
        }
        if spans.is_empty() {
            self.channels.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tailwater_protocol::batch::BatchBuilder;
    use tailwater_protocol::channel::Channel;
    use tailwater_protocol::codec::Codec;
    use tailwater_protocol::payload::PayloadRef;
    use tailwater_protocol::position::Offset;
    use tailwater_protocol::push::UpdateRef;

    use super::*;

    fn span(from: u64, offsets: &[u64], source: Source) -> Span {
        let channel = Channel::new("a").expect("a channel");
        let mut builder = BatchBuilder::new(JSON);
        for offset in offsets {
            builder.push(&UpdateRef {
                offset: Offset::new(*offset).ok(),
                ..UpdateRef::new(&channel, PayloadRef::classify(b"1"))
            });
        }
        Span {
            from,
            to: *offsets.last().expect("an offset"),
            batch: builder.finish(),
            source,
        }
    }

    fn offsets(span: Option<Span>) -> Vec<u64> {
        let entries = span.map(|span| span.batch.entries().to_vec()).unwrap_or_default();
        entries.iter().map(|entry| entry.offset).collect()
    }

    const ID: InterestId = InterestId(1);
    const JSON: Encoding = Encoding::plain(Codec::Json);
    const MSGPACK: Encoding = Encoding::plain(Codec::MessagePack);

    #[test]
    fn neighbours_of_the_live_feed_are_joined_and_a_gap_is_not_passed_over() {
        let spans = Spans::new(1 << 20);
        for (from, offset) in [(1, 3), (3, 7), (9, 12)] {
            spans.add(ID, JSON, span(from, &[offset], Source::Live));
        }
        assert_eq!(offsets(spans.behind(ID, JSON, 1, Origin::Any)), [3, 7]);
        assert_eq!(offsets(spans.behind(ID, JSON, 5, Origin::Any)), [3, 7]);
        assert!(spans.behind(ID, JSON, 7, Origin::Any).is_none());
        assert_eq!(offsets(spans.behind(ID, JSON, 10, Origin::Any)), [12]);
        assert!(spans.behind(ID, JSON, 0, Origin::Any).is_none());
        assert!(spans.behind(ID, MSGPACK, 1, Origin::Any).is_none());
    }

    #[test]
    fn that_nothing_came_is_kept_in_one_place() {
        let spans = Spans::new(1 << 20);
        spans.nothing_between((ID, Encoding::of_channel(false)), 2, 5);
        spans.add(ID, JSON, span(5, &[7], Source::Live));
        for (from, to) in [(7, 20), (20, 30)] {
            spans.nothing_between((ID, Encoding::of_channel(false)), from, to);
        }
        // The batch in JSON alone.
        assert_eq!(spans.lock().count, 2 * Encoding::of_channel(false).len());
        let behind = spans.behind(ID, JSON, 3, Origin::Any).expect("it is known");
        assert_eq!((behind.to, behind.batch.len()), (30, 1));
        let behind = spans.behind(ID, MSGPACK, 3, Origin::Any).expect("it is known");
        assert_eq!((behind.to, behind.batch.len()), (5, 0));
    }

    #[test]
    fn the_oldest_make_room_and_the_weight_is_kept() {
        let one = span(0, &[1], Source::Live).weight();
        let spans = Spans::new(one * 3);
        for offset in 1..=5 {
            spans.add(ID, JSON, span(offset - 1, &[offset], Source::Live));
        }
        assert!(spans.behind(ID, JSON, 1, Origin::Any).is_none());
        assert_eq!(offsets(spans.behind(ID, JSON, 2, Origin::Any)), [3, 4, 5]);
        spans.forget(ID);
        assert_eq!(spans.lock().bytes, 0);
        assert!(spans.behind(ID, JSON, 2, Origin::Any).is_none());
    }

    #[test]
    fn a_read_that_reaches_further_is_found_behind_a_nearer_start() {
        let spans = Spans::new(1 << 20);
        let stored = || Source::Stored {
            gaps: Vec::new(),
            pending: 0,
        };
        spans.add(ID, JSON, span(0, &[2, 4, 6, 8], stored()));
        spans.add(ID, JSON, span(3, &[4], stored()));
        assert_eq!(offsets(spans.behind(ID, JSON, 5, Origin::Any)), [2, 4, 6, 8]);
    }
}
