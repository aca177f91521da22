//! `Timestamp`: an RFC 3339 date and time whose form has been checked. It stays text: the broker hands it to JetStream
//! as it is, and clients read it with what their language has.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A date and time as RFC 3339 section 5.6 writes it, with `Z` or a numeric offset and up to nine digits of fraction,
/// such as `2026-02-03T04:05:06.789Z`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Timestamp(Box<str>);

impl Timestamp {
    /// Checks the form and the range of each part.
    pub fn new(text: &str) -> Result<Self, TimestampError> {
        if is_rfc3339(text.as_bytes()) {
            Ok(Self(text.into()))
        } else {
            Err(TimestampError)
        }
    }

    /// The timestamp as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no RFC 3339 date and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as RFC 3339 says, such as `2026-02-03T04:05:06Z`")]
pub struct TimestampError;

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        Self::new(text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time: a string such as `2026-02-03T04:05:06Z`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::new(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Upper-case `T` and `Z` only: RFC 3339 lets a protocol ask for that, and Go's parser, JetStream's, does.
fn is_rfc3339(text: &[u8]) -> bool {
    let Some((date, time)) = text.split_at_checked(19).filter(|(date, _)| {
        date.iter()
            .zip(b"0000-00-00T00:00:00")
            .all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                _ => byte == form,
            })
    }) else {
        return false;
    };
    let two = |at: usize| u32::from(date[at] - b'0') * 10 + u32::from(date[at + 1] - b'0');
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return false,
    };
    // Go reads no leap second either.
    if !(1..=days).contains(&day) || two(11) > 23 || two(14) > 59 || two(17) > 59 {
        return false;
    }
    is_zone(after_fraction(time))
}

/// What follows the fraction of a second; the text itself, which is then no zone, if the fraction is malformed.
fn after_fraction(text: &[u8]) -> &[u8] {
    let Some(fraction) = text.strip_prefix(b".") else {
        return text;
    };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if (1..=9).contains(&digits) {
        &fraction[digits..]
    } else {
        text
    }
}

fn is_zone(text: &[u8]) -> bool {
    match text {
        b"Z" => true,
        [b'+' | b'-', hours @ .., b':', ten, one] if hours.len() == 2 => {
            let digits = [hours[0], hours[1], *ten, *one];
            digits.iter().all(u8::is_ascii_digit) && digits[..2] <= b"23"[..] && digits[2..] <= b"59"[..]
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rfc_3339_is_a_time() {
        for good in [
            "2026-02-03T04:05:06Z",
            "2024-02-29T23:59:59.999999999Z",
            "2000-02-29T00:00:00.1+23:59",
            "0000-12-31T00:00:00-00:00",
        ] {
            assert!(Timestamp::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "now",
            "2026-02-03",
            "2026-02-03T04:05:06",
            "2026-02-03 04:05:06Z",
            "2026-02-03t04:05:06z",
            "2026-02-29T04:05:06Z",
            "1900-02-29T04:05:06Z",
            "2026-13-01T04:05:06Z",
            "2026-00-01T04:05:06Z",
            "2026-04-31T04:05:06Z",
            "2026-04-00T04:05:06Z",
            "2026-02-03T24:05:06Z",
            "2026-02-03T04:60:06Z",
            "2026-02-03T04:05:60Z",
            "2026-02-03T04:05:06.Z",
            "2026-02-03T04:05:06.1234567890Z",
            "2026-02-03T04:05:06+24:00",
            "2026-02-03T04:05:06+1:00",
            "2026-02-03T04:05:06+01:00 ",
            "2026-02-03T04:05:06é",
        ] {
            assert!(Timestamp::new(bad).is_err(), "{bad}");
        }
    }
}
