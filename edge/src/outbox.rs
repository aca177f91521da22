//! What the socket of one session did not take: references into shared batches, bounded in bytes and
//! in frames, with a policy for when the bound is reached. No I/O here.
//!
//! A client that keeps up never gets here: the hub writes to its socket directly. The queue drops and
//! replaces whole frames only, never one of which a part has been written.

mod segment;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_protocol::batch::Batch;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::push::LostReason;

use crate::config::SlowConsumer;
use crate::limits::memory::{Counted, Memory};
use crate::metrics::meters::Promise;
use segment::{Frames, Segment};

/// The bound of a queue, which is less where the memory for all queues is short. The newest frame is kept even if it is
/// larger alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboxLimits {
    /// Bytes of frames.
    pub(crate) bytes: usize,
    /// Frames.
    pub(crate) frames: usize,
}

/// The queue is full, and the channel's policy is to close the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Updates that have gone out: how many, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    live: (u64, u64),
    durable: (u64, u64),
}

impl Gone {
    #[inline]
    fn add(&mut self, promise: Option<Promise>, frames: usize, bytes: usize) {
        let (all, all_bytes) = match promise {
            Some(Promise::Live) => &mut self.live,
            Some(Promise::Durable) => &mut self.durable,
            None => return,
        };
        *all += frames as u64;
        *all_bytes += bytes as u64;
    }
}

/// The queue of one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that have been written; always within its first frame.
    written: usize,
    bytes: Counted,
    frames: usize,
    /// Of the bytes and frames, those of durable channels: they do not count for live ones, nor the other way round.
    kept: (usize, usize),
}

impl Outbox {
    /// An empty queue, what waits in which is counted there.
    pub(crate) fn new(bytes: Counted) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.bytes()
    }

    /// `limit`, or less if there is not as much memory left for all queues.
    pub(crate) fn allowance(&self, limit: usize) -> usize {
        self.bytes.allowance(limit)
    }

    /// Bytes of durable channels that wait.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept.0
    }

    /// Queues one message of the session's own (a reply, an error): never dropped. Whoever makes
    /// messages at a client's request stops reading that client's requests while the queue is full.
    pub(crate) fn push_message(&mut self, frame: Bytes) {
        self.push(Segment::Message(frame));
    }

    /// Queues a pong in place of one that still waits (RFC 6455 section 5.5.3 allows that), so that a
    /// flood of pings costs one frame.
    pub(crate) fn push_pong(&mut self, frame: Bytes) {
        let started = usize::from(self.written > 0);
        let waiting = self
            .segments
            .iter()
            .skip(started)
            .position(|segment| matches!(segment, Segment::Pong(_)));
        if let Some(index) = waiting {
            self.remove(started + index);
        }
        self.push(Segment::Pong(frame));
    }

    /// Queues what the socket did not take of a batch: all but the first `written` bytes.
    ///
    /// # Errors
    /// [`Overflow`] if the bound is reached and `policy` is to disconnect; nothing is dropped then.
    pub(crate) fn push_batch(
        &mut self,
        batch: &Batch,
        written: usize,
        channel: &Channel,
        policy: SlowConsumer,
        limits: OutboxLimits,
    ) -> Result<(), Overflow> {
        let frames = Frames::after(batch, written, channel, policy);
        if self.segments.is_empty() {
            self.written = frames.written(written);
        }
        match policy {
            SlowConsumer::Latest => {
                for frame in frames.each() {
                    self.supersede(&frame);
                    self.push(Segment::Frames(frame));
                }
            }
            SlowConsumer::DropOldest | SlowConsumer::Disconnect => self.push(Segment::Frames(frames)),
        }
        self.make_room(limits)
    }

    /// Queues frames of a durable channel, of the first of which `written` bytes have been written; never dropped.
    /// Whoever asks has looked at [`Outbox::kept_bytes`].
    pub(crate) fn push_kept(
        &mut self,
        batch: &Batch,
        range: Range<usize>,
        written: usize,
        channel: &Channel,
    ) {
        if self.segments.is_empty() {
            self.written = written;
        }
        self.push(Segment::Frames(Frames::kept(batch, range, channel)));
    }

    /// Forgets all that waits but a frame of which a part has been written.
    pub(crate) fn clear(&mut self) {
        let started = if self.written > 0 {
            self.segments.pop_front()
        } else {
            None
        };
        let written = std::mem::take(&mut self.written);
        self.segments = VecDeque::new();
        self.bytes.take(self.bytes.bytes());
        (self.frames, self.kept) = (0, (0, 0));
        if let Some(segment) = started {
            self.written = written;
            self.push(segment.first_frame());
        }
    }

    /// Lays out what is to be written next into `slices` and says how many of them it used.
    pub(crate) fn fill<'a>(&'a mut self, encoding: Encoding, slices: &mut [IoSlice<'a>]) -> usize {
        for segment in self.segments.iter_mut().take(slices.len()) {
            let before = segment.len();
            segment.encode(encoding);
            self.bytes.add(segment.len() - before);
        }
        let mut skip = self.written;
        let mut used = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(&segment.bytes()[skip..]);
            skip = 0;
            used += 1;
        }
        used
    }

    /// Takes all that waits, as bytes.
    pub(crate) fn take_all(&mut self, encoding: Encoding) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.bytes());
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[])];
            self.fill(encoding, &mut slices);
            all.extend_from_slice(&slices[0]);
            let count = slices[0].len();
            self.advance(count);
        }
        all
    }

    /// Whether there are updates, or what became of some, or messages of which `is_news` says so.
    pub(crate) fn has_news(&self, is_news: impl Fn(&[u8]) -> bool) -> bool {
        self.segments.iter().any(|segment| match segment {
            Segment::Message(message) => is_news(message),
            Segment::Frames(_) | Segment::Lost { .. } => true,
            Segment::Pong(_) => false,
        })
    }

    /// Forgets the next `count` bytes: the socket has taken them.
    pub(crate) fn advance(&mut self, count: usize) {
        self.written += count;
        let mut gone = Gone::default();
        while let Some(first) = self.segments.front_mut() {
            let length = first.len();
            if self.written < length || length == 0 {
                let (bytes, frames) = first.skip_written(&mut self.written);
                gone.add(first.promise(), frames, bytes);
                self.bytes.take(bytes);
                self.frames -= frames;
                if first.is_kept() {
                    self.kept.0 -= bytes;
                    self.kept.1 -= frames;
                }
                return self.count(gone);
            }
            self.written -= length;
            gone.add(first.promise(), first.frames(), length);
            self.remove(0);
        }
        self.count(gone);
        debug_assert_eq!(
            (self.written, self.bytes(), self.frames, self.kept),
            (0, 0, 0, (0, 0))
        );
        // The memory of a queue that once was long is given back.
        self.segments = VecDeque::new();
    }

    /// Counts updates that have gone out.
    fn count(&self, gone: Gone) {
        let Some(memory) = self.bytes.memory() else { return };
        // One write, whatever is in it.
        let mut writes = 1;
        for (promise, (frames, bytes)) in [(Promise::Live, gone.live), (Promise::Durable, gone.durable)] {
            if frames > 0 {
                memory.meters().add_handed(promise, frames, bytes, writes);
                writes = 0;
            }
        }
    }

    /// The memory of all queues of this worker; nothing where it is not counted.
    pub(crate) fn memory(&self) -> Option<&Rc<Memory>> {
        self.bytes.memory()
    }

    fn push(&mut self, segment: Segment) {
        self.bytes.add(segment.len());
        self.frames += segment.frames();
        if segment.is_kept() {
            self.kept.0 += segment.len();
            self.kept.1 += segment.frames();
        }
        self.segments.push_back(segment);
    }

    fn remove(&mut self, index: usize) {
        if let Some(segment) = self.segments.remove(index) {
            self.bytes.take(segment.len());
            self.frames -= segment.frames();
            if segment.is_kept() {
                self.kept.0 -= segment.len();
                self.kept.1 -= segment.frames();
            }
        }
    }

    /// Drops what waits for the same subject: `frame` is newer.
    fn supersede(&mut self, frame: &Frames) {
        let started = usize::from(self.written > 0);
        let older =
            |segment: &Segment| matches!(segment, Segment::Frames(waiting) if frame.supersedes(waiting));
        if let Some(index) = self.segments.iter().skip(started).position(older) {
            self.remove(started + index);
        }
    }

    /// Drops what may be dropped until the queue is within its bound.
    ///
    /// # Errors
    /// [`Overflow`] if there is something of a channel whose policy is to disconnect.
    pub(crate) fn make_room(&mut self, limits: OutboxLimits) -> Result<(), Overflow> {
        let mut index = 0;
        while self.bytes() - self.kept.0 > self.allowance(limits.bytes)
            || self.frames - self.kept.1 > limits.frames
        {
            index = self.next_droppable(index)?.unwrap_or(self.segments.len());
            if index >= self.segments.len() {
                // Only the newest frame, a started one and the session's own messages are left.
                return Ok(());
            }
            self.drop_frame(index);
        }
        Ok(())
    }

    /// The first segment from `index` on that holds a frame which may be dropped.
    fn next_droppable(&self, index: usize) -> Result<Option<usize>, Overflow> {
        let last = self.segments.len() - 1;
        for (index, segment) in self.segments.iter().enumerate().skip(index) {
            let Segment::Frames(frames) = segment else {
                continue;
            };
            let Some(policy) = frames.policy() else { continue };
            if policy == SlowConsumer::Disconnect {
                // The newest alone, however large, is no backlog.
                if index == last && segment.frames() == 1 {
                    continue;
                }
                return Err(Overflow);
            }
            let kept = usize::from(index == 0 && self.written > 0) + usize::from(index == last);
            if segment.frames() > kept {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Drops the oldest frame of the segment that may be dropped, and notes it.
    fn drop_frame(&mut self, index: usize) {
        let mut index = index;
        if index == 0 && self.written > 0 {
            // The frame that has been started stays, alone.
            let rest = self.segments[0].split_first();
            self.segments.insert(1, rest);
            index = 1;
        }
        let Segment::Frames(frames) = &mut self.segments[index] else {
            return;
        };
        let channel = frames.channel().clone();
        self.bytes.take(frames.drop_first());
        self.frames -= 1;
        if frames.len() == 0 {
            self.remove(index);
        }
        self.note_lost(index, &channel, 1);
    }

    /// Adds to the notice for `channel` that stands before `index`, or puts one there.
    fn note_lost(&mut self, index: usize, channel: &Channel, more: u64) {
        let fixed = usize::from(self.written > 0).min(index);
        for segment in self.segments.range_mut(fixed..index).rev() {
            match segment {
                Segment::Lost {
                    channel: noted,
                    count,
                } if noted == channel => {
                    *count += more;
                    return;
                }
                Segment::Lost { .. } => {}
                _ => break,
            }
        }
        self.frames += 1;
        if let Some(memory) = self.bytes.memory() {
            memory.meters().announced(&LostReason::SlowConsumer, 1);
        }
        self.segments.insert(
            index,
            Segment::Lost {
                channel: channel.clone(),
                count: more,
            },
        );
    }
}

#[cfg(test)]
mod tests;
