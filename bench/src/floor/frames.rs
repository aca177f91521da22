//! What clients of the floor send: the opening handshake (RFC 6455 section 4.2) and masked frames (section 5). Pure: bytes
//! in, messages out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// The longest request head, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;

/// What every server appends to a client's key (RFC 6455 section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// It, and how many bytes it took.
    Whole(T, usize),
    /// Its beginning, or nothing.
    Part,
    /// Something else.
    Wrong,
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Subscribe { channel: &'a [u8] },
    Publish { channel: &'a [u8], payload: &'a [u8] },
    Ping(&'a [u8]),
    Close,
}

/// Finds the request of a handshake; gives the answer to it.
pub(super) fn handshake(bytes: &[u8]) -> Found<String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() < MAX_HEAD {
            Found::Part
        } else {
            Found::Wrong
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut keys = headers.filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Key"));
    let Some((_, key)) = keys.next() else {
        return Found::Wrong;
    };
    let accept = accept(key.trim());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Found::Whole(answer, end + 4)
}

/// What proves that a client's key was understood (RFC 6455 section 4.2.2).
fn accept(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX);
    STANDARD.encode(digest.finalize())
}

/// Finds the message that the first frame holds, and takes off its mask. A message in several frames is wrong here.
pub(super) fn message(bytes: &mut [u8]) -> Found<Message<'_>> {
    let Some((opcode, length, header)) = header(bytes) else {
        return Found::Part;
    };
    let is_whole_and_masked = bytes[0] & 0xf0 == 0x80 && bytes[1] & 0x80 != 0;
    if !is_whole_and_masked || length > MAX_MESSAGE {
        return Found::Wrong;
    }
    let begin = header + 4;
    let Some((head, body)) = bytes
        .get_mut(..begin + length)
        .and_then(|frame| frame.split_at_mut_checked(begin))
    else {
        return Found::Part;
    };
    for (byte, mask) in body.iter_mut().zip(head[header..].iter().cycle()) {
        *byte ^= mask;
    }
    match understood(opcode, body) {
        Some(message) => Found::Whole(message, begin + length),
        None => Found::Wrong,
    }
}

fn understood(opcode: u8, body: &[u8]) -> Option<Message<'_>> {
    match opcode {
        1 | 2 => {}
        8 => return Some(Message::Close),
        9 => return Some(Message::Ping(body)),
        _ => return None,
    }
    if let Some(channel) = body.strip_prefix(b"sub ") {
        return Some(Message::Subscribe { channel });
    }
    let rest = body.strip_prefix(b"pub ")?;
    let space = memchr::memchr(b' ', rest)?;
    Some(Message::Publish {
        channel: &rest[..space],
        payload: &rest[space + 1..],
    })
}

/// Opcode, length of the body and length of the header without its mask; nothing before the header is complete.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, header) = match second & 0x7f {
        126 => (
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    // What does not fit is too long in any case.
    Some((
        first & 0x0f,
        usize::try_from(length).unwrap_or(usize::MAX),
        header,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_rfc_6455_section_1_3_is_answered_as_there() {
        let request = b"GET / HTTP/1.1\r\nhost: h\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nmore";
        let Found::Whole(answer, used) = handshake(request) else {
            panic!("it is whole");
        };
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(&request[used..], b"more");
        assert_eq!(handshake(&request[..60]), Found::Part);
        assert_eq!(handshake(b"GET / HTTP/1.1\r\n\r\n"), Found::Wrong);
        assert_eq!(handshake(&[b'x'; MAX_HEAD]), Found::Wrong);
    }

    #[test]
    fn messages_are_found_unmasked_and_only_when_they_are_whole() {
        let key = [1, 2, 3, 4];
        let masked = |body: &[u8]| {
            let mut frame = vec![0x81, 0xfe, 0, u8::try_from(body.len()).unwrap()];
            frame.extend(key);
            frame.extend(
                body.iter()
                    .zip(key.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask),
            );
            frame
        };
        let whole = masked(b"pub l.a {\"n\": 1}");
        let (channel, payload) = (&b"l.a"[..], &b"{\"n\": 1}"[..]);
        let length = whole.len();
        assert_eq!(
            message(&mut whole.clone()),
            Found::Whole(Message::Publish { channel, payload }, length)
        );
        for end in 0..length {
            assert_eq!(message(&mut whole[..end].to_vec()), Found::Part, "{end}");
        }
        let mut whole = masked(b"sub l.a");
        let Found::Whole(found, _) = message(&mut whole) else {
            panic!("it is whole");
        };
        assert_eq!(found, Message::Subscribe { channel: b"l.a" });
        assert_eq!(message(&mut masked(b"nothing")), Found::Wrong);
        assert_eq!(message(&mut b"\x81\x02hi".to_vec()), Found::Wrong);
        assert_eq!(
            message(&mut b"\x88\x80\0\0\0\0".to_vec()),
            Found::Whole(Message::Close, 6)
        );
    }
}
