//! MessagePack tokens as serde sees them. Its own reader, because errors must say what was expected and at which byte,
//! because keys must be strings, and because a string that is not UTF-8 must not pass for binary data. It recurses as
//! deep as the value is nested, which was checked before.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::reader::{Fault, Reader, Token};

/// Why a value is not what was expected. The place is the reader's.
#[derive(Debug)]
pub(super) struct ReadError(String);

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

/// The value that the reader stands before.
pub(super) struct Value<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Its first token, if that has been read.
    token: Option<Token<'a>>,
}

impl<'r, 'a> Value<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>) -> Self {
        Self { reader, token: None }
    }

    fn token(&mut self) -> Result<Token<'a>, ReadError> {
        match self.token.take() {
            Some(token) => Ok(token),
            None => Ok(self.reader.token()?),
        }
    }
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ReadError> {
        match self.token()? {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            Token::Float(value) => visitor.visit_f64(value),
            Token::Text(text) => visitor.visit_borrowed_str(text),
            Token::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
            Token::Array(count) => visitor.visit_seq(Elements {
                reader: self.reader,
                left: count,
            }),
            Token::Map(count) => visitor.visit_map(Elements {
                reader: self.reader,
                left: count,
            }),
            Token::Extension => Err(de::Error::custom(format_args!(
                "invalid type: an extension type, which JSON does not have, expected {}",
                Expected(&visitor)
            ))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ReadError> {
        match self.token()? {
            Token::Nil => visitor.visit_none(),
            token => visitor.visit_some(Self {
                token: Some(token),
                ..self
            }),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.token()? {
            Token::Text(name) => {
                let name: StrDeserializer<'_, ReadError> = name.into_deserializer();
                visitor.visit_enum(name)
            }
            _ => Err(de::Error::custom(format_args!(
                "invalid type: expected {} as a string",
                Expected(&visitor)
            ))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.token.is_none() {
            self.reader.skip()?;
        }
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier
    }
}

/// What a visitor says that it expects.
struct Expected<'v, V>(&'v V);

impl<'de, V: Visitor<'de>> fmt::Display for Expected<'_, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }
}

/// What is left of a container.
struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: u32,
}

impl Elements<'_, '_> {
    /// False at the end.
    fn next(&mut self) -> bool {
        let more = self.left > 0;
        self.left -= u32::from(more);
        more
    }
}

impl<'a> SeqAccess<'a> for Elements<'_, 'a> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if self.next() {
            seed.deserialize(Value::new(self.reader)).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'a> MapAccess<'a> for Elements<'_, 'a> {
    type Error = ReadError;

    fn next_key_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if !self.next() {
            return Ok(None);
        }
        // A field's number would pass for its name, and JSON has no other keys.
        let token = self.reader.token()?;
        if !matches!(token, Token::Text(_)) {
            return Err(de::Error::custom("a key that is not a string"));
        }
        seed.deserialize(Value {
            reader: self.reader,
            token: Some(token),
        })
        .map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(Value::new(self.reader))
    }
}
