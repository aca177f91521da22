//! What a publisher in NATS puts into headers, of any bytes: it changes nothing of what JetStream appends, so nobody can
//! pass for another stream, subject or offset. And what else NATS sends that is no message: no panic.

use tailwater_broker::fuzz::{Published, read_acknowledgement, read_complaint, read_publication};
use tailwater_broker::wire::ServerInfo;

/// Feeds it one input.
pub(crate) fn feed(input: &[u8]) {
    let _ = read_publication(input, b"");
    for payload in [&b""[..], b"{}"] {
        let block = appended(input);
        let published = Published {
            stream: b"T",
            subject: "ch.a",
            offset: 42,
            previous: 41,
            time: Some("2026-11-22T13:57:39.564Z".to_owned()),
        };
        assert_eq!(
            read_publication(&block, payload),
            Some(published),
            "{}",
            block.escape_ascii()
        );
    }
    if let Some(Ok(offset)) = read_acknowledgement(input, "T") {
        assert!(offset > 0 && offset < 1 << 53);
    }
    let _ = ServerInfo::read(input);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = read_complaint(text);
    }
}

/// A publisher's headers as JetStream republishes them: the line that ends them is taken for two bytes, whatever they are.
fn appended(publisher: &[u8]) -> Vec<u8> {
    let kept = match publisher.len().checked_sub(2) {
        None | Some(0) => &b"NATS/1.0\r\n"[..],
        Some(end) => &publisher[..end],
    };
    let ours = b"Nats-Stream: T\r\nNats-Subject: ch.a\r\nNats-Sequence: 42\r\n\
        Nats-Time-Stamp: 2026-11-22T13:57:39.5642999Z\r\nNats-Last-Sequence: 41\r\n\r\n";
    [kept, ours].concat()
}
