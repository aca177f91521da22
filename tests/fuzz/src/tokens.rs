//! What says who a client is, of any bytes: claims, keys, and whole tokens. No panic; no claim becomes more than one token of a
//! subject; no token is accepted that was not signed, and nothing of it is repeated.

use std::cell::RefCell;

use tailwater_edge::fuzz::{Bearers, own_pattern, read_claims, read_keys};
use tokio::runtime::Builder;

thread_local! {
    static BEARERS: RefCell<Bearers> =
        RefCell::new(Bearers::new(Builder::new_current_thread().enable_all().build().expect("a runtime")));
}

/// Feeds it one input; its first byte says as what.
pub(crate) fn feed(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else {
        return;
    };
    match kind % 4 {
        0 => {
            for pattern in read_claims(input).unwrap_or_default() {
                assert!(!pattern.contains(['{', '}', ' ']), "{pattern}");
            }
        }
        1 => {
            read_keys(input);
        }
        2 => {
            let user = String::from_utf8_lossy(input);
            if let Some(own) = own_pattern(&user) {
                assert_eq!(own, format!("users.{user}"));
                assert!(!user.contains(['.', '*', '>']), "{user}");
            }
        }
        _ => {
            let token = String::from_utf8_lossy(input);
            let refused = BEARERS.with_borrow(|bearers| bearers.accept(&token));
            let said = refused.expect_err("nobody knows the secret");
            // Short ones, and those with a space between words, may be a part of our own sentence.
            let own = token.len() < 16 || token.contains(' ');
            assert!(own || !said.contains(&*token), "{said}");
        }
    }
}
