//! The JSON codec: text frames, one object a message. A payload that is JSON is embedded as it is; bytes become
//! `payload_b64`.

use std::fmt;

use base64::Engine;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::DecodeError;
use super::decode::{self, BASE64, Body, Head, HeadField, Mistake, Scalar};
use super::encode::Fields;
use crate::command::CommandMessage;
use crate::error::{ErrorCode, ErrorMessage};
use crate::limits::MAX_COMMANDS_PER_FRAME;
use crate::message::ServerMessage;
use crate::payload::PayloadRef;

/// Appends one object, whose fields `write` writes.
pub(super) fn write(out: &mut Vec<u8>, write: impl FnOnce(&mut JsonFields<'_>)) {
    let mut fields = JsonFields { out, separator: b'{' };
    write(&mut fields);
    fields.close();
}

pub(super) struct JsonFields<'a> {
    out: &'a mut Vec<u8>,
    /// What stands before the next field.
    separator: u8,
}

impl JsonFields<'_> {
    fn name(&mut self, name: &str) {
        let separator = std::mem::replace(&mut self.separator, b',');
        self.out.extend_from_slice(&[separator, b'"']);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn close(&mut self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

impl Fields for JsonFields<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.name(name);
        value_to(self.out, value);
    }

    fn plain(&mut self, name: &'static str, text: &str) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    fn payload(&mut self, payload: PayloadRef<'_>) {
        match payload {
            PayloadRef::Json(json) => {
                self.name("payload");
                self.out.extend_from_slice(json.as_bytes());
            }
            PayloadRef::Text(text) => self.field("payload", text),
            PayloadRef::Binary(bytes) => {
                self.name("payload_b64");
                self.out.push(b'"');
                let start = self.out.len();
                self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
                let written = BASE64.encode_slice(bytes, &mut self.out[start..]);
                self.out
                    .truncate(start + written.expect("base64 takes four bytes for three"));
                self.out.push(b'"');
            }
        }
    }

    fn list<T>(&mut self, name: &'static str, items: &[T], item: fn(&mut Self, &T)) {
        self.name(name);
        self.out.push(b'[');
        let outer = self.separator;
        for (index, value) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.separator = b'{';
            item(self, value);
            self.close();
        }
        self.separator = outer;
        self.out.push(b']');
    }
}

fn value_to<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("our types have string keys, and a vector takes every byte");
}

pub(super) fn decode_commands(body: &[u8]) -> Vec<Result<CommandMessage, ErrorMessage>> {
    let text = match as_text(body) {
        Ok(text) => text,
        Err(what) => return vec![Err(Head::default().error(ErrorCode::BadMessage, what))],
    };
    if !is_batch(text) {
        let (head, read) = head_of(JsonBody { frame: text, text });
        return vec![match read {
            Ok(body) => decode::command(&head, &body),
            Err(mistake) => Err(head.error(ErrorCode::BadMessage, mistake.to_string())),
        }];
    }
    match split(text) {
        Ok(Some(messages)) if messages.is_empty() => vec![Err(decode::none_at_all())],
        Ok(Some(messages)) => messages
            .into_iter()
            .map(|message| one_command(text, message))
            .collect(),
        Ok(None) => vec![Err(decode::too_many())],
        Err(mistake) => vec![Err(
            Head::default().error(ErrorCode::BadMessage, mistake.to_string())
        )],
    }
}

fn one_command(frame: &str, message: &RawValue) -> Result<CommandMessage, ErrorMessage> {
    let (head, read) = head_of(JsonBody {
        frame,
        text: message.get(),
    });
    match read {
        Ok(body) => decode::command(&head, &body),
        Err(mistake) => Err(head.error(ErrorCode::BadMessage, mistake.to_string())),
    }
}

pub(super) fn decode_server(body: &[u8]) -> Result<Vec<ServerMessage>, DecodeError> {
    let text = as_text(body).map_err(DecodeError::new)?;
    let one = |message: &str| -> Result<Option<ServerMessage>, DecodeError> {
        let (head, read) = head_of(JsonBody {
            frame: text,
            text: message,
        });
        decode::server(&head, &read?)
    };
    if !is_batch(text) {
        return Ok(one(text)?.into_iter().collect());
    }
    let messages = split(text)?.ok_or_else(|| DecodeError::new(decode::too_many().message))?;
    messages
        .into_iter()
        .filter_map(|message| one(message.get()).transpose())
        .collect()
}

fn as_text(body: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(body).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))
}

fn is_batch(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('[')
}

/// The elements of a batch; `None` if there are too many.
fn split(text: &str) -> Result<Option<Vec<&RawValue>>, Mistake> {
    struct Elements;

    impl<'de> Visitor<'de> for Elements {
        type Value = Option<Vec<&'de RawValue>>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an array of messages")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut messages = Vec::new();
            while let Some(message) = seq.next_element()? {
                if messages.len() == MAX_COMMANDS_PER_FRAME {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                messages.push(message);
            }
            Ok(Some(messages))
        }
    }

    let whole = JsonBody { frame: text, text };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let messages = deserializer.deserialize_seq(Elements).and_then(|messages| {
        deserializer.end()?;
        Ok(messages)
    });
    messages.map_err(|error| whole.mistake(String::new(), &error))
}

/// Reads what can be read of a message before its type is known, and checks that the rest is JSON.
fn head_of(body: JsonBody<'_>) -> (Head, Result<JsonBody<'_>, Mistake>) {
    let mut head = Head::default();
    let mut deserializer = serde_json::Deserializer::from_str(body.text);
    let read = HeadSeed(&mut head)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    let read = match read {
        Ok(()) => Ok(body),
        Err(error) => Err(body.mistake(String::new(), &error)),
    };
    (head, read)
}

/// One message, and the frame that it lies in.
struct JsonBody<'a> {
    frame: &'a str,
    text: &'a str,
}

impl JsonBody<'_> {
    /// What the reader says, with the place in the frame instead of that in the message.
    fn mistake(&self, path: String, error: &serde_json::Error) -> Mistake {
        let (line, column) = (error.line(), error.column());
        let mut what = error.to_string();
        if let Some(said) = what.strip_suffix(&format!(" at line {line} column {column}")) {
            what.truncate(said.len());
        }
        // The message is a part of the frame, so the difference of their addresses is where it starts.
        let start = self.text.as_ptr().addr() - self.frame.as_ptr().addr();
        let before = self.frame[..start]
            .rsplit_once('\n')
            .map_or(&self.frame[..start], |(_, last)| last);
        let lines_before = self.frame[..start].matches('\n').count();
        let column = if line <= 1 { column + before.len() } else { column };
        Mistake {
            path,
            what,
            place: format!("line {}, column {column}", lines_before + line.max(1)),
        }
    }
}

impl Body for JsonBody<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, Mistake> {
        // Where a mistake is costs to follow: only when there is one.
        if let Ok(fields) = serde_json::from_str(self.text) {
            return Ok(fields);
        }
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            self.mistake(if path == "." { String::new() } else { path }, error.inner())
        })
    }
}

/// Fills a head as far as the message can be read.
struct HeadSeed<'a>(&'a mut Head);

impl<'de> DeserializeSeed<'de> for HeadSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for HeadSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message: an object such as {\"type\":\"ping\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key()? {
            match field {
                HeadField::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
                field => {
                    let value = map.next_value()?;
                    self.0.set(field, value);
                }
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}
