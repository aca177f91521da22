//! Where a client stands in a durable channel, and from where it wants to go on. The wire's cursors are read here and
//! nowhere else; what a cursor means for a stream is left to the broker.

use std::fmt;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{MAX_EPOCH_BYTES, OFFSET_LIMIT};
use crate::timestamp::Timestamp;

/// The sequence of a publication in its stream: an integer below 2^53, so that JavaScript keeps it exact. Offsets of a
/// subject rise but are not contiguous. 0 is before the first publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(u64);

impl Offset {
    /// Before the first publication.
    pub const ZERO: Self = Self(0);

    /// Fails at 2^53 and above.
    pub fn new(value: u64) -> Result<Self, PositionError> {
        if value < OFFSET_LIMIT {
            Ok(Self(value))
        } else {
            Err(PositionError::OffsetTooLarge { value })
        }
    }

    /// The offset as a number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl TryFrom<u64> for Offset {
    type Error = PositionError;

    fn try_from(value: u64) -> Result<Self, PositionError> {
        Self::new(value)
    }
}

impl From<Offset> for u64 {
    fn from(offset: Offset) -> Self {
        offset.0
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Offset;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an offset: an integer from 0 to 2^53 - 1")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Offset, E> {
                Offset::new(value).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Offset, E> {
                let value = u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
                self.visit_u64(value)
            }
        }

        deserializer.deserialize_u64(Number)
    }
}

/// Which life of a stream an offset belongs to: an opaque text of 1 to 64 visible ASCII characters. Offsets of two
/// epochs have nothing to do with each other; compare epochs for equality only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Epoch(Box<str>);

impl Epoch {
    /// Fails unless `text` is 1 to 64 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, PositionError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MAX_EPOCH_BYTES || !visible {
            return Err(PositionError::BadEpoch);
        }
        Ok(Self(text.into()))
    }

    /// The epoch as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for Epoch {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        Self::new(text)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Epoch;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an epoch: the string that the server gave with the offset")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Epoch, E> {
                Epoch::new(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The place in a stream up to which a client has everything. Its text is `<epoch>.<offset>`, as Server-Sent Events
/// and polling carry it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The last offset that the client has.
    pub offset: Offset,
    /// The epoch of that offset.
    pub epoch: Epoch,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.epoch, self.offset)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        // The epoch is opaque and may hold dots itself.
        let (epoch, offset) = text.rsplit_once('.').ok_or(PositionError::BadCursor)?;
        if !offset.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PositionError::BadCursor);
        }
        let offset = offset.parse::<u64>().map_err(|_| PositionError::BadCursor)?;
        Ok(Self {
            offset: Offset::new(offset)?,
            epoch: Epoch::new(epoch)?,
        })
    }
}

/// From where a subscription or a `history` page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// `{offset, epoch}`: after this position.
    Position(Position),
    /// `"beginning"`: from the oldest that is stored.
    Beginning,
    /// `{last: n}`: from the n-th last publication.
    Last(u32),
    /// `{time: rfc3339}`: from the first publication at or after this time.
    Time(Timestamp),
}

impl Serialize for Since {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Position(position) => position.serialize(serializer),
            Self::Beginning => serializer.serialize_str(BEGINNING),
            Self::Last(count) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("last", count)?;
                map.end()
            }
            Self::Time(time) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("time", time)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Since {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Since;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a cursor: {offset, epoch}, \"beginning\", {last: n} or {time: rfc3339}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Since, E> {
                if text == BEGINNING {
                    return Ok(Since::Beginning);
                }
                Err(E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Since, A::Error> {
                let given = SinceFields::deserialize(MapAccessDeserializer::new(map))?;
                match given {
                    SinceFields {
                        offset: Some(offset),
                        epoch: Some(epoch),
                        last: None,
                        time: None,
                    } => Ok(Since::Position(Position { offset, epoch })),
                    SinceFields {
                        offset: None,
                        epoch: None,
                        last: Some(count),
                        time: None,
                    } => Ok(Since::Last(count)),
                    SinceFields {
                        offset: None,
                        epoch: None,
                        last: None,
                        time: Some(time),
                    } => Ok(Since::Time(time)),
                    _ => Err(de::Error::custom(
                        "expected exactly one of {offset, epoch}, {last: n} and {time: rfc3339}",
                    )),
                }
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

const BEGINNING: &str = "beginning";

#[derive(Deserialize)]
struct SinceFields {
    offset: Option<Offset>,
    epoch: Option<Epoch>,
    last: Option<u32>,
    time: Option<Timestamp>,
}

/// Why a value is no offset, epoch or position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// 2^53 or more.
    #[error("an offset is below 2^53, {value} is not")]
    OffsetTooLarge {
        /// The number given.
        value: u64,
    },

    /// Empty, too long, or with a character that is not visible ASCII.
    #[error(
        "an epoch has 1 to {MAX_EPOCH_BYTES} visible ASCII characters: pass on the one that the server gave"
    )]
    BadEpoch,

    /// No `<epoch>.<offset>`.
    #[error("a cursor reads `<epoch>.<offset>`: pass on the one that the server gave")]
    BadCursor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_end_below_two_to_the_53() {
        assert_eq!(Offset::new((1 << 53) - 1).unwrap().get(), 9_007_199_254_740_991);
        assert!(Offset::new(1 << 53).is_err());
        assert!(serde_json::from_str::<Offset>("9007199254740992").is_err());
        assert!(serde_json::from_str::<Offset>("-1").is_err());
        assert!(serde_json::from_str::<Offset>("1.5").is_err());
    }

    #[test]
    fn a_position_reads_back_from_its_text_even_if_the_epoch_has_dots() {
        for text in ["a.1", "1726.5-2.0", "x.y.z.9007199254740991"] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "a",
            ".1",
            "a.",
            "a.-1",
            "a.+1",
            "a.9007199254740992",
            "a b.1",
            "a.1 ",
        ] {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_form_of_since_is_told_apart_and_a_mixture_is_refused() {
        for text in [
            r#"{"offset":5,"epoch":"e-1"}"#,
            r#""beginning""#,
            r#"{"last":10}"#,
            r#"{"time":"2026-02-03T04:05:06.789Z"}"#,
        ] {
            let since: Since = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&since).unwrap(), text);
        }
        for text in [
            "5",
            r#""end""#,
            "{}",
            r#"{"offset":5}"#,
            r#"{"epoch":"e"}"#,
            r#"{"offset":5,"epoch":"e","last":1}"#,
            r#"{"last":-1}"#,
            r#"{"last":4294967296}"#,
            r#"{"time":"yesterday"}"#,
            r#"{"offset":5,"epoch":""}"#,
            r#"[5,"e"]"#,
        ] {
            assert!(serde_json::from_str::<Since>(text).is_err(), "{text}");
        }
    }
}
