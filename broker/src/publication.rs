//! One publication of a stream, as JetStream hands it out: republished as it is stored, or read back by a direct get.
//!
//! The publisher's own headers stand in front, and JetStream appends its own: of each header the last value counts
//! (see [`Headers`](crate::wire::Headers)). Nothing here copies a payload.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memchr::memmem;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::position::Offset;
use tailwater_protocol::push::{Deleted, UpdateRef};

use crate::subject::SubjectPrefix;
use crate::trace::TraceParent;
use crate::wire::{Headers, OwnedMessage, number};

/// One publication of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication<'a> {
    /// The stream that it is in.
    pub(crate) stream: &'a [u8],
    /// What it was published on.
    pub(crate) subject: &'a str,
    /// Its sequence in the stream.
    pub(crate) offset: Offset,
    /// Where the server says the last message was. Republished: of the same subject, 0 if none is stored. Read back:
    /// of the same answer.
    pub(crate) previous: u64,
    /// When it was stored: RFC 3339 with up to nine digits of fraction. Empty before nats-server 2.10.
    time: &'a [u8],
    payload: &'a [u8],
    headers: Headers<'a>,
    deleted: Option<Deleted>,
}

impl<'a> Publication<'a> {
    /// Reads the headers; nothing if they are not those that JetStream appends.
    pub(crate) fn read(headers: Headers<'a>, payload: &'a [u8]) -> Option<Self> {
        let [stream, subject, sequence, time, previous] = headers.last_of_each([
            "Nats-Stream",
            "Nats-Subject",
            "Nats-Sequence",
            "Nats-Time-Stamp",
            "Nats-Last-Sequence",
        ]);
        let subject = subject?;
        let stream = stream.filter(|stream| is_the_servers(stream, subject));
        Some(Self {
            stream: stream.or_else(|| behind_a_broken_line(headers))?,
            subject: std::str::from_utf8(subject).ok()?,
            offset: Offset::new(number(sequence?)?).ok()?,
            previous: previous.and_then(number).unwrap_or(0),
            time: time.unwrap_or_default(),
            payload,
            headers,
            // Only what has no payload can be a marker, so that others are not searched for the header.
            deleted: payload.is_empty().then(|| deleted(headers)).flatten(),
        })
    }

    /// As [`Publication::read`], of an answer to a direct get.
    pub(crate) fn of(message: &'a OwnedMessage) -> Option<Self> {
        Self::read(message.headers(), &message.payload)
    }

    /// The payload as it was published.
    pub(crate) fn payload(&self) -> PayloadRef<'a> {
        PayloadRef::classify(self.payload)
    }

    /// As [`Publication::payload`], as bytes.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.payload
    }

    /// What it deletes, if it is a marker.
    pub(crate) fn deleted(&self) -> Option<Deleted> {
        self.deleted
    }

    /// When it was stored, as clients read it; `text` holds it.
    pub(crate) fn time<'t>(&self, text: &'t mut TimeText) -> Option<&'t str> {
        milliseconds(self.time, text)
    }

    /// When it was stored, by the clock of the server that leads the stream.
    pub(crate) fn stored_at(&self) -> Option<SystemTime> {
        instant(self.time)
    }

    /// Its publisher's `traceparent`.
    pub(crate) fn trace(&self) -> Option<&'a str> {
        TraceParent::of(self.headers).map(|(text, _)| text)
    }

    /// The concrete channel.
    pub(crate) fn channel(&self, prefix: &SubjectPrefix) -> Option<&'a str> {
        prefix.channel(self.subject)
    }

    /// The update for those who subscribe to `channel`; `time` holds its time.
    pub(crate) fn update<'u>(
        &self,
        channel: &'u Channel,
        prefix: &SubjectPrefix,
        time: &'u mut TimeText,
    ) -> UpdateRef<'u>
    where
        'a: 'u,
    {
        UpdateRef {
            subject: channel.is_wildcard().then(|| self.channel(prefix)).flatten(),
            offset: Some(self.offset),
            time: self.time(time),
            deleted: self.deleted,
            ..UpdateRef::new(channel, self.payload())
        }
    }
}

/// Room for a time with milliseconds.
pub(crate) type TimeText = [u8; 24];

/// Whether the name of a stream was written by the server: it stands on the line before the subject, and alone there. A
/// name holds no space; a value that does begins on a line of the publisher's that has no end.
fn is_the_servers(stream: &[u8], subject: &[u8]) -> bool {
    const BETWEEN: usize = b"\r\nNats-Subject: ".len();
    let is_right_before = stream.as_ptr() as usize + stream.len() + BETWEEN == subject.as_ptr() as usize;
    is_right_before && !stream.contains(&b' ')
}

/// The name of the stream, where the publisher's block has no end of line: the server appends its own first header to
/// the publisher's last one.
fn behind_a_broken_line(headers: Headers<'_>) -> Option<&[u8]> {
    const NAME: &[u8] = b"Nats-Stream: ";
    let block = headers.as_bytes();
    let value = &block[memmem::rfind(block, NAME)? + NAME.len()..];
    Some(&value[..memmem::find(value, b"\r\n")?])
}

/// The server's marker for a subject whose last message is gone (NATS ADR-43).
fn deleted(headers: Headers<'_>) -> Option<Deleted> {
    match headers.last("Nats-Marker-Reason")? {
        b"MaxAge" => Some(Deleted::MaxAge),
        b"Purge" | b"Remove" => Some(Deleted::Purge),
        _ => None,
    }
}

/// `2026-11-22T13:57:39.5642999Z` with three digits of fraction. The server leaves out zeros at the end.
fn milliseconds<'t>(time: &[u8], text: &'t mut TimeText) -> Option<&'t str> {
    let (seconds, fraction) = time.split_at_checked(19)?;
    let fraction = fraction.strip_suffix(b"Z")?;
    text.copy_from_slice(b"0000-00-00T00:00:00.000Z");
    text[..19].copy_from_slice(seconds);
    for (place, digit) in text[20..23].iter_mut().zip(fraction.iter().skip(1)) {
        *place = *digit;
    }
    std::str::from_utf8(text).ok()
}

/// The time that `2026-11-22T13:57:39.5642999Z` names, to the millisecond.
fn instant(time: &[u8]) -> Option<SystemTime> {
    let mut text = TimeText::default();
    let text = milliseconds(time, &mut text)?.as_bytes();
    let number = |digits: Range<usize>| {
        text[digits].iter().try_fold(0_u64, |number, digit| {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
            Some(number * 10 + u64::from(digit))
        })
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // Years that begin in March, so that the day that some of them have is their last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day.checked_sub(1)?;
    let days = days.checked_sub(719_468)?;
    let seconds = ((days * 24 + number(11..13)?) * 60 + number(14..16)?) * 60 + number(17..19)?;
    Some(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + number(20..23)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGED: &[u8] = b"NATS/1.0 503\r\nNats-Sequence: 999\r\nNats-Stream: X\r\nNats-Subject: y\r\nno colon\r\n\xff: \xff\r\n\
        Nats-Stream: T\r\nNats-Subject: ch.a\r\nNats-Sequence: 4\r\n\
        Nats-Time-Stamp: 2026-11-22T13:57:39.5642999Z\r\nNats-Last-Sequence: 3\r\n\r\n";

    #[test]
    fn what_a_publisher_forges_does_not_count() {
        let publication = Publication::read(Headers::new(FORGED), b"{}").expect("a publication");
        assert_eq!((publication.stream, publication.subject), (&b"T"[..], "ch.a"));
        assert_eq!((publication.offset.get(), publication.previous), (4, 3));
        let mut text = TimeText::default();
        assert_eq!(publication.time(&mut text), Some("2026-11-22T13:57:39.564Z"));
    }

    #[test]
    fn a_block_whose_last_line_has_no_end_hides_nothing() {
        let block = b"NATS/1.0\r\nNats-Stream: X\r\nA: bNats-Stream: T\r\nNats-Subject: a\r\nNats-Sequence: 4\r\n\r\n";
        let without = &block[..10];
        let broken = [without, &block[26..]].concat();
        // Nor does it let a forged name count that stands before it, on another line or on the same one.
        let same_line = [without, b"Nats-Stream: X\r;", &block[30..]].concat();
        for block in [&broken[..], block, &same_line] {
            let publication = Publication::read(Headers::new(block), b"").expect("a publication");
            assert_eq!((publication.stream, publication.offset.get()), (&b"T"[..], 4));
        }
    }

    #[test]
    fn what_jetstream_did_not_hand_out_is_none() {
        for block in [
            "NATS/1.0\r\n\r\n",
            "NATS/1.0\r\nNats-Stream: T\r\nNats-Subject: a\r\nNats-Sequence: x\r\n\r\n",
            "NATS/1.0\r\nNats-Stream: T\r\nNats-Subject: a\r\nNats-Sequence: 9007199254740992\r\n\r\n",
            "NATS/1.0\r\nNats-Stream: T\r\nNats-Sequence: 1\r\n\r\n",
        ] {
            assert!(
                Publication::read(Headers::new(block.as_bytes()), b"").is_none(),
                "{block}"
            );
        }
    }

    #[test]
    fn a_time_has_milliseconds_whatever_the_server_leaves_out() {
        let mut text = TimeText::default();
        for (time, expected) in [
            ("2026-11-22T13:57:39Z", Some("2026-11-22T13:57:39.000Z")),
            ("2026-11-22T13:57:39.5Z", Some("2026-11-22T13:57:39.500Z")),
            ("2026-11-22T13:57:39.123456789Z", Some("2026-11-22T13:57:39.123Z")),
            ("2026-11-22T13:57:39+01:00", None),
            ("", None),
        ] {
            assert_eq!(milliseconds(time.as_bytes(), &mut text), expected);
        }
    }

    #[test]
    fn a_time_is_counted_from_1970_whatever_the_year() {
        for (time, seconds, millis) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2000-02-29T23:59:59.999Z", 951_868_799, 999),
            ("2024-03-01T00:00:00.5Z", 1_709_251_200, 500),
            ("2026-11-22T13:57:39.5642999Z", 1_795_355_859, 564),
        ] {
            let expected = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis);
            assert_eq!(instant(time.as_bytes()), Some(expected), "{time}");
        }
        for wrong in [
            "",
            "1969-01-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-2xT13:57:39Z",
        ] {
            assert_eq!(instant(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn only_a_marker_of_the_server_deletes() {
        let read = |reason: &str, payload: &'static [u8]| {
            let block = format!(
                "NATS/1.0\r\nNats-Marker-Reason: {reason}\r\nNats-Stream: T\r\nNats-Subject: a\r\nNats-Sequence: 1\r\n\r\n"
            );
            Publication::read(Headers::new(block.as_bytes()), payload)
                .expect("a publication")
                .deleted
        };
        assert_eq!(read("MaxAge", b""), Some(Deleted::MaxAge));
        assert_eq!(read("Purge", b""), Some(Deleted::Purge));
        assert_eq!(read("Whim", b""), None);
        assert_eq!(read("MaxAge", b"x"), None);
    }
}
