//! What services ask of sessions over NATS, of any bytes: no panic, and every edge reads the same order.

use tailwater_edge::fuzz::read_order;

/// Feeds it one input; its first byte is the verb.
pub(crate) fn feed(input: &[u8]) {
    let Some((verb, body)) = input.split_first() else {
        return;
    };
    if let Some((passed_on, again)) = read_order(usize::from(*verb), body, 1_800_000_000) {
        assert_eq!(
            again.as_ref(),
            Some(&passed_on),
            "{}",
            String::from_utf8_lossy(&passed_on)
        );
    }
}
