//! What a client sends before its first frame, of any bytes: no panic, an answer that blames the client and never us, and
//! the same answer however the bytes are cut into reads.

use std::cell::RefCell;

use tailwater_edge::fuzz::handshake;
use tokio::runtime::{Builder, Runtime};

use crate::cut::reads;

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
}

/// What the answer to a handshake says of extensions, if it says anything.
const EXTENSIONS: [&str; 2] = [
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15",
];

/// Feeds it one input.
pub(crate) fn feed(input: &[u8]) {
    let Some(reads) = reads(input) else { return };
    let (whole, pieces) = RUNTIME.with_borrow(|runtime| {
        (
            handshake(runtime, [reads.whole]),
            handshake(runtime, reads.pieces),
        )
    });
    assert_eq!(whole.1, pieces.1);
    if whole.1 {
        // hyper gives no answer to who has ended the connection before it could.
        let answers = [&whole.0, &pieces.0];
        assert!(
            whole == pieces || answers.iter().any(|answer| answer.is_empty()),
            "{answers:?}"
        );
    } else {
        // hyper ends the connection, and says so, where the body of a refused request has not come yet.
        let (whole, pieces) = (statuses(&whole.0), statuses(&pieces.0));
        assert!(
            whole.starts_with(&pieces) || pieces.starts_with(&whole),
            "{whole:?} {pieces:?}"
        );
    }
    let (answer, upgraded) = whole;
    if answer.is_empty() {
        return;
    }
    let answer = std::str::from_utf8(&answer).expect("an answer is text");
    assert!(
        answer.starts_with("HTTP/1.") && !answer.contains("HTTP/1.1 5"),
        "{answer}"
    );
    // A refusal may stand before it, on the same connection.
    assert_eq!(upgraded, answer.contains("HTTP/1.1 101 "), "{answer}");
    for line in answer.lines() {
        if let Some(extension) = line.strip_prefix("sec-websocket-extensions: ") {
            assert!(upgraded && EXTENSIONS.contains(&extension), "{answer}");
        }
        if let Some(protocol) = line.strip_prefix("sec-websocket-protocol: ") {
            assert!(["tailwater.v1.json", "tailwater.v1.msgpack"].contains(&protocol));
        }
    }
}

/// The status lines of what was answered.
fn statuses(answers: &[u8]) -> Vec<&[u8]> {
    let lines = answers.split(|byte| *byte == b'\n');
    lines.filter(|line| line.starts_with(b"HTTP/1.")).collect()
}
