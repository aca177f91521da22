//! What proxies say of their clients, of any bytes: no panic, and the address that counts is not one of a trusted proxy unless
//! nobody else was named.

use std::cell::RefCell;

use tailwater_edge::fuzz::{forwarded, read_proxy_header};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
}

/// Feeds it one input.
pub(crate) fn feed(input: &[u8]) {
    let client = RUNTIME.with_borrow(|runtime| read_proxy_header(runtime, input));
    if client.is_some() {
        assert!(input.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    }
    for client in forwarded(input).into_iter().flatten() {
        assert_eq!(client.ip(), client.ip().to_canonical());
    }
}
