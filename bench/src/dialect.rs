//! How a server is spoken to: what a client sends to open, to subscribe and to publish, and what it waits for. Everything
//! the generator must know of a server stands here, so that one generator serves all of them alike.
//!
//! In every template `{channel}` is replaced by the channel, `{number}` by the number of the client and `{payload}` by
//! the payload as it is; `{payload_string}` by the payload as a JSON string.

use std::net::SocketAddr;

/// How subscribers and publishers speak to one server.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    /// Path and query of the handshake; may name `{channel}` where a server subscribes by its address.
    pub(crate) path: String,
    /// The subprotocol to offer.
    pub(crate) subprotocol: Option<&'static str>,
    /// Further lines of the handshake request, each `Name: value`.
    pub(crate) headers: Vec<String>,
    /// Clients send binary frames.
    pub(crate) binary: bool,
    /// What is said once, right after the handshake.
    pub(crate) hello: Vec<Step>,
    /// What is said for the subscription.
    pub(crate) subscribe: Step,
    /// What a server sends to see whether a client lives (a beginning of a message), and what the client answers.
    pub(crate) keep_alive: Option<(&'static [u8], &'static [u8])>,
    /// How publications reach the server.
    pub(crate) publish: Publish,
}

/// One thing said, and what is waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// The message; nothing to wait alone.
    pub(crate) send: Option<Vec<u8>>,
    /// A part of the message that says that it was done; nothing to go on at once.
    pub(crate) expect: Option<Vec<u8>>,
    /// A part of a message that says that it was refused.
    pub(crate) refused: Option<Vec<u8>>,
}

/// How publications reach a server.
#[derive(Clone, Debug)]
pub(crate) enum Publish {
    /// By core NATS, to the subject that is the channel.
    Nats {
        /// `nats://…`
        url: String,
    },
    /// By a WebSocket connection of its own to the same server.
    WebSocket {
        /// Said first.
        before: Vec<Step>,
        /// One publication.
        message: Vec<u8>,
        /// Frames are binary.
        binary: bool,
    },
    /// By HTTP/1.1 requests over kept connections; the answer is waited for, status 200 to 299.
    Http {
        /// Where, if not where clients connect.
        address: Option<SocketAddr>,
        /// Method and path, such as `POST /api/publish`.
        request: String,
        /// Further header lines.
        headers: Vec<String>,
        /// The body of one publication.
        body: Vec<u8>,
        /// Signs each request as the HTTP API of Pusher asks.
        pusher: Option<PusherApp>,
    },
}

/// Who publishes by the HTTP API of Pusher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PusherApp {
    pub(crate) key: &'static str,
    pub(crate) secret: &'static str,
}
