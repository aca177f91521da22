//! Judges what one subscription received against what the stream holds. No I/O and no clock: what happened goes in,
//! what was wrong comes out. An event is judged as soon as the stream is known that far, and then forgotten.

use std::collections::{HashMap, VecDeque};

use tailwater_protocol::channel::Channel;

use super::truth::{Stored, SubjectId, Truth};

mod event;

pub use event::{Counts, Event, Wrong};

/// Wrongs of one subscription that are kept in words; the others are counted.
const KEPT: usize = 12;

/// One subscription, over all of its connections.
#[derive(Debug)]
pub struct Follower {
    channel: Channel,
    /// The subjects of the channel among the first `known` of the truth, rising.
    matching: Vec<SubjectId>,
    known: usize,
    waiting: VecDeque<Event>,
    /// Where the first subscription began; nothing is owed up to there.
    start: Option<u64>,
    epoch: String,
    /// In this connection: nothing is owed up to here, and updates behind `tolerated` may come again.
    base: u64,
    tolerated: u64,
    /// In this connection: the index of what comes next.
    places: HashMap<SubjectId, usize>,
    /// Over all connections: everything before this index has come, or is accounted for.
    done: HashMap<SubjectId, usize>,
    lost: Vec<(u64, u64)>,
    owes_lost: bool,
    told: Vec<String>,
    counts: Counts,
    wrongs: Vec<Wrong>,
}

impl Follower {
    /// A subscription to `channel` that has not begun.
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            matching: Vec::new(),
            known: 0,
            waiting: VecDeque::new(),
            start: None,
            epoch: String::new(),
            base: 0,
            tolerated: 0,
            places: HashMap::new(),
            done: HashMap::new(),
            lost: Vec::new(),
            owes_lost: false,
            told: Vec::new(),
            counts: Counts::default(),
            wrongs: Vec::new(),
        }
    }

    /// The channel, as subscribed.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The first things that were wrong.
    pub fn wrongs(&self) -> &[Wrong] {
        &self.wrongs
    }

    /// The first `lost` messages, in words.
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// Whether it was ever confirmed.
    pub fn has_begun(&self) -> bool {
        self.start.is_some()
    }

    /// Takes what happened, and judges what can be judged.
    pub fn record(&mut self, event: Event, truth: &Truth) {
        self.waiting.push_back(event);
        self.settle(truth);
    }

    /// Something that is wrong by itself.
    pub fn complain(&mut self, wrong: Wrong) {
        self.counts.wrong += 1;
        if self.wrongs.len() < KEPT {
            self.wrongs.push(wrong);
        }
    }

    /// Judges what can be judged now.
    pub fn settle(&mut self, truth: &Truth) {
        while let Some(event) = self.waiting.front() {
            let needed = match event {
                Event::Subscribed { since, .. } => since.unwrap_or(0),
                Event::Update { offset, .. } | Event::Position { offset } => *offset,
                Event::Lost { .. } => 0,
            };
            if needed > truth.upto() {
                return;
            }
            if let Some(event) = self.waiting.pop_front() {
                self.judge(event, truth);
            }
        }
    }

    /// Whether everything that is known to be stored has come, or is accounted for.
    pub fn is_level(&mut self, truth: &Truth) -> bool {
        self.settle(truth);
        let Some(start) = self.start.filter(|_| self.waiting.is_empty()) else {
            return false;
        };
        self.refresh(truth);
        self.matching.iter().all(|id| {
            let stored = truth.stored(*id);
            let done = self
                .done
                .get(id)
                .copied()
                .unwrap_or_else(|| behind(stored, start));
            stored[done..].iter().all(|stored| self.is_named(stored.offset))
        })
    }

    /// Whether everything up to these offsets of these subjects has come, or is accounted for, as far as the subjects
    /// are the channel's.
    pub fn has(&mut self, offsets: &[(SubjectId, u64)], truth: &Truth) -> bool {
        self.settle(truth);
        self.refresh(truth);
        let Some(start) = self.start else { return false };
        let mut offsets = offsets
            .iter()
            .filter(|(subject, _)| self.matching.binary_search(subject).is_ok());
        offsets.all(|(subject, offset)| {
            let stored = truth.stored(*subject);
            let done = self
                .done
                .get(subject)
                .copied()
                .unwrap_or_else(|| behind(stored, start));
            truth.upto() >= *offset && stored.get(done).is_none_or(|next| next.offset > *offset)
        })
    }

    /// The end: `truth` is all there is, and whatever has not come is missing.
    pub fn finish(&mut self, truth: &Truth) {
        self.settle(truth);
        // What waits still lies behind the end of the stream.
        while let Some(event) = self.waiting.pop_front() {
            match event {
                Event::Update { subject, offset, .. } => {
                    let subject = truth.name(subject).to_owned();
                    self.complain(Wrong::NeverStored { subject, offset });
                }
                Event::Position { offset } | Event::Subscribed { offset, .. } => {
                    let what = format!("a cursor {offset} behind the end of the stream");
                    self.complain(Wrong::Protocol(what));
                }
                Event::Lost { .. } => {}
            }
        }
        if self.start.is_none() {
            return self.complain(Wrong::NeverSubscribed);
        }
        if self.owes_lost {
            self.complain(Wrong::NotRecovered);
        }
        self.owe(u64::MAX, truth, |subject, offset| Wrong::Missing {
            subject,
            offset,
        });
    }

    fn judge(&mut self, event: Event, truth: &Truth) {
        match event {
            Event::Subscribed {
                since,
                offset,
                epoch,
                recovered,
            } => self.subscribed(since, offset, epoch, recovered, truth),
            Event::Update {
                subject,
                offset,
                print,
            } => self.update(subject, Stored { offset, print }, truth),
            Event::Lost { from, to, reason } => {
                if self.told.len() < KEPT {
                    self.told.push(format!("lost from {from:?} to {to:?}: {reason}"));
                }
                *self.counts.lost.entry(reason).or_default() += 1;
                self.owes_lost = false;
                match (from, to) {
                    (Some(from), Some(to)) => self.lost.push((from, to)),
                    _ => self.complain(Wrong::LostWithoutRange),
                }
            }
            Event::Position { offset } => {
                if self.start.is_none() {
                    return self.complain(Wrong::Protocol("`position` before `subscribed`".to_owned()));
                }
                self.owe_here(offset, truth);
            }
        }
    }

    fn subscribed(
        &mut self,
        since: Option<u64>,
        offset: u64,
        epoch: String,
        recovered: Option<bool>,
        truth: &Truth,
    ) {
        if self.start.is_none() {
            self.start = Some(since.unwrap_or(offset));
            self.epoch.clone_from(&epoch);
        }
        if self.epoch != epoch {
            self.epoch = epoch;
            self.complain(Wrong::EpochChanged);
        }
        self.places.clear();
        self.base = since.unwrap_or(offset);
        self.tolerated = self.base;
        if let Some(cursor) = since {
            self.counts.resumes += 1;
            self.owes_lost = recovered != Some(true);
            if self.channel.is_wildcard() {
                self.tolerated = cursor.min(offset);
            }
            self.owe(cursor, truth, |subject, offset| Wrong::CursorAhead {
                cursor,
                subject,
                offset,
            });
        }
    }

    fn update(&mut self, subject: SubjectId, update: Stored, truth: &Truth) {
        self.counts.updates += 1;
        let name = || truth.name(subject).to_owned();
        let offset = update.offset;
        if self.start.is_none() {
            return self.complain(Wrong::Protocol("`update` before `subscribed`".to_owned()));
        }
        if !self.channel.matches(truth.name(subject)) {
            return self.complain(Wrong::Stray { subject: name() });
        }
        if self.owes_lost {
            self.owes_lost = false;
            self.complain(Wrong::NotRecovered);
        }
        let stored = truth.stored(subject);
        let Ok(index) = stored.binary_search_by_key(&offset, |stored| stored.offset) else {
            return self.complain(Wrong::NeverStored {
                subject: name(),
                offset,
            });
        };
        if stored[index].print != update.print {
            self.complain(Wrong::Altered {
                subject: name(),
                offset,
            });
        }
        let first = behind(stored, self.base);
        let place = self.places.get(&subject).copied();
        if index < place.unwrap_or(first) {
            if place.is_none() && offset > self.tolerated {
                self.counts.repeats += 1;
                return;
            }
            return self.complain(Wrong::Again {
                subject: name(),
                offset,
            });
        }
        let place = place.unwrap_or(first);
        self.skip(&stored[place..index], &name());
        self.places.insert(subject, index + 1);
        let done = self.done.entry(subject).or_default();
        if index < *done {
            self.counts.repeats += 1;
        }
        *done = (*done).max(index + 1);
    }

    /// These were passed over in this connection.
    fn skip(&mut self, stored: &[Stored], subject: &str) {
        for stored in stored {
            if self.is_named(stored.offset) {
                self.counts.named += 1;
            } else {
                self.complain(Wrong::Missing {
                    subject: subject.to_owned(),
                    offset: stored.offset,
                });
            }
        }
    }

    /// In this connection everything up to `upto` must have come by now.
    fn owe_here(&mut self, upto: u64, truth: &Truth) {
        self.refresh(truth);
        for id in self.matching.clone() {
            let stored = truth.stored(id);
            let place = self
                .places
                .get(&id)
                .copied()
                .unwrap_or_else(|| behind(stored, self.base));
            let end = behind(stored, upto);
            if place < end {
                self.skip(&stored[place..end], truth.name(id));
                self.places.insert(id, end);
                let done = self.done.entry(id).or_default();
                *done = (*done).max(end);
            }
        }
    }

    /// Over all connections everything up to `upto` must have come by now, else it is `wrong`.
    fn owe(&mut self, upto: u64, truth: &Truth, wrong: impl Fn(String, u64) -> Wrong) {
        self.refresh(truth);
        let start = self.start.unwrap_or(0);
        for id in self.matching.clone() {
            let stored = truth.stored(id);
            let done = self
                .done
                .get(&id)
                .copied()
                .unwrap_or_else(|| behind(stored, start));
            let end = behind(stored, upto);
            for stored in stored.get(done..end).unwrap_or_default() {
                if self.is_named(stored.offset) {
                    self.counts.named += 1;
                } else {
                    self.complain(wrong(truth.name(id).to_owned(), stored.offset));
                }
            }
            self.done.insert(id, done.max(end));
        }
    }

    fn is_named(&self, offset: u64) -> bool {
        self.lost.iter().any(|(from, to)| (*from..=*to).contains(&offset))
    }

    fn refresh(&mut self, truth: &Truth) {
        let channel = &self.channel;
        let new = (self.known..truth.len()).filter(|id| channel.matches(truth.name(*id)));
        self.matching.extend(new);
        self.known = truth.len();
    }
}

/// The index of the first that lies behind `offset`.
fn behind(stored: &[Stored], offset: u64) -> usize {
    stored.partition_point(|stored| stored.offset <= offset)
}

#[cfg(test)]
mod tests;
