//! What proxies say of their clients, of any bytes: no panic, and whatever a client has sent, what the proxy writes behind
//! it counts.

use std::cell::RefCell;
use std::net::Ipv4Addr;

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
    for (header, written) in [&b", for=192.0.2.1"[..], b", 192.0.2.1"].into_iter().enumerate() {
        if let Some(clients) = forwarded(&[input, written].concat()) {
            assert_eq!(clients[header].ip(), Ipv4Addr::new(192, 0, 2, 1));
        }
    }
}
