//! `Encoding`: in which form a subscriber gets what the server says. Updates are encoded once for each form that somebody
//! on the channel gets, and shared by all who get it.

use std::hash::{Hash, Hasher};

use bytes::Bytes;

use crate::codec::Codec;
use crate::event_stream;
use crate::frame::{self, Opcode};
use crate::message::{ServerBody, ServerMessage};
use crate::push::Push;
use crate::reply::{Reply, Subscribed};

/// What stands around each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// A WebSocket frame.
    Frames,
    /// A WebSocket frame, compressed where that makes an update smaller: only if the client has agreed to
    /// `permessage-deflate` (RFC 7692 section 7) and the namespace wants it. Other messages are never compressed.
    Deflated,
    /// A server-sent event without an id.
    Events,
    /// A server-sent event; what has a place in a stream has that as its id.
    EventsWithIds,
}

/// The form in which a subscriber gets what the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// How messages are written. Events are JSON.
    pub codec: Codec,
    /// What stands around each.
    pub framing: Framing,
}

impl Encoding {
    /// Server-sent events without ids.
    pub const EVENTS: Self = Self {
        codec: Codec::Json,
        framing: Framing::Events,
    };

    /// Server-sent events with ids, for streams of one channel.
    pub const EVENTS_WITH_IDS: Self = Self {
        codec: Codec::Json,
        framing: Framing::EventsWithIds,
    };

    /// Every encoding; those without compression first.
    pub const ALL: [Self; 6] = [
        Self::plain(Codec::Json),
        Self::plain(Codec::MessagePack),
        Self::EVENTS,
        Self::EVENTS_WITH_IDS,
        Self::deflated(Codec::Json),
        Self::deflated(Codec::MessagePack),
    ];

    /// WebSocket frames without compression.
    pub const fn plain(codec: Codec) -> Self {
        Self {
            codec,
            framing: Framing::Frames,
        }
    }

    /// WebSocket frames, compressed.
    pub const fn deflated(codec: Codec) -> Self {
        Self {
            codec,
            framing: Framing::Deflated,
        }
    }

    /// The encodings of a channel that compresses, or of one that does not.
    pub fn of_channel(compress: bool) -> &'static [Self] {
        if compress { &Self::ALL } else { &Self::ALL[..4] }
    }

    /// The same, without compression.
    #[must_use]
    pub fn uncompressed(self) -> Self {
        match self.framing {
            Framing::Deflated => Self::plain(self.codec),
            _ => self,
        }
    }

    /// Whether updates are compressed.
    pub fn is_deflated(self) -> bool {
        self.framing == Framing::Deflated
    }

    /// Whether messages are server-sent events.
    pub fn is_events(self) -> bool {
        matches!(self.framing, Framing::Events | Framing::EventsWithIds)
    }

    /// Writes a message of the server with what stands around it.
    pub fn encode(self, message: &ServerMessage) -> Bytes {
        match self.framing {
            Framing::Frames | Framing::Deflated => self.codec.encode_frame(message),
            Framing::Events => event_stream::event(None, |out| self.codec.encode_into(message, out)),
            Framing::EventsWithIds => {
                let place = match &message.body {
                    ServerBody::Reply(Reply::Subscribed(Subscribed {
                        offset: Some(offset),
                        epoch: Some(epoch),
                        ..
                    }))
                    | ServerBody::Push(Push::Position { offset, epoch, .. }) => Some((epoch, *offset)),
                    _ => None,
                };
                event_stream::event(place, |out| self.codec.encode_into(message, out))
            }
        }
    }

    /// The last that a client is told: why the connection ends.
    pub fn close(self, code: u16, reason: &str) -> Bytes {
        if self.is_events() {
            event_stream::close(code, reason)
        } else {
            frame::close_frame_raw(code, reason)
        }
    }

    /// What shows that the connection lives; a WebSocket client answers it.
    pub fn ping(self) -> Bytes {
        if self.is_events() {
            event_stream::comment("")
        } else {
            frame::frame(Opcode::Ping, &[])
        }
    }
}

/// In one byte: encodings are part of the keys of each join and each batch.
impl Hash for Encoding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8((self.codec as u8) << 4 | self.framing as u8);
    }
}

impl From<Codec> for Encoding {
    fn from(codec: Codec) -> Self {
        Self::plain(codec)
    }
}
