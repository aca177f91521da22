//! A WebSocket client that costs little: many of them share a thread and a buffer, and frames are found without
//! decoding what is in them (RFC 6455 section 5.2). It speaks JSON and believes the server; what checks a server's
//! manners are the tests.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes that one read takes.
const READ: usize = 64 * 1024;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What the clients of a thread read into.
pub(crate) struct Scratch(RefCell<Vec<u8>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(vec![0; READ]))
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
}

impl Client {
    /// Connects to `/ws` of the edge at `address`, with a kernel buffer of this many bytes for what is not read.
    pub(crate) async fn connect(address: SocketAddr, receive_buffer: Option<u32>) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut stream = socket.connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        let end = loop {
            anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "closed in the handshake");
            if let Some(at) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let status = answer.get(..12).unwrap_or(&answer);
        anyhow::ensure!(
            status == b"HTTP/1.1 101",
            "refused: {}",
            answer[..end].escape_ascii()
        );
        // What came behind is often all that comes for long: no larger than it is.
        let rest = answer[end..].to_vec();
        Ok(Self { stream, rest })
    }

    /// Sends a text frame.
    pub(crate) async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self
            .stream
            .write_all(&masked_frame(TEXT, text.as_bytes()))
            .await?)
    }

    /// Waits until something comes and hands over the text of every frame that is complete. Pings are answered.
    /// Nothing is lost if it is dropped while it waits.
    ///
    /// # Errors
    /// At the end of the connection.
    pub(crate) async fn read(
        &mut self,
        scratch: &Scratch,
        mut each: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        if !self.rest.is_empty() {
            // It may hold whole frames that came with the handshake.
            let rest = std::mem::take(&mut self.rest);
            let used = self.frames(&rest, &mut each)?;
            if used > 0 {
                self.rest.extend_from_slice(&rest[used..]);
                return Ok(());
            }
            self.rest = rest;
        }
        loop {
            self.stream.readable().await?;
            let mut scratch = scratch.0.borrow_mut();
            let read = match self.stream.try_read(&mut scratch) {
                Ok(0) => anyhow::bail!("the edge closed the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            if self.rest.is_empty() {
                let used = self.frames(&scratch[..read], &mut each)?;
                self.rest.extend_from_slice(&scratch[used..read]);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(&scratch[..read]);
                let used = self.frames(&whole, &mut each)?;
                self.rest.extend_from_slice(&whole[used..]);
            }
            return Ok(());
        }
    }

    /// Hands over the whole frames in `bytes`; says where they end.
    fn frames(&self, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> anyhow::Result<usize> {
        let mut used = 0;
        while let Some((opcode, header, length)) = frame_header(&bytes[used..]) {
            let begin = used + header;
            let Some(body) = bytes.get(begin..begin + length) else {
                break;
            };
            match opcode {
                TEXT => each(body),
                // It fits, unless the edge reads nothing, and then it is about to close the connection.
                PING => drop(self.stream.try_write(&masked_frame(PONG, body))),
                CLOSE => anyhow::bail!("the edge closed the connection: {}", body.escape_ascii()),
                _ => {}
            }
            used = begin + length;
        }
        Ok(used)
    }
}

/// Opcode, length of the header and length of the body; nothing before the header is complete.
fn frame_header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (header, length) = match second {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    Some((first & 0x0f, header, usize::try_from(length).ok()?))
}

/// A client's frame: masked, as it must be, with a key that changes nothing.
fn masked_frame(opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_three_forms_are_read() {
        assert_eq!(frame_header(b"\x81\x05Hello"), Some((TEXT, 2, 5)));
        assert_eq!(frame_header(b"\x82\x7e\x01\x00"), Some((2, 4, 256)));
        assert_eq!(
            frame_header(b"\x81\x7f\0\0\0\0\0\x01\0\0"),
            Some((TEXT, 10, 65_536))
        );
        for short in [&b""[..], b"\x81", b"\x81\x7e\x01", b"\x81\x7f\0\0\0\0\0\x01\0"] {
            assert_eq!(frame_header(short), None);
        }
    }

    #[test]
    fn what_is_sent_is_masked() {
        assert_eq!(masked_frame(TEXT, b"hi"), b"\x81\x82\0\0\0\0hi");
        assert_eq!(masked_frame(TEXT, &[b'x'; 126])[..4], [0x81, 0xfe, 0, 126]);
        assert_eq!(masked_frame(TEXT, &[b'x'; 65_536])[..2], [0x81, 0xff]);
    }
}
