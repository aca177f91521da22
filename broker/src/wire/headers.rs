//! Header blocks (NATS ADR-4), read in place: no allocation, no failure.
//!
//! Anybody who may publish decides what stands in a block, and the server passes it on unchecked. So a
//! line that is no header is skipped, and bytes that are no UTF-8 are handed on as bytes.
//!
//! JetStream *appends* its own headers to the publisher's when it republishes or answers a direct get:
//! of a header that stands there twice, the **last** value is the server's and the others are forged.

/// The header block of a message; empty if it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

/// What the server says in the first line of a header block, as in `NATS/1.0 503 No Responders`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// Three digits, as in HTTP.
    pub code: u16,
    /// What follows the digits, trimmed; may be empty.
    pub description: &'a [u8],
}

impl<'a> Headers<'a> {
    /// The block as it came, from `NATS/1.0` to the empty line.
    pub fn new(block: &'a [u8]) -> Self {
        Self(block)
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether the message has no headers.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The last value of the header `name`, without the white space around it. Letters are compared
    /// whatever their case.
    pub fn last(self, name: &str) -> Option<&'a [u8]> {
        let [value] = self.last_of_each([name]);
        value
    }

    /// The last value of each header in `names`, in one pass from the end of the block: what a server
    /// has appended is found before anything else is looked at.
    pub fn last_of_each<const N: usize>(self, names: [&str; N]) -> [Option<&'a [u8]>; N] {
        let mut values = [None; N];
        let mut missing = N;
        for line in self.lines_from_the_end() {
            for (name, value) in names.iter().zip(&mut values) {
                if value.is_none()
                    && let Some(found) = value_of(line, name.as_bytes())
                {
                    *value = Some(found);
                    missing -= 1;
                }
            }
            if missing == 0 {
                break;
            }
        }
        values
    }

    /// The last value of the header `name` as a decimal number; nothing if it is none.
    pub fn last_number(self, name: &str) -> Option<u64> {
        self.last(name).and_then(number)
    }

    /// The status in the first line, if there is one.
    pub fn status(self) -> Option<Status<'a>> {
        let line = self.0.split(|byte| *byte == b'\n').next()?;
        let rest = line.strip_prefix(b"NATS/1.0")?.trim_ascii_start();
        let (digits, description) = rest.split_at_checked(3)?;
        if description
            .first()
            .is_some_and(|byte| !byte.is_ascii_whitespace())
        {
            return None;
        }
        Some(Status {
            code: u16::try_from(number(digits)?).ok()?,
            description: description.trim_ascii(),
        })
    }

    /// The lines below the first, last one first.
    fn lines_from_the_end(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            // The line that begins the block is its version and status, never a header.
            let newline = memchr::memrchr(b'\n', rest)?;
            let line = &rest[newline + 1..];
            rest = &rest[..newline];
            Some(line)
        })
    }
}

/// The value, if `line` is `name: value`.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    if line.get(name.len()) != Some(&b':') {
        return None;
    }
    let (start, value) = (&line[..name.len()], &line[name.len() + 1..]);
    // Servers write the names as we do, and that is quicker to see.
    (start == name || start.eq_ignore_ascii_case(name)).then(|| value.trim_ascii())
}

/// A decimal number of ASCII digits alone.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPUBLISHED: &[u8] = b"NATS/1.0\r\nX-App: v\r\nNats-Sequence: 999\r\nNats-Stream: T\r\n\
        Nats-Subject: ch.a\r\nNats-Sequence: 4\r\nNats-Time-Stamp: 2026-11-22T13:57:39Z\r\n\
        Nats-Last-Sequence: 3\r\n\r\n";

    #[test]
    fn the_last_value_counts_so_that_a_forged_one_in_front_does_not() {
        let headers = Headers::new(REPUBLISHED);
        assert_eq!(headers.last("Nats-Sequence"), Some(&b"4"[..]));
        assert_eq!(headers.last_number("nats-last-SEQUENCE"), Some(3));
        assert_eq!(headers.last("X-App"), Some(&b"v"[..]));
        assert_eq!(headers.last("Nats"), None);
        assert_eq!(
            headers.last_of_each(["Nats-Subject", "Nats-Msg-Id", "Nats-Stream"]),
            [Some(&b"ch.a"[..]), None, Some(&b"T"[..])]
        );
    }

    #[test]
    fn lines_that_are_no_headers_are_skipped() {
        let headers =
            Headers::new(b"NATS/9.9 what\r\nno colon\r\n\xff\xfe: \xe9\r\na b: c\r\n:\r\nK:  v \t\r\nJ:\n");
        assert_eq!(headers.last("K"), Some(&b"v"[..]));
        assert_eq!(headers.last("J"), Some(&b""[..]));
        assert_eq!(headers.last("a b"), Some(&b"c"[..]));
        assert_eq!(headers.last("NATS/9.9 what"), None);
        assert_eq!(headers.status(), None);
    }

    #[test]
    fn the_first_line_may_carry_a_status() {
        let status = |block: &'static [u8]| {
            Headers::new(block)
                .status()
                .map(|status| (status.code, status.description))
        };
        assert_eq!(status(b"NATS/1.0 503\r\n\r\n"), Some((503, &b""[..])));
        assert_eq!(
            status(b"NATS/1.0 204 EOB\r\nA: b\r\n\r\n"),
            Some((204, &b"EOB"[..]))
        );
        assert_eq!(
            status(b"NATS/1.0 404 Message Not Found\r\n"),
            Some((404, &b"Message Not Found"[..]))
        );
        for none in [
            &b"NATS/1.0\r\n\r\n"[..],
            b"NATS/1.0 abc\r\n",
            b"NATS/1.0 5030\r\n",
            b"NATS/1.0 50",
            b"",
        ] {
            assert_eq!(Headers::new(none).status(), None, "{}", none.escape_ascii());
        }
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b"18446744073709551616"[..], b"", b"-1", b"+1", b" 1", b"1a"] {
            assert_eq!(number(bad), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(block: Vec<u8>, name in "[A-Za-z-]{0,12}") {
            let headers = Headers::new(&block);
            headers.last(&name);
            headers.status();
        }

        #[test]
        fn an_appended_header_is_found_behind_any_block(block: Vec<u8>, value in "[!-~]{1,20}") {
            let mut block = block;
            block.extend_from_slice(b"\r\nNats-Sequence: ");
            block.extend_from_slice(value.as_bytes());
            block.extend_from_slice(b"\r\n\r\n");
            prop_assert_eq!(Headers::new(&block).last("Nats-Sequence"), Some(value.as_bytes()));
        }
    }
}
