//! `Encoding`: in which form a subscriber gets updates. Updates are encoded once for each form that somebody on the
//! channel gets, and shared by all who get it.

use crate::codec::Codec;

/// The form of the updates that a subscriber gets. Replies and other messages of its own are never compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// How messages are written.
    pub codec: Codec,
    /// Whether they are compressed where that makes them smaller: only if the client has agreed to `permessage-deflate`
    /// (RFC 7692 section 7) and the namespace wants it.
    pub deflated: bool,
}

impl Encoding {
    /// Every encoding; those without compression first.
    pub const ALL: [Self; 4] = [
        Self::plain(Codec::Json),
        Self::plain(Codec::MessagePack),
        Self::deflated(Codec::Json),
        Self::deflated(Codec::MessagePack),
    ];

    /// The codec, without compression.
    pub const fn plain(codec: Codec) -> Self {
        Self {
            codec,
            deflated: false,
        }
    }

    /// The codec, compressed.
    pub const fn deflated(codec: Codec) -> Self {
        Self {
            codec,
            deflated: true,
        }
    }

    /// The encodings of a channel that compresses, or of one that does not.
    pub fn of_channel(compress: bool) -> &'static [Self] {
        if compress {
            &Self::ALL
        } else {
            &Self::ALL[..Codec::ALL.len()]
        }
    }
}

impl From<Codec> for Encoding {
    fn from(codec: Codec) -> Self {
        Self::plain(codec)
    }
}
