//! Frames as a server writes them (RFC 6455 section 5.2): final, unmasked, so that the same bytes serve every client.
//! Reading frames is left to the edge.

use bytes::Bytes;

use crate::close::CloseCode;
use crate::limits::MAX_CLOSE_REASON_BYTES;
use crate::text::cut;

/// What a frame is (RFC 6455 section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A later part of a message.
    Continuation = 0,
    /// A message in UTF-8.
    Text = 1,
    /// A message in bytes.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

/// The bit of a header's first byte that says that the message is compressed (RFC 7692 section 6).
pub const COMPRESSED: u8 = 0x40;

/// The longest header: two bytes and eight of length.
pub(crate) const MAX_HEADER_BYTES: usize = 10;

/// The header of a frame on the stack, and how many bytes of it are used.
pub(crate) fn header(opcode: Opcode, payload_len: usize) -> ([u8; MAX_HEADER_BYTES], usize) {
    let mut header = [0; MAX_HEADER_BYTES];
    header[0] = 0x80 | opcode as u8;
    let len = header_len(payload_len);
    if let (2, Ok(short)) = (len, u8::try_from(payload_len)) {
        header[1] = short;
    } else if let (4, Ok(medium)) = (len, u16::try_from(payload_len)) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
    }
    (header, len)
}

/// The length of the header before a payload of this length, in bytes.
pub(crate) fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of a final frame whose payload has `payload_len` bytes.
pub fn write_header(opcode: Opcode, payload_len: usize, out: &mut Vec<u8>) {
    let (header, len) = header(opcode, payload_len);
    out.extend_from_slice(&header[..len]);
}

/// A whole frame. The payload of a control frame is at most 125 bytes, which is the caller's to keep.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(header_len(payload.len()) + payload.len());
    write_header(opcode, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.into()
}

/// Room for most messages that are made one at a time: replies and errors.
const USUAL_BYTES: usize = 240;

/// A whole frame around the payload that `write` appends to what it is given.
pub(crate) fn frame_of(opcode: Opcode, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(MAX_HEADER_BYTES + USUAL_BYTES);
    out.extend_from_slice(&[0; MAX_HEADER_BYTES]);
    write(&mut out);
    let (header, len) = header(opcode, out.len() - MAX_HEADER_BYTES);
    let start = MAX_HEADER_BYTES - len;
    out[start..MAX_HEADER_BYTES].copy_from_slice(&header[..len]);
    Bytes::from(out).slice(start..)
}

/// The close frame of this code, with its reason.
pub fn close_frame(code: CloseCode) -> Bytes {
    close_frame_raw(code.code(), code.reason())
}

/// A close frame of any code; the reason is cut at 123 bytes, before a character that would not fit whole.
pub fn close_frame_raw(code: u16, reason: &str) -> Bytes {
    let reason = cut(reason, MAX_CLOSE_REASON_BYTES);
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    frame(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        let header = |len| {
            let mut out = Vec::new();
            write_header(Opcode::Text, len, &mut out);
            out
        };
        assert_eq!(header(0), [0x81, 0]);
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65_535), [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7() {
        assert_eq!(frame(Opcode::Text, b"Hello"), &b"\x81\x05Hello"[..]);
        assert_eq!(frame(Opcode::Ping, b"Hello"), &b"\x89\x05Hello"[..]);
        assert_eq!(frame(Opcode::Binary, &[0; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
    }

    #[test]
    fn a_frame_is_the_same_whether_its_payload_is_given_or_written_into_it() {
        for len in [0, 1, 125, 126, 300, 65_535, 65_536] {
            let payload = vec![b'x'; len];
            let written = frame_of(Opcode::Text, |out| out.extend_from_slice(&payload));
            assert_eq!(written, frame(Opcode::Text, &payload), "{len}");
        }
    }

    #[test]
    fn a_close_frame_is_a_control_frame_whatever_its_reason() {
        assert_eq!(close_frame(CloseCode::Normal), &b"\x88\x05\x03\xe8bye"[..]);
        let long = close_frame_raw(4400, &"é".repeat(100));
        assert_eq!(long[1], 124);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
