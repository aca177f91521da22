//! One target for each parser of what strangers send us: a function that takes any bytes and panics if what must hold does
//! not. `tests/fuzz/run` feeds them with what libFuzzer makes up, `tests/replay.rs` with the inputs in `corpus/`.

mod channels;
mod commands;
mod config;
mod cursors;
mod cut;
mod deflate;
mod handshake;
mod headers;
mod messages;
mod orders;
mod proxies;
mod publications;
mod queries;
mod tokens;
mod updates;
mod wire;

/// A parser, and what must hold for every input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    feed: fn(&[u8]),
}

impl Target {
    /// Feeds it one input.
    ///
    /// # Panics
    /// If something does not hold that must.
    pub fn feed(&self, input: &[u8]) {
        (self.feed)(input);
    }
}

/// All targets.
pub const TARGETS: [Target; 15] = [
    of("channels", channels::feed),
    of("commands", commands::feed),
    of("config", config::feed),
    of("cursors", cursors::feed),
    of("deflate", deflate::feed),
    of("handshake", handshake::feed),
    of("headers", headers::feed),
    of("messages", messages::feed),
    of("orders", orders::feed),
    of("proxies", proxies::feed),
    of("publications", publications::feed),
    of("queries", queries::feed),
    of("tokens", tokens::feed),
    of("updates", updates::feed),
    of("wire", wire::feed),
];

const fn of(name: &'static str, feed: fn(&[u8])) -> Target {
    Target { name, feed }
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
