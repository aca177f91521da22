//! WebSocket frames as a client sends and receives them (RFC 6455 section 5.2). It believes the server; what checks a
//! server's manners are the tests.

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The whole frames at the beginning of what was read: opcode and body of each.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    used: usize,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, used: 0 }
    }

    /// Where the last frame that was handed over ends.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.used..];
        let (opcode, header, length) = header(rest)?;
        let body = rest.get(header..header.checked_add(length)?)?;
        self.used += header + length;
        Some((opcode, body))
    }
}

/// Opcode, length of the header and length of the body; nothing before the header is complete.
#[inline]
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (header, length) = match second {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    Some((first & 0x0f, header, usize::try_from(length).ok()?))
}

/// A client's frame: masked, as it must be, with a key that changes nothing.
pub(crate) fn masked(opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_three_forms_are_read() {
        assert_eq!(header(b"\x81\x05Hello"), Some((TEXT, 2, 5)));
        assert_eq!(header(b"\x82\x7e\x01\x00"), Some((BINARY, 4, 256)));
        assert_eq!(header(b"\x81\x7f\0\0\0\0\0\x01\0\0"), Some((TEXT, 10, 65_536)));
        for short in [&b""[..], b"\x81", b"\x81\x7e\x01", b"\x81\x7f\0\0\0\0\0\x01\0"] {
            assert_eq!(header(short), None);
        }
    }

    #[test]
    fn only_whole_frames_are_handed_over() {
        let mut frames = Frames::new(b"\x81\x02hi\x89\x00\x82\x03ab");
        assert_eq!(frames.next(), Some((TEXT, &b"hi"[..])));
        assert_eq!(frames.next(), Some((PING, &b""[..])));
        assert_eq!((frames.next(), frames.used()), (None, 6));
    }

    #[test]
    fn what_is_sent_is_masked() {
        assert_eq!(masked(TEXT, b"hi"), b"\x81\x82\0\0\0\0hi");
        assert_eq!(masked(TEXT, &[b'x'; 126])[..4], [0x81, 0xfe, 0, 126]);
        assert_eq!(masked(TEXT, &[b'x'; 65_536])[..2], [0x81, 0xff]);
    }
}
