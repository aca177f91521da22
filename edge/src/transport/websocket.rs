//! From the bytes of a socket to whole WebSocket messages (RFC 6455 sections 5 and 7).
//!
//! `fastwebsockets` reads the frames. It is given whole frames only, so its reader never waits and may
//! be dropped at any time, and a silent session holds no buffer at all. What it lets through is refused
//! here before it sees it: unmasked frames, lengths beyond the limit, reserved bits, control frames that
//! are too long; and behind it: interleaved messages, fragments without a total limit, illegal closes.

mod guard;

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use futures_util::FutureExt;
use tailwater_protocol::close::CloseCode;

use guard::Guarded;

/// What a client sent, as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A text message; its UTF-8 has been checked.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A ping, with what its pong must repeat.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The peer closes, with the code to echo, if it gave one.
    Close(Option<u16>),
}

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
    limit_bytes: usize,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    body: BytesMut,
    /// So many bytes of `body` are known to be UTF-8.
    checked: usize,
}

impl MessageReader {
    /// Takes messages of at most `limit_bytes`; a longer one is a violation with code 1009.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            partial: Vec::new(),
            fragments: None,
            limit_bytes,
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
        let used = self
            .fragments
            .as_ref()
            .map_or(0, |fragments| fragments.body.len());
        let Guarded {
            length,
            frames,
            violation,
        } = guard::whole_frames(bytes, self.limit_bytes, used);
        if frames > 0 {
            let whole = &bytes[..length];
            let (mut reader, _) = after_handshake_split(whole, tokio::io::sink(), Role::Server);
            reader.set_auto_close(false);
            reader.set_auto_pong(false);
            reader.set_max_message_size(usize::MAX);
            for _ in 0..frames {
                let frame = next_frame(&mut reader)?;
                messages.extend(self.accept(frame)?);
            }
        }
        violation.map_or(Ok(length), Err)
    }

    fn accept(&mut self, frame: Whole) -> Result<Option<Inbound>, Violation> {
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
                    Some(if text {
                        Inbound::Text(body)
                    } else {
                        Inbound::Binary(body)
                    })
                } else {
                    let mut fragments = Fragments {
                        text,
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
                if fragments.body.len() + body.len() > self.limit_bytes {
                    return Err(guard::TOO_LARGE);
                }
                fragments.body.extend_from_slice(&body);
                fragments.check(last)?;
                if last {
                    let body = fragments.body.freeze();
                    Some(if fragments.text {
                        Inbound::Text(body)
                    } else {
                        Inbound::Binary(body)
                    })
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
        if !self.text {
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
mod tests {
    use super::*;

    /// A client's frame, masked.
    pub(super) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = vec![first];
        match body.len() {
            length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(
            body.iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        frame
    }

    fn read(limit: usize, bytes: &[u8]) -> (Vec<Inbound>, Result<(), Violation>) {
        let mut messages = Vec::new();
        let result = MessageReader::new(limit).read(bytes, &mut messages);
        (messages, result)
    }

    fn text(body: &'static str) -> Inbound {
        Inbound::Text(Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn messages_come_whole_however_the_bytes_are_cut() {
        let mut bytes = frame(0x81, b"one");
        bytes.extend(frame(0x01, b"tw"));
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x80, "ö".as_bytes()));
        bytes.extend(frame(0x82, &[7; 300]));
        for step in 1..bytes.len() {
            let mut reader = MessageReader::new(1000);
            let mut messages = Vec::new();
            for piece in bytes.chunks(step) {
                reader.read(piece, &mut messages).unwrap();
            }
            let binary = Inbound::Binary(Bytes::from_static(&[7; 300]));
            let ping = Inbound::Ping(Bytes::from_static(b"ping"));
            assert_eq!(
                messages,
                [text("one"), ping, text("twö"), binary],
                "cut every {step} bytes"
            );
            assert_eq!(reader.partial.capacity(), 0, "a silent session holds no buffer");
        }
    }

    #[test]
    fn a_violation_has_the_close_code_of_the_rfc_and_spares_what_came_before() {
        let unmasked = vec![0x81, 2, b'h', b'i'];
        let mut long_text = frame(0x01, &[b'a'; 60]);
        long_text.extend(frame(0x00, &[b'a'; 60]));
        let mut interleaved = frame(0x01, b"a");
        interleaved.extend(frame(0x81, b"b"));
        let mut cut_character = frame(0x01, &"ö".as_bytes()[..1]);
        cut_character.extend(frame(0x00, b"x"));
        let cases: [(&str, Vec<u8>, u16); 13] = [
            ("unmasked", unmasked, 1002),
            ("reserved bit", frame(0xC1, b"x"), 1002),
            ("reserved opcode", frame(0x83, b"x"), 1002),
            ("fragmented ping", frame(0x09, b"x"), 1002),
            ("long ping", frame(0x89, &[0; 126]), 1002),
            ("long close", frame(0x88, &[0; 126]), 1002),
            ("half a close code", frame(0x88, &[3]), 1002),
            ("illegal close code", frame(0x88, &1005_u16.to_be_bytes()), 1002),
            ("continuation of nothing", frame(0x80, b"x"), 1002),
            ("interleaved", interleaved, 1002),
            ("invalid text", frame(0x81, &[0xff]), 1007),
            ("invalid fragmented text", cut_character, 1007),
            ("fragments beyond the limit", long_text, 1009),
        ];
        for (name, bytes, code) in cases {
            let mut all = frame(0x81, b"before");
            all.extend(bytes);
            let (messages, result) = read(100, &all);
            assert_eq!(messages.first(), Some(&text("before")), "{name}");
            assert_eq!(result.unwrap_err().code.code(), code, "{name}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
        let mut header = vec![0x82, 0x80 | 127];
        header.extend_from_slice(&(1_u64 << 40).to_be_bytes());
        assert_eq!(read(100, &header).1.unwrap_err().code, CloseCode::TooLarge);
        assert!(read(100, &frame(0x82, &[0; 100])).1.is_ok());
        assert_eq!(
            read(100, &frame(0x82, &[0; 101])).1.unwrap_err().code,
            CloseCode::TooLarge
        );
    }

    #[test]
    fn a_close_gives_its_code() {
        assert_eq!(read(100, &frame(0x88, &[])).0, [Inbound::Close(None)]);
        assert_eq!(
            read(100, &frame(0x88, &1000_u16.to_be_bytes())).0,
            [Inbound::Close(Some(1000))]
        );
        assert_eq!(
            read(100, &frame(0x88, &4242_u16.to_be_bytes())).0,
            [Inbound::Close(Some(4242))]
        );
    }
}
