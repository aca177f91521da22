//! Messages compressed by `permessage-deflate` (RFC 7692 section 7.2), each by itself: nothing is taken over from one
//! message to the next, so that one compressed message serves every client that has agreed to the extension.
//!
//! Each thread that compresses keeps one compressor (about 280 KB) and each that reads one inflater (about 50 KB), made
//! when the first message needs it. Level 1: most messages are compressed on the one thread that feeds all channels, and
//! higher levels take three times as long for a fifth fewer bytes (figures in ARCHITECTURE.md).

use std::cell::RefCell;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

/// Shorter messages are not compressed, in bytes: at 512 about half of a typical JSON message is saved, at 256 a
/// quarter, at 128 a twentieth.
pub const MIN_BYTES: usize = 512;

/// Fastest.
const LEVEL: i32 = 1;

/// 32 KiB: what a client must be able to read that has not asked for less (RFC 7692 section 7.1.2.1).
const WINDOW_BITS: u8 = 15;

/// What a sync flush ends with; left out of a message (RFC 7692 section 7.2.1).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// [`FLUSHED`] and a last, empty block: it is the end only if the message stopped between two blocks.
const END: [u8; 6] = [0, 0, 0xff, 0xff, 0x03, 0x00];

thread_local! {
    static DEFLATE: RefCell<Deflate> = RefCell::new(Deflate::new(LEVEL, false, WINDOW_BITS));
    static INFLATE: RefCell<Inflate> = RefCell::new(Inflate::new(false, WINDOW_BITS));
}

/// Why a compressed message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It has more bytes than the reader takes.
    #[error("the message is too large once inflated")]
    TooLarge,
    /// It is no DEFLATE data (RFC 1951), or only a part of it.
    #[error("the message is not valid DEFLATE data")]
    Malformed,
}

/// Compresses a message; nothing if it is shorter than [`MIN_BYTES`] or would not become smaller.
pub fn deflate(message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < MIN_BYTES {
        return None;
    }
    let mut out = vec![0; longest(message.len())];
    let written = DEFLATE.with_borrow_mut(|state| {
        state.reset();
        let flushed = state.compress(message, &mut out, DeflateFlush::SyncFlush);
        flushed.is_ok().then(|| to_usize(state.total_out()))
    })?;
    let length = written.checked_sub(FLUSHED.len())?;
    if length >= message.len() || out[length..written] != FLUSHED {
        return None;
    }
    out.truncate(length);
    Some(out)
}

/// The most that may come of a message of this length: 9 bits a byte (RFC 1951 section 3.2.6), and what a flush adds.
///
/// There is always room for all of it, so that nothing waits in the compressor when it is reset: zlib-rs 0.6 forgets then
/// where in its buffer that began, and panics in one of the next messages.
fn longest(message: usize) -> usize {
    message + message / 8 + 32
}

/// Reads a compressed message, all frames of it together, of which at most `limit` bytes may come. Memory and time are
/// bounded by the lengths of both.
///
/// # Errors
/// [`InflateError`]; nothing of the message is to be used.
pub fn inflate(payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    INFLATE.with_borrow_mut(|state| {
        state.reset(false);
        let mut message = Message {
            out: Vec::new(),
            length: 0,
            limit,
        };
        message.add(state, payload)?;
        let length = message.length;
        let status = message.add(state, &END)?;
        // Else it stopped inside a block.
        if status == Status::StreamEnd && message.length == length {
            Ok(message.finish())
        } else {
            Err(InflateError::Malformed)
        }
    })
}

/// A message that is being inflated.
struct Message {
    /// The first `length` bytes are the message so far.
    out: Vec<u8>,
    length: usize,
    limit: usize,
}

impl Message {
    /// Inflates all of `input`, until nothing more comes of it, and says how the last step ended.
    fn add(&mut self, state: &mut Inflate, input: &[u8]) -> Result<Status, InflateError> {
        let mut rest = input;
        loop {
            if self.length == self.out.len() {
                self.grow(input.len())?;
            }
            let before = (state.total_in(), state.total_out());
            let status = state
                .decompress(rest, &mut self.out[self.length..], InflateFlush::NoFlush)
                .map_err(|_| InflateError::Malformed)?;
            let read = to_usize(state.total_in() - before.0);
            let written = to_usize(state.total_out() - before.1);
            rest = &rest[read..];
            self.length += written;
            if status == Status::StreamEnd {
                // A block may say that it is the last, and be followed by others (RFC 7692 section 7.2.3.4).
                state.reset(false);
            } else if !rest.is_empty() && (read, written) == (0, 0) {
                return Err(InflateError::Malformed);
            }
            // Where the room was just enough, more may be on its way.
            if rest.is_empty() && self.length < self.out.len() {
                return Ok(status);
            }
        }
    }

    /// Makes room, for one byte more than the limit at last: if that one is needed, there is too much.
    fn grow(&mut self, compressed: usize) -> Result<(), InflateError> {
        if self.out.len() > self.limit {
            return Err(InflateError::TooLarge);
        }
        let wanted = (self.out.len() * 2).max(compressed * 4).max(64);
        self.out.resize(wanted.min(self.limit + 1), 0);
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.truncate(self.length);
        self.out
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7692 section 7.2.3, without the headers of their frames.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let examples: [(&str, &[u8], &[u8]); 5] = [
            ("one block", b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
            (
                "no compression",
                b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
                b"Hello",
            ),
            ("a last block", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
            (
                "two blocks",
                b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
                b"Hello",
            ),
            ("an empty message", b"\x00", b""),
        ];
        for (name, payload, message) in examples {
            assert_eq!(inflate(payload, 5).as_deref(), Ok(message), "{name}");
        }
        // The second message of section 7.2.3.2 refers to the one before it, which we do not let clients do.
        assert_eq!(inflate(b"\xf2\x00\x11\x00\x00", 5), Err(InflateError::Malformed));
    }

    #[test]
    fn what_is_cut_or_no_deflate_data_is_malformed() {
        let message = br#"{"state":"live"}"#.repeat(50);
        let payload = deflate(&message).expect("it is smaller");
        for end in 1..payload.len() - 1 {
            assert_eq!(
                inflate(&payload[..end], 1 << 16),
                Err(InflateError::Malformed),
                "cut at {end}"
            );
        }
        for garbage in [&b"\x07"[..], b"\xff\xff\xff", b"", b"{\"type\":\"ping\"}"] {
            assert_eq!(inflate(garbage, 1 << 16), Err(InflateError::Malformed));
        }
    }

    #[test]
    fn the_limit_is_exact_and_a_bomb_costs_no_more_than_it() {
        let message = vec![b'a'; 100_000];
        let payload = deflate(&message).expect("it is smaller");
        assert!(payload.len() < 1000);
        assert_eq!(inflate(&payload, 100_000), Ok(message));
        assert_eq!(inflate(&payload, 99_999), Err(InflateError::TooLarge));
        assert_eq!(inflate(&payload, 1), Err(InflateError::TooLarge));
        assert_eq!(inflate(&payload, 0), Err(InflateError::TooLarge));
        // What ends as late as the room does.
        for length in 500..800 {
            let message = vec![b'a'; length];
            let Some(payload) = deflate(&message) else {
                continue;
            };
            assert_eq!(inflate(&payload, length - 1), Err(InflateError::TooLarge));
            assert_eq!(inflate(&payload, length), Ok(message));
        }
    }

    #[test]
    fn what_goes_on_in_the_bytes_that_are_put_behind_it_is_malformed() {
        // Its last block takes what is to be put behind a message for codes, and happens to end there.
        assert_eq!(
            inflate(b"\xf3\xbd\xff\x60", 1 << 16),
            Err(InflateError::Malformed)
        );
    }

    /// Every byte as often as any other, and no run twice: nothing to find.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(length)
        .collect()
    }

    #[test]
    fn large_messages_that_do_not_become_smaller_leave_nothing_behind() {
        for length in [50_000, 60_000, 100_000, 150_000] {
            assert_eq!(deflate(&noise(length)), None, "{length}");
            let text = noise(length).escape_ascii().to_string();
            let payload = deflate(text.as_bytes()).expect("it is smaller");
            assert_eq!(inflate(&payload, text.len()), Ok(text.into_bytes()), "{length}");
        }
    }

    #[test]
    fn what_does_not_become_smaller_stays_as_it_is() {
        assert_eq!(deflate(&noise(4096)), None);
        assert_eq!(deflate(&[b'a'; MIN_BYTES - 1]), None);
        assert!(deflate(&[b'a'; MIN_BYTES]).is_some());
    }
}
