//! The reader of the NATS protocol takes any bytes: no panic, no standing still, and the same events however the bytes
//! are cut into reads.

use bytes::Bytes;
use tailwater_broker::wire::{Event, Parsed, parse};

/// Small, so that messages beyond it are found.
const MAX_MESSAGE: usize = 4096;

/// An event without references into what was read.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Line(&'static str, Vec<u8>),
    Message {
        sid: u64,
        parts: [Vec<u8>; 3],
        reply: Option<Vec<u8>>,
    },
}

/// Feeds it one input: its first byte says how many of the next ones are lengths of reads; the rest is what is read.
pub(crate) fn feed(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else {
        return;
    };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(*count % 16)));
    let (whole, whole_failed) = read_whole(&Bytes::copy_from_slice(bytes));
    let (pieces, pieces_failed) = read_in_pieces(bytes, cuts);
    assert_eq!(whole, pieces);
    assert_eq!(whole_failed, pieces_failed);
}

/// All events up to the first error, and whether there was one.
fn read_whole(source: &Bytes) -> (Vec<Seen>, bool) {
    let mut events = Vec::new();
    let mut from = 0;
    loop {
        match parse(source, from, MAX_MESSAGE) {
            Ok(Parsed::Event { event, end }) => {
                assert!(end > from && end <= source.len(), "{from} {end}");
                events.push(seen(source, event));
                from = end;
            }
            Ok(Parsed::Incomplete { total }) => {
                assert!(total > source.len(), "{total} bytes are there");
                return (events, false);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return (events, true);
            }
        }
    }
}

/// The same, with the bytes arriving in pieces as long as `cuts` say, and asked only when there is enough.
fn read_in_pieces(bytes: &[u8], cuts: &[u8]) -> (Vec<Seen>, bool) {
    let mut events = Vec::new();
    let mut unread = Vec::new();
    let mut arrived = 0;
    let mut cuts = cuts.iter().cycle();
    while arrived < bytes.len() {
        let length = usize::from(*cuts.next().unwrap_or(&16)).max(1);
        let end = bytes.len().min(arrived + length);
        unread.extend_from_slice(&bytes[arrived..end]);
        arrived = end;
        let source = Bytes::from(std::mem::take(&mut unread));
        let mut from = 0;
        loop {
            match parse(&source, from, MAX_MESSAGE) {
                Ok(Parsed::Event { event, end }) => {
                    events.push(seen(&source, event));
                    from = end;
                }
                Ok(Parsed::Incomplete { total }) => {
                    check_patience(&source[from..], total - from);
                    break;
                }
                Err(_) => return (events, true),
            }
        }
        unread.extend_from_slice(&source[from..]);
    }
    (events, false)
}

/// What is incomplete asks for no more than the limits allow.
fn check_patience(rest: &[u8], wanted: usize) {
    let longest_line = tailwater_broker::wire::MAX_INFO + 2;
    assert!(wanted > rest.len() && wanted <= longest_line + MAX_MESSAGE + 2);
}

fn seen(source: &Bytes, event: Event<'_>) -> Seen {
    match event {
        Event::Info(json) => Seen::Line("INFO", json.to_vec()),
        Event::Ping => Seen::Line("PING", Vec::new()),
        Event::Pong => Seen::Line("PONG", Vec::new()),
        Event::Ok => Seen::Line("+OK", Vec::new()),
        Event::Error(text) => Seen::Line("-ERR", text.to_vec()),
        Event::Message(message) => {
            assert!(message.headers.as_bytes().len() + message.payload.len() <= MAX_MESSAGE);
            let kept = message.to_owned();
            assert_eq!(kept.subject, message.subject);
            assert_eq!(kept.headers(), message.headers);
            assert_eq!(kept.payload, message.payload);
            assert!(source.len() >= message.subject.len() + message.payload.len());
            Seen::Message {
                sid: message.sid,
                parts: [message.subject, message.headers.as_bytes(), message.payload].map(<[u8]>::to_vec),
                reply: message.reply.map(<[u8]>::to_vec),
            }
        }
    }
}
