//! MessagePack token by token (github.com/msgpack/msgpack, spec.md). Lengths that the input claims are checked against
//! what is there before anything is done with them, and nesting is walked with a list instead of the stack.

use std::fmt;

use crate::codec::decode::{Head, HeadField, Scalar};
use crate::limits::MAX_JSON_DEPTH;

/// Deepest nesting of a message: a payload of the greatest depth inside a page of history.
const MAX_DEPTH: usize = MAX_JSON_DEPTH + 3;

/// A scalar, or the start of a container with its number of elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    Array(u32),
    Map(u32),
    Extension,
}

/// Where the input stops being a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    at: usize,
    what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "not a message in MessagePack: {} (byte {})",
            self.what, self.at
        )
    }
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    last: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            last: 0,
        }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// How far it has read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Where the last token started.
    pub(super) fn last_token(&self) -> usize {
        self.last
    }

    pub(super) fn token(&mut self) -> Result<Token<'a>, Fault> {
        self.last = self.at;
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => Token::Map((marker & 0x0f).into()),
            0x90..=0x9f => Token::Array((marker & 0x0f).into()),
            0xa0..=0xbf => self.text((marker & 0x1f).into())?,
            0xc0 => Token::Nil,
            0xc1 => return Err(self.fault("the marker 0xc1 is never used")),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4..=0xc6 => {
                let len = self.length(marker - 0xc4)?;
                Token::Binary(self.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.length(marker - 0xc7)?;
                self.extension(len)?
            }
            0xca => Token::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Token::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Token::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => integer(i8::from_be_bytes(self.array()?).into()),
            0xd1 => integer(i16::from_be_bytes(self.array()?).into()),
            0xd2 => integer(i32::from_be_bytes(self.array()?).into()),
            0xd3 => integer(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let len = self.length(marker - 0xd9)?;
                self.text(len)?
            }
            0xdc | 0xdd => Token::Array(self.length(marker - 0xdb)?),
            0xde | 0xdf => Token::Map(self.length(marker - 0xdd)?),
            0xe0..=0xff => Token::Signed(i64::from(marker) - 256),
        })
    }

    /// Passes over one value and all that is inside.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        // How many values are still to come, a number for each open container.
        let mut open: Vec<u64> = Vec::new();
        loop {
            let inside = match self.token()? {
                Token::Array(count) => Some(u64::from(count)),
                Token::Map(count) => Some(u64::from(count) * 2),
                _ => None,
            };
            if let Some(inside) = inside {
                if open.len() == MAX_DEPTH {
                    return Err(self.fault("nested too deeply"));
                }
                open.push(inside);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            match open.last_mut() {
                Some(left) => *left -= 1,
                None => return Ok(()),
            }
        }
    }

    /// Passes over one message, and fills its head as far as the message can be read.
    pub(super) fn message(&mut self, head: &mut Head) -> Result<(), Fault> {
        let Token::Map(count) = self.token()? else {
            return Err(self.fault("a message is a map such as {\"type\": \"ping\"}"));
        };
        for _ in 0..count {
            let Token::Text(name) = self.token()? else {
                return Err(self.fault("the keys of a message are strings"));
            };
            let field = match name {
                "type" => HeadField::Type,
                "id" => HeadField::Id,
                "channel" => HeadField::Channel,
                _ => {
                    self.skip()?;
                    continue;
                }
            };
            let start = self.at;
            let value = match self.token()? {
                Token::Nil => Scalar::Null,
                Token::Unsigned(number) => Scalar::Number(number),
                Token::Text(text) => Scalar::Text(text.to_owned()),
                _ => {
                    self.at = start;
                    self.skip()?;
                    Scalar::Other
                }
            };
            head.set(field, value);
        }
        Ok(())
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.last, what }
    }

    fn take(&mut self, len: u32) -> Result<&'a [u8], Fault> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let Some(taken) = taken else {
            return Err(Fault {
                at: self.bytes.len(),
                what: "the frame ends inside a value",
            });
        };
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some(array) = self.bytes[self.at..].first_chunk() else {
            return Err(Fault {
                at: self.bytes.len(),
                what: "the frame ends inside a value",
            });
        };
        self.at += N;
        Ok(*array)
    }

    /// A length of 1, 2 or 4 bytes, for a width of 0, 1 or 2.
    fn length(&mut self, width: u8) -> Result<u32, Fault> {
        Ok(match width {
            0 => u8::from_be_bytes(self.array()?).into(),
            1 => u16::from_be_bytes(self.array()?).into(),
            _ => u32::from_be_bytes(self.array()?),
        })
    }

    fn text(&mut self, len: u32) -> Result<Token<'a>, Fault> {
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes)
            .map(Token::Text)
            .map_err(|_| self.fault("a string that is not UTF-8"))
    }

    fn extension(&mut self, len: u32) -> Result<Token<'a>, Fault> {
        let [_kind] = self.array()?;
        self.take(len)?;
        Ok(Token::Extension)
    }
}

/// A signed form may hold a number that is not below zero.
fn integer(value: i64) -> Token<'static> {
    u64::try_from(value).map_or(Token::Signed(value), Token::Unsigned)
}
