//! What a session needs of a carrier. WebSocket is the only one so far.

pub(crate) mod websocket;
