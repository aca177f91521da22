//! Cursors in every form in which clients send them: what is read means the same when it is written again.

use serde_json::Value;
use tailwater_protocol::limits::{MAX_EPOCH_BYTES, OFFSET_LIMIT};
use tailwater_protocol::position::{Epoch, Position, Since};
use tailwater_protocol::timestamp::Timestamp;

/// Feeds it one input, as the text of each kind and as JSON.
pub(crate) fn feed(input: &[u8]) {
    if let Ok(since) = serde_json::from_slice::<Since>(input) {
        let written = serde_json::to_vec(&since).expect("a cursor is JSON");
        assert_eq!(
            serde_json::from_slice::<Since>(&written).as_ref().ok(),
            Some(&since)
        );
        let value: Value = serde_json::from_slice(&written).expect("it was written");
        assert_eq!(serde_json::from_value::<Since>(value).as_ref().ok(), Some(&since));
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(position) = text.parse::<Position>() {
        assert!(position.offset.get() < OFFSET_LIMIT);
        // Zeros in front of the number may go.
        let written = position.to_string();
        assert_eq!(written.parse().as_ref(), Ok(&position));
        assert!(text.starts_with(position.epoch.as_str()));
    }
    if let Ok(epoch) = Epoch::new(text) {
        assert!(epoch.as_str() == text && text.len() <= MAX_EPOCH_BYTES);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(time) = Timestamp::new(text) {
        assert_eq!(time.as_str(), text);
        assert!(text.len() <= "2026-02-03T04:05:06.123456789+01:00".len());
    }
}
