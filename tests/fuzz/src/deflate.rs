//! Any message is compressed to something smaller that inflates to it again, or not at all; any bytes inflate to no more
//! than the limit, or not at all.

use tailwater_protocol::deflate::{InflateError, deflate, inflate};

const LIMIT: usize = 4096;

/// Feeds it one input.
pub(crate) fn feed(input: &[u8]) {
    if let Ok(message) = inflate(input, LIMIT) {
        assert!(message.len() <= LIMIT);
        assert_eq!(inflate(input, message.len()).as_ref(), Ok(&message));
        if let Some(less) = message.len().checked_sub(1) {
            assert_eq!(inflate(input, less), Err(InflateError::TooLarge));
        }
    }
    // A large one between, with nothing to find in it: what one message leaves behind meets the next.
    if let [0xff, length, seed, ..] = input {
        let noise = noise(usize::from(*length) * 512, *seed);
        if let Some(deflated) = deflate(&noise) {
            assert_eq!(inflate(&deflated, noise.len()), Ok(noise));
        }
    }
    // Repeated, so that it is long enough and there is something to find.
    let message = input.repeat(700 / input.len().max(1) + 1);
    if let Some(deflated) = deflate(&message) {
        assert!(deflated.len() < message.len());
        assert_eq!(inflate(&deflated, message.len()), Ok(message));
    }
}

/// Bytes each of which is about as frequent as any other.
fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
