//! What a connection is asked to do, and the lines that say so to the server.

use std::io::Write;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::requests::Pending;
use super::subscriptions::SubscriptionId;
use crate::error::BrokerError;

/// The longest subject, in bytes: with all that stands around it, a line stays below the 4,096 bytes
/// that servers take by default.
const MAX_SUBJECT: usize = 3072;

/// One thing to do.
pub(super) enum Command<S> {
    Subscribe {
        id: SubscriptionId,
        subject: Box<str>,
        state: S,
    },
    Unsubscribe(SubscriptionId),
    Publish(Publication),
    Request {
        number: u64,
        publication: Publication,
        pending: Pending,
    },
    /// Answered when the server has handled all that was sent before.
    Barrier(oneshot::Sender<Result<(), BrokerError>>),
}

/// Lines, ready to be sent, and their share of what may wait to be sent.
pub(super) struct Publication {
    pub(super) lines: Vec<u8>,
    pub(super) _share: OwnedSemaphorePermit,
}

/// What is to be published.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The subject.
    pub subject: &'a str,
    /// Names and values of its headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The payload.
    pub payload: &'a [u8],
}

impl Outgoing<'_> {
    /// Refuses what would not be one publication on one subject: what comes from outside may not add
    /// lines of its own.
    ///
    /// # Errors
    /// [`BrokerError::Malformed`] with what is wrong.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        check_subject(self.subject)?;
        for (name, value) in self.headers {
            let good_name = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            if name.is_empty() || !good_name || value.contains(['\r', '\n']) {
                return Err(BrokerError::Malformed("a header's name or value"));
            }
        }
        Ok(())
    }

    /// `PUB` or, with headers, `HPUB`.
    pub(super) fn lines(&self, reply: Option<&str>) -> Vec<u8> {
        let block = self.header_block();
        let size = block.len() + self.payload.len();
        let mut lines = Vec::with_capacity(self.subject.len() + size + 80);
        lines.extend_from_slice(if block.is_empty() { b"PUB " } else { b"HPUB " });
        lines.extend_from_slice(self.subject.as_bytes());
        if let Some(reply) = reply {
            lines.push(b' ');
            lines.extend_from_slice(reply.as_bytes());
        }
        if !block.is_empty() {
            write_number(&mut lines, block.len() as u64);
        }
        write_number(&mut lines, size as u64);
        lines.extend_from_slice(b"\r\n");
        lines.extend_from_slice(&block);
        lines.extend_from_slice(self.payload);
        lines.extend_from_slice(b"\r\n");
        lines
    }

    /// Bytes of headers and payload, which the server limits.
    pub(super) fn size(&self) -> usize {
        self.header_block().len() + self.payload.len()
    }

    fn header_block(&self) -> Vec<u8> {
        if self.headers.is_empty() {
            return Vec::new();
        }
        let mut block = b"NATS/1.0\r\n".to_vec();
        for (name, value) in self.headers {
            for part in [name, ": ", value, "\r\n"] {
                block.extend_from_slice(part.as_bytes());
            }
        }
        block.extend_from_slice(b"\r\n");
        block
    }
}

/// Refuses a subject that would not be one word of a line.
///
/// # Errors
/// [`BrokerError::Malformed`].
pub(super) fn check_subject(subject: &str) -> Result<(), BrokerError> {
    let blank = |byte: u8| byte <= b' ' || byte == 0x7f;
    if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.bytes().any(blank) {
        return Err(BrokerError::Malformed("a subject"));
    }
    Ok(())
}

pub(super) fn subscribe(out: &mut Vec<u8>, subject: &str, sid: u64) {
    out.extend_from_slice(b"SUB ");
    out.extend_from_slice(subject.as_bytes());
    write_number(out, sid);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn unsubscribe(out: &mut Vec<u8>, sid: u64) {
    out.extend_from_slice(b"UNSUB");
    write_number(out, sid);
    out.extend_from_slice(b"\r\n");
}

/// A blank and a number.
fn write_number(out: &mut Vec<u8>, number: u64) {
    write!(out, " {number}").expect("a vector takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_written_with_and_without_headers_and_reply() {
        let mut outgoing = Outgoing {
            subject: "a.b",
            headers: &[],
            payload: b"hi",
        };
        assert_eq!(outgoing.lines(None), b"PUB a.b 2\r\nhi\r\n");
        assert_eq!(outgoing.lines(Some("r")), b"PUB a.b r 2\r\nhi\r\n");
        outgoing.headers = &[("K", "v")];
        let lines = outgoing.lines(Some("r"));
        assert_eq!(lines, b"HPUB a.b r 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n");
        assert_eq!(outgoing.size(), 20);
    }

    #[test]
    fn nobody_can_add_lines_of_their_own() {
        for subject in ["", "a b", "a\r\nPING", "a\tb", "a\u{7f}", &"a".repeat(4000)] {
            assert!(check_subject(subject).is_err());
        }
        assert!(check_subject("a.\u{e9}.>").is_ok());
        for header in [
            ("", "v"),
            ("a b", "v"),
            ("a:", "v"),
            ("a", "v\r\nB: c"),
            ("a\n", "v"),
        ] {
            let headers = &[header];
            let outgoing = Outgoing {
                subject: "a",
                headers,
                payload: b"",
            };
            assert!(matches!(outgoing.check(), Err(BrokerError::Malformed(_))));
        }
    }

    #[test]
    fn subscriptions_are_written_by_number() {
        let mut out = Vec::new();
        subscribe(&mut out, "a.*", 7);
        unsubscribe(&mut out, 7);
        assert_eq!(out, b"SUB a.* 7\r\nUNSUB 7\r\n");
    }
}
