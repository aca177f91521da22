//! Publications by a WebSocket connection to the server that is measured.

use std::net::SocketAddr;

use anyhow::Context;

use super::Sink;
use super::connection::{WebSocket, masked_message};
use super::message::MessageTemplate;
use crate::dialect::Publish;

/// Bytes that are collected before they are sent unasked.
const FULL: usize = 64 * 1024;

/// Connects, and says what has to be said first.
///
/// # Errors
/// If `publish` is another way, or the server refuses the handshake or what is said first.
pub(crate) fn open(address: SocketAddr, publish: &Publish) -> anyhow::Result<Box<dyn Sink>> {
    let Publish::WebSocket {
        before,
        message,
        binary,
    } = publish
    else {
        anyhow::bail!("publications do not go by a WebSocket connection");
    };
    let mut socket = WebSocket::connect(address, "/", None, &[])?;
    for step in before {
        socket
            .take_step(step, *binary)
            .context("the publisher is refused")?;
    }
    Ok(Box::new(WebSocketSink {
        socket,
        binary: *binary,
        template: MessageTemplate::new(message),
        message: Vec::new(),
        frames: Vec::new(),
    }))
}

struct WebSocketSink {
    socket: WebSocket,
    binary: bool,
    template: MessageTemplate,
    /// The message at hand; kept for its memory.
    message: Vec<u8>,
    /// What has not been sent.
    frames: Vec<u8>,
}

impl Sink for WebSocketSink {
    fn publish(&mut self, channel: &str, payload: &[u8]) -> anyhow::Result<()> {
        self.message.clear();
        self.template.fill(channel, payload, &mut self.message)?;
        self.frames
            .extend_from_slice(&masked_message(&self.message, self.binary));
        if self.frames.len() >= FULL {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.socket.write(&self.frames)?;
        self.frames.clear();
        Ok(())
    }
}
