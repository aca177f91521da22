//! JSON text to MessagePack, written while it is read: no tree, no allocation, one pass. The number of a container's
//! elements is known only at its end, so one byte is kept for its header and what is inside moves if that is too short,
//! which takes sixteen elements.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::value_to;
use crate::limits::MAX_JSON_DEPTH;

/// Appends the value of a JSON text. On failure what was written so far stays, for the caller to take back.
///
/// Fails if the text is no JSON, is nested too deeply, or has a number or string without a value: `1e999`, `"\ud800"`.
pub(super) fn transcode(json: &str, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    // The depth is counted below, to the same bound as everywhere.
    deserializer.disable_recursion_limit();
    Transcode { out, depth: 0 }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Appends a `str`, of which most values and all names are: a serializer costs three times as much.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    match (text.len(), u8::try_from(text.len()), u16::try_from(text.len())) {
        (0..32, Ok(len), _) => out.push(0xa0 | len),
        (_, Ok(len), _) => out.extend_from_slice(&[0xd9, len]),
        (_, _, Ok(len)) => {
            let [high, low] = len.to_be_bytes();
            out.extend_from_slice(&[0xda, high, low]);
        }
        (len, ..) => {
            out.push(0xdb);
            out.extend_from_slice(&count_u32(len).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends a `bin`.
pub(super) fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    if let Ok(len) = u8::try_from(bytes.len()) {
        out.extend_from_slice(&[0xc4, len]);
    } else if let Ok(len) = u16::try_from(bytes.len()) {
        out.push(0xc5);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(0xc6);
        out.extend_from_slice(&count_u32(bytes.len()).to_be_bytes());
    }
    out.extend_from_slice(bytes);
}

fn count_u32(count: usize) -> u32 {
    u32::try_from(count).expect("a NATS message is smaller than 4 GiB")
}

/// An open map or array: where its header stands.
pub(super) struct Container {
    at: usize,
}

impl Container {
    /// Keeps one byte for the header.
    pub(super) fn open(out: &mut Vec<u8>) -> Self {
        out.push(0);
        Self { at: out.len() - 1 }
    }

    /// Writes the header of a map with this many pairs behind it.
    pub(super) fn close_map(self, out: &mut Vec<u8>, pairs: usize) {
        self.close(out, pairs, 0x80, 0xde);
    }

    /// Writes the header of an array with this many elements behind it.
    pub(super) fn close_array(self, out: &mut Vec<u8>, elements: usize) {
        self.close(out, elements, 0x90, 0xdc);
    }

    /// `short` is the marker that holds a count below 16 itself, `long` the one with two bytes of count; the next one
    /// has four.
    fn close(self, out: &mut Vec<u8>, count: usize, short: u8, long: u8) {
        if let (Ok(small), 0..16) = (u8::try_from(count), count) {
            out[self.at] = short | small;
        } else if let Ok(medium) = u16::try_from(count) {
            let [high, low] = medium.to_be_bytes();
            out.splice(self.at..=self.at, [long, high, low]);
        } else {
            let [a, b, c, d] = count_u32(count).to_be_bytes();
            out.splice(self.at..=self.at, [long + 1, a, b, c, d]);
        }
    }
}

struct Transcode<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
}

impl Transcode<'_> {
    fn write<E>(self, value: &(impl serde::Serialize + ?Sized)) -> Result<(), E> {
        value_to(self.out, value);
        Ok(())
    }

    fn inner(&mut self) -> Transcode<'_> {
        Transcode {
            out: self.out,
            depth: self.depth + 1,
        }
    }

    fn open<E: de::Error>(&mut self) -> Result<Container, E> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Container::open(self.out))
    }
}

impl<'de> DeserializeSeed<'de> for Transcode<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcode<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.write(&())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.write(&value)
    }

    /// Integers outside i64 and u64 arrive here too.
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        write_text(value, self.out);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let array = self.open()?;
        let mut count = 0;
        while seq.next_element_seed(self.inner())?.is_some() {
            count += 1;
        }
        array.close_array(self.out, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let pairs = self.open()?;
        let mut count = 0;
        while map.next_key_seed(self.inner())?.is_some() {
            map.next_value_seed(self.inner())?;
            count += 1;
        }
        pairs.close_map(self.out, count);
        Ok(())
    }
}
