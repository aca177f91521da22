//! `Codec`: messages to bytes and back, in the form that the subprotocol chose. Both forms carry the same values; what
//! they differ in stands in `codec/json.rs` and `codec/msgpack.rs`, what they share in `codec/encode.rs` (the fields of
//! each message, in order) and `codec/decode.rs` (how a message is read, and what is said when it cannot be).
//!
//! Cost of one update: its bytes are written once, straight into the caller's buffer. JSON embeds a JSON payload as it
//! is; MessagePack reads it once and writes as it reads. Neither allocates, unless a string in a payload is escaped.

use bytes::Bytes;

use crate::command::CommandMessage;
use crate::error::ErrorMessage;
use crate::frame::{self, Opcode};
use crate::message::ServerMessage;
use crate::push::UpdateRef;

mod decode;
mod encode;
mod json;
mod msgpack;

/// The form that messages take, chosen by the WebSocket subprotocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `tailwater.v1.json`: text frames. What a client gets that offers no subprotocol.
    #[default]
    Json,
    /// `tailwater.v1.msgpack`: binary frames, maps with string keys.
    MessagePack,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// The subprotocol's name (RFC 6455 section 1.9).
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "tailwater.v1.json",
            Self::MessagePack => "tailwater.v1.msgpack",
        }
    }

    /// The codec of this subprotocol; `None` if it is not one of ours.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == name)
    }

    /// The kind of frame that carries it, in both directions.
    pub fn opcode(self) -> Opcode {
        match self {
            Self::Json => Opcode::Text,
            Self::MessagePack => Opcode::Binary,
        }
    }

    /// Reads a frame of a client: one command, or several as a JSON array or as MessagePack maps one behind the other.
    ///
    /// Each command that cannot be read is an error of its own, which repeats its id and channel whenever they could be
    /// read, and whose message names the place of the mistake. A frame that cannot be told apart into commands, or that
    /// holds more than [`MAX_COMMANDS_PER_FRAME`](crate::limits::MAX_COMMANDS_PER_FRAME), is one error and no command.
    /// The result is never empty.
    pub fn decode_commands(self, body: &[u8]) -> Vec<Result<CommandMessage, ErrorMessage>> {
        match self {
            Self::Json => json::decode_commands(body),
            Self::MessagePack => msgpack::decode_commands(body),
        }
    }

    /// Writes a command, as clients do.
    pub fn encode_command(self, message: &CommandMessage) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Json => json::write(&mut out, |fields| encode::command(fields, message)),
            Self::MessagePack => msgpack::write(&mut out, |fields| encode::command(fields, message)),
        }
        out
    }

    /// Writes a message of the server.
    pub fn encode(self, message: &ServerMessage) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(message, &mut out);
        out
    }

    /// As [`Self::encode`], appended to `out`.
    pub fn encode_into(self, message: &ServerMessage, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::write(out, |fields| encode::server(fields, message)),
            Self::MessagePack => msgpack::write(out, |fields| encode::server(fields, message)),
        }
    }

    /// Writes a message of the server as a whole WebSocket frame.
    pub fn encode_frame(self, message: &ServerMessage) -> Bytes {
        frame::frame_of(self.opcode(), |body| self.encode_into(message, body))
    }

    /// Appends an `update` to `out`: the hot path. The bytes are those of [`Self::encode`].
    pub fn encode_update(self, update: &UpdateRef<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::write(out, |fields| encode::update(fields, None, update)),
            Self::MessagePack => msgpack::write(out, |fields| encode::update(fields, None, update)),
        }
    }

    /// Reads a frame of the server, as clients do. Messages of a type that this version does not know are left out, as
    /// the protocol asks of clients, so the result may be empty.
    pub fn decode_server(self, body: &[u8]) -> Result<Vec<ServerMessage>, DecodeError> {
        match self {
            Self::Json => json::decode_server(body),
            Self::MessagePack => msgpack::decode_server(body),
        }
    }
}

/// A client could not read a frame of the server. One of the two does not speak this version of the protocol: end the
/// connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable message: {what}")]
pub struct DecodeError {
    what: String,
}

impl DecodeError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

#[cfg(test)]
mod tests;
