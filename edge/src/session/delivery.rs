//! Writes to one client: directly while its socket takes all, else into its outbox. Nothing here waits.

use std::io::{ErrorKind, IoSlice};
use std::ops::Range;

use bytes::Bytes;
use tailwater_protocol::batch::Batch;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::encoding::Framing;
use tailwater_protocol::frame::{self, Opcode};
use tokio::time::Instant;

use super::{End, Session};
use crate::config::SlowConsumer;
use crate::metrics::meters::{Promise, Short};
use crate::outbox::{Outbox, OutboxLimits};
use crate::socket::Socket;

/// Bytes of durable channels that may wait for one client; beyond it, it reads on at its own pace.
pub(super) const STORED_BYTES: usize = 64 * 1024;

/// How many slices one vectored write takes from the outbox.
const SLICES: usize = 64;

/// The frame of which `written` bytes of the batch end in the middle, or before which they end.
fn begun(batch: &Batch, written: usize) -> usize {
    let begun = batch
        .entries()
        .partition_point(|entry| entry.start as usize <= written);
    begun.saturating_sub(1)
}

/// Notes frames that did not go out at once: they are counted when they do.
fn note_left(outbox: &Outbox, batch: &Batch, frames: Range<usize>, got_nothing: bool) {
    if let Some(memory) = outbox.memory() {
        memory.add_short(Short {
            sessions: u64::from(got_nothing),
            frames: frames.len() as u64,
            bytes: byte_len(batch, frames),
        });
    }
}

fn byte_len(batch: &Batch, frames: Range<usize>) -> u64 {
    let start_of = |frame: usize| match batch.entries().get(frame) {
        Some(entry) => u64::from(entry.start),
        None => batch.bytes().len() as u64,
    };
    start_of(frames.end) - start_of(frames.start)
}

impl Session {
    /// Writes a batch to the socket, as far as it takes it, and queues the rest.
    pub(crate) fn deliver(
        &self,
        batch: &Batch,
        channel: &Channel,
        policy: SlowConsumer,
        limits: OutboxLimits,
    ) {
        if self.is_ending() {
            return self.left(batch, 0..batch.len());
        }
        let mut outbox = self.outbox.borrow_mut();
        let written = if outbox.is_empty() {
            self.write(batch.bytes())
        } else {
            0
        };
        if written == batch.bytes().len() {
            return;
        }
        note_left(&outbox, batch, begun(batch, written)..batch.len(), written == 0);
        let pushed = outbox.push_batch(batch, written, channel, policy, limits);
        drop(outbox);
        match pushed {
            Ok(()) => self.waits(),
            Err(_) => self.end(End::Cut(
                CloseCode::SlowConsumer,
                CloseCode::SlowConsumer.reason(),
            )),
        }
    }

    /// Writes what the client lacks of a batch of a durable channel, if it has everything up to `has`.
    ///
    /// # Errors
    /// The new cursor, if not all of it was taken: too much waits already.
    pub(crate) fn deliver_stored(&self, batch: &Batch, has: u64, channel: &Channel) -> Result<(), u64> {
        let entries = batch.entries();
        let first = match entries.first() {
            Some(entry) if entry.offset > has => 0,
            _ => {
                let lacks = entries.partition_point(|entry| entry.offset <= has);
                note_left(&self.outbox.borrow(), batch, 0..lacks, lacks == entries.len());
                lacks
            }
        };
        if first == entries.len() {
            return Ok(());
        }
        if self.reads_stream_alone(channel) {
            return Err(has);
        }
        let taken = self.pass(batch, first..entries.len(), channel);
        if first + taken == entries.len() {
            return Ok(());
        }
        Err(if taken == 0 {
            has
        } else {
            entries[first + taken - 1].offset
        })
    }

    /// Writes frames of a durable channel or lets them wait, as many as there is room for, and says how many. Not part of
    /// a walk, and so counted here.
    pub(super) fn offer(&self, batch: &Batch, frames: Range<usize>, channel: &Channel) -> usize {
        let memory = self.outbox.borrow().memory().cloned();
        let Some(memory) = memory else {
            return self.pass(batch, frames, channel);
        };
        // A walk may be between two of its turns.
        let of_a_walk = memory.take_short();
        let taken = self.pass(batch, frames.clone(), channel);
        let short = memory.take_short();
        memory.add_short(of_a_walk);
        if !frames.is_empty() {
            let offered = (frames.len() as u64, byte_len(batch, frames));
            memory.meters().handed(Promise::Durable, 1, offered, short);
        }
        taken
    }

    /// What the walk offered and the session did not get.
    pub(crate) fn left(&self, batch: &Batch, frames: Range<usize>) {
        note_left(&self.outbox.borrow(), batch, frames, true);
    }

    fn pass(&self, batch: &Batch, frames: Range<usize>, channel: &Channel) -> usize {
        if frames.is_empty() {
            return 0;
        }
        if self.is_ending() {
            self.left(batch, frames.clone());
            // The answer to a poll is yet to say where its client goes on: behind nothing that it did not get.
            return if self.is_one_answer() { 0 } else { frames.len() };
        }
        if self.encoding.framing == Framing::Events {
            self.place_due.set(true);
            self.wake();
        }
        let entries = batch.entries();
        let base = entries[frames.start].start as usize;
        let end_of = |frame: usize| match entries.get(frame + 1) {
            Some(next) => next.start as usize - base,
            None => batch.bytes().len() - base,
        };
        let bytes = &batch.bytes()[base..base + end_of(frames.end - 1)];
        let mut outbox = self.outbox.borrow_mut();
        let written = if outbox.is_empty() { self.write(bytes) } else { 0 };
        if written == bytes.len() {
            return frames.len();
        }
        // The first that is not written whole, and the last for which there is room.
        let begun = begun(batch, base + written);
        note_left(&outbox, batch, begun..frames.end, written == 0);
        if self.is_ending() {
            return frames.len();
        }
        let begun_at = entries[begun].start as usize - base;
        let room = outbox.allowance(STORED_BYTES).saturating_sub(outbox.kept_bytes());
        let mut kept = begun;
        while kept < frames.end && end_of(kept) - begun_at <= room {
            kept += 1;
        }
        if kept == begun && (written > begun_at || outbox.kept_bytes() == 0) {
            // Begun, or too large to ever fit: it goes alone.
            kept += 1;
        }
        if kept > begun {
            outbox.push_kept(batch, begun..kept, written - begun_at, channel);
            drop(outbox);
            self.waits();
        }
        kept - frames.start
    }

    /// Writes all of a batch, or lets it wait whatever its size; its maker has bounded it.
    pub(super) fn push_batch(&self, batch: &Batch, channel: &Channel) {
        let taken = self.offer(batch, 0..batch.len(), channel);
        if taken < batch.len() {
            self.outbox
                .borrow_mut()
                .push_kept(batch, taken..batch.len(), 0, channel);
            self.waits();
        }
    }

    /// Whether all that it is told waits for the answer to one request.
    pub(super) fn is_one_answer(&self) -> bool {
        matches!(self.socket, Socket::None)
    }

    /// Something waits for the client.
    pub(super) fn waits(&self) {
        // Without a socket nobody could take anything yet.
        if self.stalled_since.get().is_none() && !self.is_one_answer() {
            self.stalled_since.set(Some(Instant::now()));
        }
        self.wake();
    }

    /// Writes a message of the session's own, behind what already waits.
    pub(crate) fn push_message(&self, frame: Bytes) {
        if self.is_ending() && !self.is_one_answer() {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        let written = if outbox.is_empty() { self.write(&frame) } else { 0 };
        if written < frame.len() {
            outbox.push_message(frame);
            outbox.advance(written);
            drop(outbox);
            self.waits();
        }
    }

    /// One attempt to write, and how much the socket took.
    fn write(&self, bytes: &[u8]) -> usize {
        if self.corked.get() {
            return 0;
        }
        match self.socket.try_write(bytes) {
            Ok(written) => {
                if self.socket.has_unsent() {
                    self.waits();
                }
                written
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.end(End::Broken);
                0
            }
        }
    }

    /// Writes all that `messages` makes in one go: an answer and what follows it cost one system call.
    pub(super) fn together(&self, messages: impl FnOnce()) {
        self.corked.set(true);
        messages();
        self.corked.set(false);
        self.flush();
    }

    /// Whether anything is to be written as soon as the socket takes it.
    pub(super) fn has_backlog(&self) -> bool {
        !self.outbox.borrow().is_empty() || self.socket.has_unsent()
    }

    /// Writes what the socket has not sent, then from the outbox, until nothing is left or the socket takes no more.
    pub(super) fn flush(&self) {
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.is_empty() || self.socket.has_unsent() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = outbox.fill(self.encoding, &mut slices);
            match self.socket.try_write_vectored(&slices[..used]) {
                Ok(written) => {
                    outbox.advance(written);
                    let waits = !outbox.is_empty() || self.socket.has_unsent();
                    self.stalled_since.set(waits.then(Instant::now));
                    // A socket that was full takes more only because its client reads: that one lives,
                    // though a ping behind its backlog may reach it too late for an answer in time.
                    self.awaiting_pong.set(false);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(End::Broken),
            }
        }
    }

    pub(super) fn push_pong(&self, body: &[u8]) {
        let frame = frame::frame(Opcode::Pong, body);
        if self.outbox.borrow().is_empty() {
            self.push_message(frame);
        } else {
            self.outbox.borrow_mut().push_pong(frame);
        }
    }
}
