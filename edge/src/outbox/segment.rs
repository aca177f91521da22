//! One entry of an outbox.

use std::ops::Range;

use bytes::Bytes;
use tailwater_protocol::batch::Batch;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::push::{Lost, LostReason, Push};

use crate::config::SlowConsumer;
use crate::metrics::meters::Promise;

/// One entry of an outbox.
#[derive(Debug)]
pub(super) enum Segment {
    /// Frames of one channel.
    Frames(Frames),
    /// A message of the session's own.
    Message(Bytes),
    /// A pong.
    Pong(Bytes),
    /// Publications were dropped here; becomes a message when its turn to be written comes.
    Lost { channel: Channel, count: u64 },
}

impl Segment {
    /// Bytes to write; a notice has none before it is encoded.
    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(super) fn frames(&self) -> usize {
        match self {
            Segment::Frames(frames) => frames.len(),
            _ => 1,
        }
    }

    /// Whether it is of a durable channel, and so never dropped.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Segment::Frames(frames) if frames.policy.is_none())
    }

    /// What its updates were promised, if they are updates.
    #[inline]
    pub(super) fn promise(&self) -> Option<Promise> {
        match self {
            Segment::Frames(frames) if frames.policy.is_none() => Some(Promise::Durable),
            Segment::Frames(_) => Some(Promise::Live),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Segment::Frames(frames) => &frames.bytes,
            Segment::Message(frame) | Segment::Pong(frame) => frame,
            Segment::Lost { .. } => &[],
        }
    }

    /// Turns a notice into the message that the client reads.
    pub(super) fn encode(&mut self, encoding: Encoding) {
        if let Segment::Lost { channel, count } = self {
            let push = Push::Lost(Lost {
                channel: channel.clone(),
                from: None,
                to: None,
                count: Some(*count),
                reason: LostReason::SlowConsumer,
            });
            *self = Segment::Message(encoding.encode(&push.into()));
        }
    }

    /// Forgets the frames before the one in which `written` lies, and makes `written` relative to it.
    /// Says how many bytes and frames went.
    pub(super) fn skip_written(&mut self, written: &mut usize) -> (usize, usize) {
        let Segment::Frames(frames) = self else {
            return (0, 0);
        };
        let (mut bytes, mut count) = (0, 0);
        while frames.len() > 0 && frames.first_len() <= *written {
            let length = frames.drop_first();
            *written -= length;
            bytes += length;
            count += 1;
        }
        (bytes, count)
    }

    /// Keeps the first frame and gives the others.
    pub(super) fn split_first(&mut self) -> Segment {
        let Segment::Frames(frames) = self else {
            return Segment::Message(Bytes::new());
        };
        let rest = frames.part(frames.range.start + 1..frames.range.end);
        *frames = frames.part(frames.range.start..frames.range.start + 1);
        Segment::Frames(rest)
    }

    /// The first frame alone.
    pub(super) fn first_frame(mut self) -> Segment {
        if matches!(self, Segment::Frames(_)) {
            self.split_first();
        }
        self
    }
}

/// Consecutive frames of one batch.
#[derive(Debug)]
pub(super) struct Frames {
    batch: Batch,
    range: Range<usize>,
    bytes: Bytes,
    channel: Channel,
    /// What may happen to them for lack of room; nothing: they stay.
    policy: Option<SlowConsumer>,
}

impl Frames {
    /// Frames of a durable channel: they are never dropped. What is but a small part of its batch is copied, so that a
    /// slow client does not keep all of the batch.
    pub(super) fn kept(batch: &Batch, range: Range<usize>, channel: &Channel) -> Self {
        let bytes = batch.slice(range.clone());
        if bytes.len() * 2 >= batch.bytes().len() {
            return Self {
                batch: batch.clone(),
                range,
                bytes,
                channel: channel.clone(),
                policy: None,
            };
        }
        let batch = batch.part(range);
        Self {
            range: 0..batch.len(),
            bytes: batch.bytes().clone(),
            batch,
            channel: channel.clone(),
            policy: None,
        }
    }

    /// The frames of `batch` of which the first `written` bytes have not all been written.
    pub(super) fn after(batch: &Batch, written: usize, channel: &Channel, policy: SlowConsumer) -> Self {
        let entries = batch.entries();
        let begun = entries.partition_point(|entry| entry.start as usize <= written);
        let range = begun.saturating_sub(1)..entries.len();
        let bytes = batch.slice(range.clone());
        Self {
            batch: batch.clone(),
            range,
            bytes,
            channel: channel.clone(),
            policy: Some(policy),
        }
    }

    /// How much of the first frame `written` bytes of the batch are.
    pub(super) fn written(&self, written: usize) -> usize {
        written - self.batch.entries()[self.range.start].start as usize
    }

    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn policy(&self) -> Option<SlowConsumer> {
        self.policy
    }

    /// Each frame by itself.
    pub(super) fn each(&self) -> impl Iterator<Item = Frames> + '_ {
        self.range.clone().map(|index| self.part(index..index + 1))
    }

    /// Whether this single frame replaces `older`: the same channel and subject, conflated.
    pub(super) fn supersedes(&self, older: &Frames) -> bool {
        older.policy == Some(SlowConsumer::Latest)
            && older.len() == 1
            && older.channel == self.channel
            && older.subject() == self.subject()
    }

    fn subject(&self) -> u64 {
        self.batch.entries()[self.range.start].subject
    }

    fn part(&self, range: Range<usize>) -> Frames {
        let bytes = self.batch.slice(range.clone());
        Frames {
            batch: self.batch.clone(),
            range,
            bytes,
            channel: self.channel.clone(),
            policy: self.policy,
        }
    }

    fn first_len(&self) -> usize {
        let entries = self.batch.entries();
        let start = entries[self.range.start].start as usize;
        let end = match entries.get(self.range.start + 1) {
            Some(next) => next.start as usize,
            None => self.batch.bytes().len(),
        };
        end - start
    }

    /// Forgets the first frame and says how many bytes it had.
    pub(super) fn drop_first(&mut self) -> usize {
        let length = self.first_len();
        self.range.start += 1;
        self.bytes = self.bytes.slice(length..);
        length
    }
}
