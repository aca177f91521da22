//! The MessagePack codec: binary frames, one map a message, several behind one another where a client batches. A payload
//! that is JSON is written as the same value in MessagePack; bytes become `bin`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DecodeError;
use super::decode::{self, Body, Head, Mistake};
use super::encode::Fields;
use crate::command::CommandMessage;
use crate::error::{ErrorCode, ErrorMessage};
use crate::limits::MAX_COMMANDS_PER_FRAME;
use crate::message::ServerMessage;
use crate::payload::PayloadRef;

mod deserializer;
mod reader;
mod transcode;

use self::deserializer::Value;
use self::reader::Reader;
use self::transcode::Container;

/// Appends one map, whose fields `write` writes.
pub(super) fn write(out: &mut Vec<u8>, write: impl FnOnce(&mut MsgpackFields<'_>)) {
    let map = Container::open(out);
    let mut fields = MsgpackFields { out, count: 0 };
    write(&mut fields);
    let count = fields.count;
    map.close_map(out, count);
}

pub(super) struct MsgpackFields<'a> {
    out: &'a mut Vec<u8>,
    count: usize,
}

impl MsgpackFields<'_> {
    fn name(&mut self, name: &'static str) {
        self.count += 1;
        transcode::write_text(name, self.out);
    }
}

impl Fields for MsgpackFields<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.name(name);
        value_to(self.out, value);
    }

    fn plain(&mut self, name: &'static str, text: &str) {
        self.name(name);
        transcode::write_text(text, self.out);
    }

    fn payload(&mut self, payload: PayloadRef<'_>) {
        self.name("payload");
        match payload {
            PayloadRef::Json(json) => {
                let start = self.out.len();
                if transcode::transcode(json, self.out).is_err() {
                    // A number or string without a value in MessagePack, such as 1e999: the text says it all.
                    self.out.truncate(start);
                    transcode::write_text(json, self.out);
                }
            }
            PayloadRef::Text(text) => transcode::write_text(text, self.out),
            PayloadRef::Binary(bytes) => transcode::write_binary(bytes, self.out),
        }
    }

    fn list<T>(&mut self, name: &'static str, items: &[T], item: fn(&mut Self, &T)) {
        self.name(name);
        let list = Container::open(self.out);
        let outer = self.count;
        for value in items {
            let map = Container::open(self.out);
            self.count = 0;
            item(self, value);
            map.close_map(self.out, self.count);
        }
        self.count = outer;
        list.close_array(self.out, items.len());
    }
}

fn value_to<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value
        .serialize(&mut serializer)
        .expect("our types have known lengths, and a vector takes every byte");
}

pub(super) fn decode_commands(body: &[u8]) -> Vec<Result<CommandMessage, ErrorMessage>> {
    match split(body) {
        Ok(messages) if messages.is_empty() => vec![Err(decode::none_at_all())],
        Ok(messages) => messages
            .iter()
            .map(|(head, message)| decode::command(head, message))
            .collect(),
        Err(error) => vec![Err(error)],
    }
}

pub(super) fn decode_server(body: &[u8]) -> Result<Vec<ServerMessage>, DecodeError> {
    let messages = split(body).map_err(|error| DecodeError::new(error.message))?;
    messages
        .iter()
        .filter_map(|(head, message)| decode::server(head, message).transpose())
        .collect()
}

/// Tells the messages of a frame apart and reads their heads. All of the frame is checked, so that what comes later may
/// rely on complete values, bounded nesting and texts in UTF-8.
fn split(frame: &[u8]) -> Result<Vec<(Head, MsgpackBody<'_>)>, ErrorMessage> {
    let mut reader = Reader::new(frame);
    let mut messages = Vec::new();
    while !reader.is_at_end() {
        if messages.len() == MAX_COMMANDS_PER_FRAME {
            return Err(decode::too_many());
        }
        let start = reader.position();
        let mut head = Head::default();
        if let Err(fault) = reader.message(&mut head) {
            // In a batch the id of the broken command would look like the only one that failed.
            let head = if messages.is_empty() {
                head
            } else {
                Head::default()
            };
            return Err(head.error(ErrorCode::BadMessage, fault.to_string()));
        }
        messages.push((
            head,
            MsgpackBody {
                start,
                bytes: &frame[start..reader.position()],
            },
        ));
    }
    Ok(messages)
}

/// One message, and where in the frame it starts.
struct MsgpackBody<'a> {
    start: usize,
    bytes: &'a [u8],
}

impl Body for MsgpackBody<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, Mistake> {
        let mut reader = Reader::new(self.bytes);
        serde_path_to_error::deserialize(Value::new(&mut reader)).map_err(|error| {
            let path = error.path().to_string();
            Mistake {
                path: if path == "." { String::new() } else { path },
                what: error.inner().to_string(),
                place: format!("byte {}", self.start + reader.last_token()),
            }
        })
    }
}
