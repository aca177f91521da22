//! What a publication carries. `PayloadRef` is what NATS delivered, told apart once per publication and borrowed;
//! `Payload` is the owned value that a command brings or a client receives. How each looks on the wire is the codec's.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

mod json_text;

/// The payload of a command, a reply or an update, owned.
#[derive(Debug, Clone)]
pub enum Payload {
    /// A JSON value, as text. A text that NATS carried arrives here too, as a JSON string.
    Json(Box<RawValue>),
    /// Bytes that are not UTF-8 text, or that a client chose to send as bytes.
    Binary(Bytes),
}

impl Payload {
    /// The JSON form of `value`, for clients and tests.
    ///
    /// Fails as `serde_json` does: a map whose keys are not strings, or an error of the type's own.
    pub fn from_json(value: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self::Json)
    }

    /// The bytes that are published on NATS: the JSON text, or the bytes themselves.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Json(json) => Bytes::copy_from_slice(json.get().as_bytes()),
            Self::Binary(bytes) => bytes.clone(),
        }
    }

    /// As [`Self::to_bytes`], without a copy.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Json(json) => Bytes::from(Box::<str>::from(json).into_boxed_bytes()),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The length of [`Self::to_bytes`], in bytes.
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Json(json) => json.get().len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The payload, borrowed.
    pub fn as_ref(&self) -> PayloadRef<'_> {
        match self {
            Self::Json(json) => PayloadRef::Json(json.get()),
            Self::Binary(bytes) => PayloadRef::Binary(bytes),
        }
    }
}

/// Equality is that of the text or the bytes: `1.0` and `1` differ, and so do bytes and a JSON text of the same bytes.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(one), Self::Json(two)) => one.get() == two.get(),
            (Self::Binary(one), Self::Binary(two)) => one == two,
            _ => false,
        }
    }
}

impl Eq for Payload {}

/// The payload of a publication as NATS carried it, told apart and borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadRef<'a> {
    /// A JSON text (RFC 8259) of at most 128 levels. The encoder embeds it as it is: whoever makes one by hand answers
    /// for its validity.
    Json(&'a str),
    /// UTF-8 text that is not such JSON: the empty payload too.
    Text(&'a str),
    /// Other bytes.
    Binary(&'a [u8]),
}

impl<'a> PayloadRef<'a> {
    /// Tells apart what NATS carried. White space around JSON is left out. Neither allocates nor recurses, and looks at
    /// each byte at most twice: once for UTF-8, once for JSON.
    pub fn classify(bytes: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Binary(bytes);
        };
        if json_text::is_json(text.as_bytes()) {
            return Self::Json(text.trim_matches(json_text::WHITE_SPACE));
        }
        Self::Text(text)
    }

    /// The length as NATS carried it, less what was trimmed, in bytes.
    pub fn byte_len(self) -> usize {
        match self {
            Self::Json(text) | Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// The value that a client receives: text becomes a JSON string.
    ///
    /// Fails if `Json` was made by hand of a text that is none.
    pub fn to_payload(self) -> Result<Payload, serde_json::Error> {
        match self {
            Self::Json(text) => RawValue::from_string(text.to_owned()).map(Payload::Json),
            Self::Text(text) => Payload::from_json(text),
            Self::Binary(bytes) => Ok(Payload::Binary(Bytes::copy_from_slice(bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_publication_is_told_apart() {
        assert_eq!(
            PayloadRef::classify(br#"{"id":7}"#),
            PayloadRef::Json(r#"{"id":7}"#)
        );
        assert_eq!(PayloadRef::classify(b" \r\n\t[1] \n"), PayloadRef::Json("[1]"));
        assert_eq!(PayloadRef::classify(b"null"), PayloadRef::Json("null"));
        assert_eq!(PayloadRef::classify(b""), PayloadRef::Text(""));
        assert_eq!(PayloadRef::classify(b"  "), PayloadRef::Text("  "));
        assert_eq!(PayloadRef::classify(b"hello"), PayloadRef::Text("hello"));
        assert_eq!(
            PayloadRef::classify("\u{feff}{}".as_bytes()),
            PayloadRef::Text("\u{feff}{}")
        );
        assert_eq!(PayloadRef::classify(b"{} {}"), PayloadRef::Text("{} {}"));
        assert_eq!(PayloadRef::classify(b"\"\xff\""), PayloadRef::Binary(b"\"\xff\""));
    }

    #[test]
    fn json_deeper_than_128_levels_is_text() {
        for (open, middle, close) in [("[", "", "]"), ("{\"a\":", "1", "}")] {
            let nested = |depth: usize| format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
            let (deep, deeper) = (nested(128), nested(129));
            assert_eq!(PayloadRef::classify(deep.as_bytes()), PayloadRef::Json(&deep));
            assert_eq!(PayloadRef::classify(deeper.as_bytes()), PayloadRef::Text(&deeper));
        }
    }

    #[test]
    fn a_mebibyte_of_brackets_ends_at_once() {
        for byte in ["[", "{", "\"", "[[],"] {
            let text = byte.repeat(1 << 20);
            assert_eq!(PayloadRef::classify(text.as_bytes()), PayloadRef::Text(&text));
        }
    }

    #[test]
    fn bytes_are_published_as_they_came() {
        let json = Payload::from_json(&[1, 2]).unwrap();
        assert_eq!(json.to_bytes(), "[1,2]");
        assert_eq!(json.byte_len(), 5);
        assert_eq!(json.into_bytes(), "[1,2]");
        let binary = Payload::Binary(Bytes::from_static(&[0xff]));
        assert_eq!(binary.to_bytes(), binary.clone().into_bytes());
        assert_eq!(
            PayloadRef::Text("hi").to_payload().unwrap(),
            Payload::from_json("hi").unwrap()
        );
    }
}
