//! Ports for servers of tests.

use std::net::TcpListener;

/// A port of the loopback that nobody listens on, from below those that the kernel gives to outgoing connections and
/// to who asks for any: a server that is killed finds its own again.
pub(crate) fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(10_000..32_000))
        .take(100)
        .find(free)
        .expect("a port is free")
}
