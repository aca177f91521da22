//! From the bytes of a socket to whole WebSocket messages (RFC 6455 sections 5 and 7).
//!
//! `fastwebsockets` reads the frames. It is given whole frames only, so its reader never waits and may
//! be dropped at any time, and a silent session holds no buffer at all. What it lets through is refused
//! here before it sees it: unmasked frames, lengths beyond the limit, reserved bits, control frames that
//! are too long; and behind it: interleaved messages, fragments without a total limit, illegal closes.
//!
//! It knows no extensions: the first frame of a compressed message (RFC 7692 section 6) is given to it alone, as a binary
//! frame without the mark. Whoever acts on the message inflates it, one at a time.

mod guard;
mod inbound;

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use futures_util::FutureExt;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::frame::{COMPRESSED, Opcode};

use guard::{Guarded, Next};
pub(crate) use inbound::Inbound;

/// A breach of RFC 6455 that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The close code that the RFC asks for.
    pub(crate) code: CloseCode,
    /// What the peer did, for the close frame's reason.
    pub(crate) reason: &'static str,
}

impl Violation {
    const fn protocol(reason: &'static str) -> Self {
        Self {
            code: CloseCode::ProtocolError,
            reason,
        }
    }

    const NOT_UTF8: Self = Self {
        code: CloseCode::InvalidUtf8,
        reason: "a text message is not UTF-8",
    };
}

/// Reads the messages of one connection.
#[derive(Debug)]
pub(crate) struct MessageReader {
    /// The start of a frame whose rest has not come; at most one frame.
    partial: Vec<u8>,
    /// The message whose first fragments have come.
    fragments: Option<Box<Fragments>>,
    limit_bytes: u32,
    /// Compressed messages were agreed on.
    deflate: bool,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    deflated: bool,
    body: BytesMut,
    /// So many bytes of `body` are known to be UTF-8.
    checked: usize,
}

impl MessageReader {
    /// Takes messages of at most `limit_bytes`, below 4 GiB; a longer one is a violation with code 1009. Compressed ones
    /// are a violation unless `deflate` says that they were agreed on.
    pub(crate) fn new(limit_bytes: usize, deflate: bool) -> Self {
        Self {
            partial: Vec::new(),
            fragments: None,
            // No wider, so that a silent session does not grow by the flag.
            limit_bytes: u32::try_from(limit_bytes).unwrap_or(u32::MAX),
            deflate,
        }
    }

    /// Adds what the socket gave and appends all that is whole now to `messages`.
    ///
    /// # Errors
    /// The first violation; nothing may be read after it. What was whole before it is in `messages`.
    pub(crate) fn read(&mut self, bytes: &[u8], messages: &mut Vec<Inbound>) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let consumed = self.read_frames(bytes, messages)?;
            self.partial.extend_from_slice(&bytes[consumed..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let gathered = std::mem::take(&mut self.partial);
            let consumed = self.read_frames(&gathered, messages)?;
            self.partial = if consumed == 0 {
                gathered
            } else {
                gathered[consumed..].to_vec()
            };
        }
        Ok(())
    }

    /// Reads the whole frames at the start of `bytes` and says how many bytes they have.
    fn read_frames(&mut self, bytes: &[u8], messages: &mut Vec<Inbound>) -> Result<usize, Violation> {
        let mut consumed = 0;
        loop {
            let rest = &bytes[consumed..];
            let used = self
                .fragments
                .as_ref()
                .map_or(0, |fragments| fragments.body.len());
            let limit = self.limit_bytes as usize;
            let Guarded { length, frames, next } = guard::whole_frames(rest, limit, used, self.deflate);
            if frames > 0 {
                let mut reader = reader(&rest[..length]);
                for _ in 0..frames {
                    let frame = next_frame(&mut reader)?;
                    messages.extend(self.accept(frame, false)?);
                }
            }
            consumed += length;
            match next {
                Next::Incomplete => return Ok(consumed),
                Next::Illegal(violation) => return Err(violation),
                Next::Deflated(length) => {
                    let frame = deflated_frame(&bytes[consumed..][..length])?;
                    messages.extend(self.accept(frame, true)?);
                    consumed += length;
                }
            }
        }
    }

    /// Takes a frame, which begins a compressed message if `deflated` says so.
    fn accept(&mut self, frame: Whole, deflated: bool) -> Result<Option<Inbound>, Violation> {
        let Whole { last, opcode, body } = frame;
        Ok(match opcode {
            OpCode::Ping => Some(Inbound::Ping(body)),
            OpCode::Pong => Some(Inbound::Pong),
            OpCode::Close => Some(Inbound::Close(close_code(&body)?)),
            OpCode::Text | OpCode::Binary => {
                if self.fragments.is_some() {
                    return Err(Violation::protocol("a new message began inside a fragmented one"));
                }
                let text = opcode == OpCode::Text;
                if last {
                    Some(Inbound::of(text, deflated, body))
                } else {
                    let mut fragments = Fragments {
                        text,
                        deflated,
                        body: BytesMut::from(&body[..]),
                        checked: 0,
                    };
                    fragments.check(false)?;
                    self.fragments = Some(Box::new(fragments));
                    None
                }
            }
            OpCode::Continuation => {
                let Some(mut fragments) = self.fragments.take() else {
                    return Err(Violation::protocol("a continuation without a message"));
                };
                if fragments.body.len() + body.len() > self.limit_bytes as usize {
                    return Err(guard::TOO_LARGE);
                }
                fragments.body.extend_from_slice(&body);
                fragments.check(last)?;
                if last {
                    let body = fragments.body.freeze();
                    Some(Inbound::of(fragments.text, fragments.deflated, body))
                } else {
                    self.fragments = Some(fragments);
                    None
                }
            }
        })
    }
}

impl Fragments {
    /// Fails as soon as no continuation could make the text valid.
    fn check(&mut self, last: bool) -> Result<(), Violation> {
        if !self.text || self.deflated {
            return Ok(());
        }
        match std::str::from_utf8(&self.body[self.checked..]) {
            Ok(_) => self.checked = self.body.len(),
            Err(error) if last || error.error_len().is_some() => return Err(Violation::NOT_UTF8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

/// One frame, unmasked.
struct Whole {
    last: bool,
    opcode: OpCode,
    body: Bytes,
}

/// The first frame of a compressed message. A copy of it is read, without the mark, and as a binary one: its bytes are no
/// text yet.
fn deflated_frame(bytes: &[u8]) -> Result<Whole, Violation> {
    let mut bytes = bytes.to_vec();
    let text = bytes[0] & 0x0f == Opcode::Text as u8;
    bytes[0] = bytes[0] & !(COMPRESSED | 0x0f) | Opcode::Binary as u8;
    let frame = next_frame(&mut reader(&bytes))?;
    let opcode = if text { OpCode::Text } else { OpCode::Binary };
    Ok(Whole { opcode, ..frame })
}

/// A reader of frames that are known to be whole.
fn reader(frames: &[u8]) -> WebSocketRead<&[u8]> {
    let (mut reader, _) = after_handshake_split(frames, tokio::io::sink(), Role::Server);
    reader.set_auto_close(false);
    reader.set_auto_pong(false);
    reader.set_max_message_size(usize::MAX);
    reader
}

/// The next of the frames that are known to be whole.
fn next_frame(reader: &mut WebSocketRead<&[u8]>) -> Result<Whole, Violation> {
    let mut never = |_: Frame<'_>| std::future::ready(Ok::<(), WebSocketError>(()));
    match reader.read_frame(&mut never).now_or_never() {
        Some(Ok(frame)) => Ok(Whole {
            last: frame.fin,
            opcode: frame.opcode,
            body: Bytes::copy_from_slice(&frame.payload),
        }),
        Some(Err(WebSocketError::InvalidUTF8)) => Err(Violation::NOT_UTF8),
        // The guard has let whole, legal frames through: anything else is a disagreement about the RFC.
        Some(Err(_)) | None => Err(Violation::protocol("a malformed frame")),
    }
}

/// The code of a close frame's body (RFC 6455 sections 5.5.1 and 7.4).
fn close_code(body: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = body.split_at_checked(2) else {
        return match body {
            [] => Ok(None),
            _ => Err(Violation::protocol("a close frame with half a code")),
        };
    };
    let code = u16::from_be_bytes([code[0], code[1]]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol("a close code that may not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation {
            code: CloseCode::InvalidUtf8,
            reason: "a close reason is not UTF-8",
        });
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests;
