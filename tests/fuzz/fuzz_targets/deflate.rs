//! Any message is compressed to something smaller that inflates to it again, or not at all; any bytes inflate to no more
//! than the limit, or not at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_protocol::deflate::{InflateError, deflate, inflate};

const LIMIT: usize = 4096;

fuzz_target!(|input: &[u8]| {
    if let Ok(message) = inflate(input, LIMIT) {
        assert!(message.len() <= LIMIT);
        assert_eq!(inflate(input, message.len()).as_ref(), Ok(&message));
        if let Some(less) = message.len().checked_sub(1) {
            assert_eq!(inflate(input, less), Err(InflateError::TooLarge));
        }
    }
    // Repeated, so that it is long enough and there is something to find.
    let message = input.repeat(700 / input.len().max(1) + 1);
    if let Some(deflated) = deflate(&message) {
        assert!(deflated.len() < message.len());
        assert_eq!(inflate(&deflated, message.len()), Ok(message));
    }
});
