//! Header blocks of any bytes: no panic, the last value counts, and what a server appends is found.

use tailwater_broker::wire::{Headers, number};

/// Feeds it one input: its first byte says how many of the next ones are the name that is looked for; the rest is the
/// block.
pub(crate) fn feed(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else {
        return;
    };
    let (name, block) = rest.split_at(rest.len().min(usize::from(*count % 32)));
    let Ok(name) = std::str::from_utf8(name) else {
        return;
    };
    let headers = Headers::new(block);
    let names = [name, "Nats-Sequence", "nats-SEQUENCE"];
    let values = headers.last_of_each(names);
    assert_eq!(values, names.map(|name| headers.last(name)));
    assert_eq!(values[1], values[2]);
    assert_eq!(headers.last_number(name), values[0].and_then(number));
    for value in values.into_iter().flatten() {
        assert_eq!(value, value.trim_ascii());
        assert!(!value.contains(&b'\n'));
    }
    if let Some(status) = headers.status() {
        assert!(status.code <= 999 && block.starts_with(b"NATS/1.0"));
    }
    assert_eq!(number(block), digits(block));

    let appended = [block, b"\r\nNats-Sequence: 42\r\n\r\n"].concat();
    assert_eq!(Headers::new(&appended).last_number("Nats-Sequence"), Some(42));
}

/// The same by other means.
fn digits(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}
