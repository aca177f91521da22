//! The two buffers of a connection: what was read and not yet parsed, what is to be written.
//!
//! Reading takes all that the socket has, up to [`READ_TARGET`], so that one turn of the connection
//! handles many messages with one system call. The buffer is lent out as [`Bytes`] while its messages
//! are handed over, and comes back for the next turn unless somebody has kept a part of it.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::stream::Stream;

/// Bytes that one turn reads; a larger message makes the buffer grow until it fits. With 64 KiB a message
/// costs 5 % (100 subjects) to 35 % (10,000) more and batches are half as long.
pub(super) const READ_TARGET: usize = 256 * 1024;

/// Bytes that may wait to be written before no more commands are taken.
const WRITE_LIMIT: usize = 1024 * 1024;

/// A buffer that has grown is given back after this many turns that did not need it.
const PATIENCE: u32 = 256;

pub(super) struct Pipe {
    stream: Stream,
    unread: BytesMut,
    /// Bytes that must be there before anything can be parsed.
    wanted: usize,
    ended: bool,
    /// Turns since the last one that needed a larger buffer.
    modest_turns: u32,
    out: Vec<u8>,
    /// Bytes of `out` that are written.
    written: usize,
    unflushed: bool,
    /// Something was read since this was last cleared.
    pub(super) heard: bool,
    /// Something was written, or nothing was to be, since this was last cleared.
    pub(super) moved: bool,
}

impl Pipe {
    pub(super) fn new(stream: Stream, unread: BytesMut) -> Self {
        Self {
            stream,
            unread,
            wanted: 0,
            ended: false,
            modest_turns: 0,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            heard: false,
            moved: true,
        }
    }

    /// What is to be written; the next turn sends it.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether more may be added to what is to be written.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() - self.written < WRITE_LIMIT
    }

    /// Whether something waits to be written.
    pub(super) fn is_behind(&self) -> bool {
        self.written < self.out.len()
    }

    /// Writes what is to be written, as far as the socket takes it. Ready when all is sent.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_behind() {
            let written = match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    // What is written must not pile up in front of what is not.
                    if self.written >= WRITE_LIMIT / 2 {
                        self.out.drain(..self.written);
                        self.written = 0;
                    }
                    return Poll::Pending;
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.moved = true;
            self.unflushed = true;
        }
        self.out.clear();
        self.written = 0;
        if self.out.capacity() > 2 * WRITE_LIMIT {
            self.out = Vec::new();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what the socket has. Ready with true when there may be something to parse, with false at
    /// the end of the stream.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let target = self.wanted.max(READ_TARGET);
        let mut some = false;
        while !self.ended && self.unread.len() < target {
            // An announced size is believed only as far as bytes have come: doubling is fast enough.
            let missing = target - self.unread.len();
            self.unread
                .reserve(missing.min(self.unread.len().max(READ_TARGET)));
            match pin!(self.stream.read_buf(&mut self.unread)).poll(cx)? {
                Poll::Ready(0) => self.ended = true,
                Poll::Ready(_) => some = true,
                Poll::Pending => break,
            }
        }
        self.heard |= some;
        if some && self.unread.len() >= self.wanted {
            Poll::Ready(Ok(true))
        } else if self.ended {
            Poll::Ready(Ok(false))
        } else {
            Poll::Pending
        }
    }

    /// Lends out what was read.
    pub(super) fn lend(&mut self) -> Bytes {
        std::mem::take(&mut self.unread).freeze()
    }

    /// Takes back what was lent: all before `parsed` is done with, and the rest needs to grow to
    /// `wanted` bytes before it can be parsed.
    pub(super) fn take_back(&mut self, lent: Bytes, parsed: usize, wanted: usize) {
        self.wanted = wanted;
        self.modest_turns = if wanted > READ_TARGET {
            0
        } else {
            self.modest_turns + 1
        };
        match lent.try_into_mut() {
            Ok(mut whole) if whole.capacity() <= 2 * READ_TARGET || self.modest_turns < PATIENCE => {
                whole.advance(parsed);
                self.unread = whole;
            }
            Ok(whole) => self.unread = copy(&whole[parsed..]),
            Err(kept) => self.unread = copy(&kept[parsed..]),
        }
    }

    /// Ends the stream politely.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn copy(rest: &[u8]) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(READ_TARGET + rest.len());
    buffer.extend_from_slice(rest);
    buffer
}
