//! Batches: updates encoded once, each a whole WebSocket frame or event, all in one piece of shared memory with an index.
//! A session sends any run of whole frames as a slice; who sends what is left to the edge.
//!
//! One publication costs its encoding (one copy into the batch), and its compression where that is wanted; a batch costs
//! three allocations and a slice none.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::deflate::deflate;
use crate::encoding::{Encoding, Framing};
use crate::event_stream;
use crate::frame;
use crate::position::{Epoch, Offset};
use crate::push::UpdateRef;

/// The index entry of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where the frame starts, in bytes from the start of the batch.
    pub start: u32,
    /// The offset of the publication; 0 if it has none.
    pub offset: u64,
    /// Tells its subject from others: the [`subject_hash`] of its concrete channel unless [`BatchBuilder::push_as`] named
    /// another, 0 in a batch of an exact channel, where all have the same.
    pub subject: u64,
}

/// Updates of one channel in one [`Encoding`]. A clone is a reference count.
#[derive(Debug, Clone, Default)]
pub struct Batch(Arc<Frames>);

#[derive(Debug, Default)]
struct Frames {
    bytes: Bytes,
    entries: Vec<Entry>,
}

impl Batch {
    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// True if there is no frame.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// All frames, ready for the socket.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// The index, one entry a frame, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.0.entries
    }

    /// The bytes of the frames in this range, without a copy. The slice keeps the whole batch in memory.
    ///
    /// # Panics
    ///
    /// If the range reaches beyond [`Self::len`], as slices do.
    pub fn slice(&self, frames: Range<usize>) -> Bytes {
        let (start, end) = (self.start(frames.start), self.start(frames.end));
        self.0.bytes.slice(start..end)
    }

    /// A copy of the frames in this range, which does not keep the whole batch in memory.
    ///
    /// # Panics
    ///
    /// If the range reaches beyond [`Self::len`], as slices do.
    pub fn part(&self, frames: Range<usize>) -> Self {
        let base = self.start(frames.start);
        let bytes = Bytes::copy_from_slice(&self.slice(frames.clone()));
        let moved = |entry: &Entry| Entry {
            start: entry.start - position(base),
            ..*entry
        };
        let entries = self.0.entries[frames].iter().map(moved).collect();
        Self(Arc::new(Frames { bytes, entries }))
    }

    /// The batches one behind the other. A single one is shared, not copied.
    ///
    /// # Panics
    ///
    /// If the whole would reach 4 GiB.
    pub fn concat(batches: &[Self]) -> Self {
        if let [only] = batches {
            return only.clone();
        }
        let mut bytes = Vec::with_capacity(batches.iter().map(|batch| batch.bytes().len()).sum());
        let mut entries = Vec::with_capacity(batches.iter().map(Self::len).sum());
        for batch in batches {
            let base = position(bytes.len());
            entries.extend(batch.entries().iter().map(|entry| Entry {
                start: base + entry.start,
                ..*entry
            }));
            bytes.extend_from_slice(batch.bytes());
            position(bytes.len());
        }
        Self(Arc::new(Frames {
            bytes: bytes.into(),
            entries,
        }))
    }

    /// Where the frame starts; for the one behind the last, where the batch ends.
    fn start(&self, frame: usize) -> usize {
        if frame == self.len() {
            self.0.bytes.len()
        } else {
            self.0.entries[frame].start as usize
        }
    }
}

/// Encodes updates into a [`Batch`]. It grows without a bound of its own: its owner finishes it when enough is in it.
#[derive(Debug)]
pub struct BatchBuilder {
    encoding: Encoding,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl BatchBuilder {
    /// An empty batch in this encoding.
    pub fn new(encoding: impl Into<Encoding>) -> Self {
        Self {
            encoding: encoding.into(),
            bytes: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// In what its updates are encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Appends one update, encoded and framed.
    ///
    /// # Panics
    ///
    /// If the batch would reach 4 GiB, far above what any owner lets it grow to.
    pub fn push(&mut self, update: &UpdateRef<'_>) {
        self.push_as(update, update.subject.map_or(0, subject_hash));
    }

    /// As [`Self::push`], with this for the subject's hash in the index.
    ///
    /// # Panics
    ///
    /// As [`Self::push`].
    pub fn push_as(&mut self, update: &UpdateRef<'_>, subject: u64) {
        let start = self.bytes.len();
        match self.encoding.framing {
            Framing::Frames => self.write(update),
            Framing::Deflated => self.write_deflated(update),
            Framing::Events => self.write_event(update, None),
            Framing::EventsWithIds => self.write_event(update, update.epoch.zip(update.offset)),
        }
        position(self.bytes.len());
        self.entries.push(Entry {
            start: position(start),
            offset: update.offset.map_or(0, u64::from),
            subject,
        });
    }

    /// True if there is no frame.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes they take.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The batch; the builder is empty again. Memory that was reserved for more and not used stays with the batch, at
    /// most as much again as it holds.
    pub fn finish(&mut self) -> Batch {
        let bytes = std::mem::take(&mut self.bytes).into();
        Batch(Arc::new(Frames {
            bytes,
            entries: std::mem::take(&mut self.entries),
        }))
    }

    fn write(&mut self, update: &UpdateRef<'_>) {
        let start = self.bytes.len();
        let guess = size_guess(update);
        let reserved = frame::header_len(guess);
        self.bytes.reserve(reserved + guess);
        self.bytes.resize(start + reserved, 0);
        self.encoding.codec.encode_update(update, &mut self.bytes);
        self.write_header(start, reserved);
    }

    /// Writes the update compressed if that makes it smaller. It is encoded elsewhere, so that the batch does not keep
    /// memory for what it would have been.
    fn write_deflated(&mut self, update: &UpdateRef<'_>) {
        let mut message = Vec::with_capacity(size_guess(update));
        self.encoding.codec.encode_update(update, &mut message);
        let deflated = deflate(&message);
        let start = self.bytes.len();
        let body = deflated.as_ref().unwrap_or(&message);
        frame::write_header(self.encoding.codec.opcode(), body.len(), &mut self.bytes);
        if deflated.is_some() {
            self.bytes[start] |= frame::COMPRESSED;
        }
        self.bytes.extend_from_slice(body);
    }

    fn write_event(&mut self, update: &UpdateRef<'_>, place: Option<(&Epoch, Offset)>) {
        let codec = self.encoding.codec;
        // What stands around the message has at most 110 bytes.
        self.bytes.reserve(size_guess(update) + 110);
        event_stream::push_event(&mut self.bytes, place, |out| codec.encode_update(update, out));
    }

    /// Writes the frame's header into the bytes reserved for it, or makes room if the guess was wrong.
    fn write_header(&mut self, start: usize, reserved: usize) {
        let body = start + reserved;
        let body_len = self.bytes.len() - body;
        let (header, len) = frame::header(self.encoding.codec.opcode(), body_len);
        if len > reserved {
            self.bytes.resize(body + body_len + len - reserved, 0);
        }
        if len != reserved {
            self.bytes.copy_within(body..body + body_len, start + len);
            self.bytes.truncate(start + len + body_len);
        }
        self.bytes[start..start + len].copy_from_slice(&header[..len]);
    }
}

/// About how long the encoded update will be, in bytes: good enough to reserve the right header nearly always.
fn size_guess(update: &UpdateRef<'_>) -> usize {
    let field = |name: usize, value: Option<&str>| value.map_or(0, |value| name + value.len());
    let offset = update.offset.map_or(0, |_| 18);
    // `{"type":"update","channel":"","payload":}` is 41 bytes.
    42 + update.channel.as_str().len()
        + update.payload.byte_len()
        + field(13, update.subject)
        + field(10, update.time)
        + field(11, update.trace)
        + offset
}

fn position(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a batch is finished long before it reaches 4 GiB")
}

/// Tells subjects apart in a batch's index. Another one in every process, so that nobody can choose subjects that
/// collide.
pub fn subject_hash(subject: &str) -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channel;
    use crate::codec::Codec;
    use crate::payload::PayloadRef;
    use crate::position::Offset;

    fn build(codec: Codec, payloads: &[&str]) -> (Batch, Vec<Bytes>) {
        let channel = Channel::new("a.*").unwrap();
        let mut builder = BatchBuilder::new(codec);
        let mut frames = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let subject = format!("a.{index}");
            let update = UpdateRef {
                subject: Some(&subject),
                offset: Some(Offset::new(index as u64 + 1).unwrap()),
                ..UpdateRef::new(&channel, PayloadRef::classify(payload.as_bytes()))
            };
            builder.push(&update);
            let mut message = Vec::new();
            codec.encode_update(&update, &mut message);
            frames.push(frame::frame(codec.opcode(), &message));
        }
        assert_eq!(
            (builder.len(), builder.byte_len()),
            (frames.len(), frames.iter().map(Bytes::len).sum())
        );
        let batch = builder.finish();
        assert!(builder.is_empty() && builder.byte_len() == 0);
        (batch, frames)
    }

    #[test]
    fn every_frame_of_a_batch_is_whole_whatever_its_size() {
        for codec in Codec::ALL {
            // Around both changes of the header's length, with text that grows when it is escaped.
            for size in (40..140).chain(65_440..65_480) {
                for byte in ["a", "\n"] {
                    let payload = if byte == "\n" {
                        byte.repeat(size / 2)
                    } else {
                        byte.repeat(size)
                    };
                    let (batch, frames) = build(codec, &[&payload]);
                    assert_eq!(batch.bytes(), &frames[0]);
                }
            }
        }
    }

    #[test]
    fn a_slice_is_a_run_of_whole_frames() {
        let (batch, frames) = build(Codec::Json, &["1", "\"two\"", "", "[4]"]);
        assert_eq!(batch.len(), 4);
        for start in 0..=4 {
            for end in start..=4 {
                assert_eq!(batch.slice(start..end), frames[start..end].concat());
                let part = batch.part(start..end);
                assert_eq!(part.bytes(), &frames[start..end].concat());
                assert_eq!(part.slice(0..part.len()), part.bytes());
            }
        }
        let offsets: Vec<_> = batch.entries().iter().map(|entry| entry.offset).collect();
        assert_eq!(offsets, [1, 2, 3, 4]);
        assert_eq!(batch.entries()[2].subject, subject_hash("a.2"));
    }

    #[test]
    fn batches_join_with_their_index() {
        let (one, first) = build(Codec::MessagePack, &["1", "2"]);
        let (two, second) = build(Codec::MessagePack, &["3"]);
        let all = Batch::concat(&[one.clone(), Batch::default(), two]);
        assert_eq!(all.bytes(), &[first, second.clone()].concat().concat());
        assert_eq!(all.slice(2..3), second[0]);
        assert_eq!(
            Batch::concat(std::slice::from_ref(&one)).bytes().as_ptr(),
            one.bytes().as_ptr()
        );
        assert!(Batch::concat(&[]).is_empty());
    }

    #[test]
    fn a_subject_has_one_hash_in_a_process() {
        assert_eq!(subject_hash("foobar"), subject_hash(&String::from("foobar")));
        assert_ne!(subject_hash("foobar"), subject_hash("foobaz"));
    }
}
