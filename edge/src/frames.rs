//! Messages as whole WebSocket frames, ready to be written.

use bytes::Bytes;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::frame;
use tailwater_protocol::message::ServerMessage;

/// A message of the server as one frame of `codec`'s kind.
pub(crate) fn message(codec: Codec, message: impl Into<ServerMessage>) -> Bytes {
    frame::frame(codec.opcode(), &codec.encode(&message.into()))
}
