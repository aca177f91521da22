//! A WebSocket connection that blocks its thread: for publishers, and to see whether a server is there. Everything has a
//! deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use memchr::memmem;

use crate::client::frame::{BINARY, CLOSE, Frames, PING, PONG, TEXT, masked};
use crate::dialect::Step;

/// The longest that a server may take to connect, to answer or to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct WebSocket {
    stream: TcpStream,
    /// What has come and was not taken.
    received: Vec<u8>,
}

impl WebSocket {
    /// Connects and makes the handshake.
    ///
    /// # Errors
    /// If nobody listens, or the answer is not 101.
    pub(crate) fn connect(
        address: SocketAddr,
        path: &str,
        subprotocol: Option<&str>,
        headers: &[String],
    ) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        if let Some(subprotocol) = subprotocol {
            request.push_str(&format!("Sec-WebSocket-Protocol: {subprotocol}\r\n"));
        }
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        let mut socket = Self {
            stream,
            received: Vec::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            if let Some(at) = memmem::find(&socket.received, b"\r\n\r\n") {
                break at + 4;
            }
            socket.read(deadline).context("no answer to the handshake")?;
        };
        let answer: Vec<u8> = socket.received.drain(..end).collect();
        let accepted = answer.starts_with(b"HTTP/1.1 101");
        anyhow::ensure!(accepted, "the handshake is refused: {}", answer.escape_ascii());
        Ok(socket)
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &[u8], binary: bool) -> anyhow::Result<()> {
        self.write(&masked_message(message, binary))
    }

    /// Sends whole frames.
    pub(crate) fn write(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(frames).context("the server does not read")
    }

    /// Says what a step says and waits for what it waits for.
    pub(crate) fn take_step(&mut self, step: &Step, binary: bool) -> anyhow::Result<()> {
        if let Some(message) = &step.send {
            self.send(message, binary)?;
        }
        let Some(expected) = &step.expect else {
            return Ok(());
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.message(deadline)?;
            if memmem::find(&message, expected).is_some() {
                return Ok(());
            }
            let refused = step.refused.as_ref();
            if refused.is_some_and(|refused| memmem::find(&message, refused).is_some()) {
                anyhow::bail!("the server refuses: {}", message.escape_ascii());
            }
        }
    }

    /// Waits for the next message. Pings are answered.
    ///
    /// # Errors
    /// At the end of the connection, and at the deadline.
    pub(crate) fn message(&mut self, deadline: Instant) -> anyhow::Result<Vec<u8>> {
        loop {
            let Some((opcode, body)) = self.frame() else {
                self.read(deadline)?;
                continue;
            };
            match opcode {
                TEXT | BINARY => return Ok(body),
                PING => self.write(&masked(PONG, &body))?,
                CLOSE => anyhow::bail!("the server closed the connection: {}", body.escape_ascii()),
                _ => {}
            }
        }
    }

    /// Takes the first frame that has come whole.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut frames = Frames::new(&self.received);
        let (opcode, body) = frames.next()?;
        let body = body.to_vec();
        let used = frames.used();
        self.received.drain(..used);
        Some((opcode, body))
    }

    fn read(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time limit of zero would be none.
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut some = [0; 16 * 1024];
        match self.stream.read(&mut some) {
            Ok(0) => anyhow::bail!("the server closed the connection"),
            Ok(length) => self.received.extend_from_slice(&some[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => anyhow::bail!("the server is silent"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The frame of a message, as clients send it.
pub(super) fn masked_message(message: &[u8], binary: bool) -> Vec<u8> {
    masked(if binary { BINARY } else { TEXT }, message)
}
