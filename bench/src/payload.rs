//! What is published: a JSON string that carries its number behind a mark, so that it is found in whatever a server wraps
//! around it, in any codec, without decoding anything.

use memchr::memmem::Finder;

/// What stands before the number.
const MARK: &[u8; 2] = b"@@";

/// Digits of a number.
const DIGITS: usize = 10;

/// Mark and number.
const MARKED: usize = MARK.len() + DIGITS;

/// The shortest payload: mark and number in quotes.
pub(crate) const SHORTEST: usize = MARKED + 2;

/// A payload whose number can be changed.
pub(crate) struct Payload(Vec<u8>);

impl Payload {
    /// Of `size` bytes, and at least [`SHORTEST`].
    pub(crate) fn new(size: usize) -> Self {
        let mut text = vec![b'.'; size.max(SHORTEST)];
        text[1..=MARK.len()].copy_from_slice(MARK);
        if let [first, .., last] = text.as_mut_slice() {
            (*first, *last) = (b'"', b'"');
        }
        Self(text)
    }

    /// The payload with this number.
    pub(crate) fn numbered(&mut self, number: u32) -> &[u8] {
        let mut rest = number;
        for digit in self.0[1 + MARK.len()..][..DIGITS].iter_mut().rev() {
            *digit = b"0123456789"[(rest % 10) as usize];
            rest /= 10;
        }
        &self.0
    }
}

/// Finds numbers in messages. All messages of a run look alike, so it looks first where the last one was.
pub(crate) struct Numbers {
    finder: Finder<'static>,
    /// From one mark to the next at least, where a message holds several payloads.
    stride: usize,
    last: usize,
}

impl Numbers {
    /// For payloads of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        Self {
            finder: Finder::new(MARK),
            // A codec may leave the quotes away.
            stride: size.max(SHORTEST) - 2,
            last: 0,
        }
    }

    /// Hands over every number in a message; false if there is none.
    #[inline]
    pub(crate) fn each(&mut self, message: &[u8], mut each: impl FnMut(u32)) -> bool {
        let mut from = 0;
        let mut found = false;
        while message.len() >= from + MARKED {
            let rest = &message[from..];
            if rest.get(self.last..self.last + MARK.len()) != Some(MARK) {
                let Some(at) = self.finder.find(rest) else { break };
                self.last = at;
            }
            let Some(number) = rest
                .get(self.last + MARK.len()..self.last + MARKED)
                .and_then(decimal)
            else {
                break;
            };
            each(number);
            found = true;
            from += self.last + self.stride;
        }
        found
    }
}

fn decimal(digits: &[u8]) -> Option<u32> {
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers_in(size: usize, message: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        Numbers::new(size).each(message, |number| found.push(number));
        found
    }

    #[test]
    fn a_payload_is_json_of_its_size_and_carries_its_number() {
        for (number, size) in [(0, 0), (7, 128), (u32::MAX, 1000)] {
            let mut payload = Payload::new(size);
            let payload = payload.numbered(number);
            assert_eq!(payload.len(), size.max(SHORTEST));
            assert!(serde_json::from_slice::<String>(payload).is_ok());
            assert_eq!(numbers_in(size, payload), [number]);
        }
    }

    #[test]
    fn several_payloads_of_one_message_are_found_whatever_stands_between_them() {
        for size in [0, 64] {
            let mut message = b"MSG a 1 64\r\n".to_vec();
            for number in [8, 9, 10] {
                let mut payload = Payload::new(size);
                let text = payload.numbered(number);
                // As MessagePack holds it: without quotes.
                message.extend_from_slice(&text[1..text.len() - 1]);
                message.extend_from_slice(&b"\r\nMSG a 1 64\r\n"[..number as usize]);
            }
            assert_eq!(numbers_in(size, &message), [8, 9, 10]);
        }
    }

    #[test]
    fn what_has_no_whole_number_has_none() {
        for message in [
            &b""[..],
            b"@@",
            b"@@123",
            b"@@12345678x0",
            b"@@9999999999",
            b"no mark in here",
        ] {
            assert!(numbers_in(64, message).is_empty(), "{}", message.escape_ascii());
        }
    }
}
