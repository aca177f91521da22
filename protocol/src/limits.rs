//! The sizes that the protocol itself fixes. What an operator may tune (message size, channels per session, rates)
//! stands in the edge's configuration instead.

/// The protocol's version, as `connected` states it and as the subprotocol names carry it.
pub const PROTOCOL_VERSION: u32 = 1;

/// Longest channel or pattern, in bytes.
pub const MAX_CHANNEL_BYTES: usize = 255;

/// Most tokens of a channel or pattern.
pub const MAX_CHANNEL_TOKENS: usize = 16;

/// Deepest nesting of arrays and objects in a payload, in levels. Published JSON that is deeper is delivered as text;
/// in a command it is refused.
pub const MAX_JSON_DEPTH: usize = 128;

/// Longest `publish.key`, in bytes.
pub const MAX_KEY_BYTES: usize = 64;

/// Longest epoch, in bytes.
pub const MAX_EPOCH_BYTES: usize = 64;

/// Longest `connect.client`, in bytes.
pub const MAX_CLIENT_BYTES: usize = 256;

/// Offsets are below this: 2^53, so that every one is exact in a JavaScript number.
pub const OFFSET_LIMIT: u64 = 1 << 53;

/// Most commands that a client may batch into one frame.
pub const MAX_COMMANDS_PER_FRAME: usize = 1024;

/// Most publications that a client may ask of one `history` page. A page may hold fewer.
pub const MAX_HISTORY_LIMIT: u32 = 1000;

/// Publications of a `history` page when the command names no limit.
pub const DEFAULT_HISTORY_LIMIT: u32 = 100;

/// Most subjects that `latest` over a pattern may deliver; above it the answer is `limit`.
pub const MAX_LATEST_SUBJECTS: usize = 1000;

/// Longest `error.message` about a command, in bytes: what a client sent is quoted back at most this far.
pub const MAX_ERROR_MESSAGE_BYTES: usize = 512;

/// Longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL_BYTES: usize = 125;

/// Longest reason in a close frame, in bytes: a control frame less its two bytes of code (RFC 6455 section 5.5.1).
pub const MAX_CLOSE_REASON_BYTES: usize = 123;
