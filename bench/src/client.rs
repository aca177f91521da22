//! A WebSocket client that costs little: many of them share a thread and a buffer, one read takes all that there is, and
//! frames are found without decoding what is in them. What a server wants to hear stands in its dialect.

pub(crate) mod frame;
mod stream;

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Poll, ready};

use anyhow::Context;
use tokio::io::{AsyncRead as _, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use self::frame::Frames;
use self::stream::Stream;
use crate::dialect::Dialect;
use crate::tailwater::Codec;
use crate::template::fill;
use crate::tls;

/// Bytes that one read takes at most.
const READ: usize = 256 * 1024;

/// How clients come to a server and speak with it.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    /// Encrypts, where the server wants that.
    pub(crate) tls: Option<TlsConnector>,
    /// The codec of our own protocol, where the server speaks it.
    pub(crate) codec: Option<Codec>,
    /// The address that clients come from, if it matters.
    pub(crate) source: Option<Ipv4Addr>,
    /// Kernel buffer of a client for what it does not read, in bytes.
    pub(crate) receive_buffer: Option<u32>,
}

/// What the clients of a thread read into.
pub(crate) struct Scratch(RefCell<Vec<u8>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(vec![0; READ]))
    }
}

/// One connection.
pub(crate) struct Client {
    stream: Stream,
    /// The beginning of a frame whose end has not come; of whole frames too where they came with the handshake.
    rest: Vec<u8>,
    /// What came with the handshake has not been looked at.
    unread: bool,
    /// Clients of this server send binary frames.
    binary: bool,
}

/// The port of the first client that has a source address of its own: below those that Linux gives out by itself.
const FIRST_PORT: u16 = 10_000;

impl Client {
    /// Connects, encrypts if asked to, and makes the opening handshake.
    pub(crate) async fn open(door: &Door, channel: &str, number: usize) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = door.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = door.source {
            // Among so many that are taken the kernel would search milliseconds for a port.
            let port = u16::try_from(number)
                .ok()
                .and_then(|number| FIRST_PORT.checked_add(number));
            let port = port.context("too many clients for one source address")?;
            socket.set_reuseaddr(true)?;
            socket.bind((source, port).into())?;
        }
        let stream = socket.connect(door.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        // A connection that leaves must not hold its port for a minute: runs have tens of thousands.
        stream.set_zero_linger()?;
        let mut stream = match &door.tls {
            None => Stream::Plain(stream),
            Some(connector) => {
                let stream = connector.connect(tls::server_name(), stream).await;
                Stream::Tls(Box::new(stream.context("no TLS")?))
            }
        };
        stream
            .write_all(request(door.address, &door.dialect, channel, number).as_slice())
            .await?;
        stream.flush().await?;
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
        Ok(Self {
            unread: !rest.is_empty(),
            stream,
            rest,
            binary: door.dialect.binary,
        })
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let opcode = if self.binary { frame::BINARY } else { frame::TEXT };
        self.write(&frame::masked(opcode, message)).await
    }

    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Waits until something comes and hands over all messages that are complete, which may be none. Pings are answered.
    /// Nothing is lost if it is dropped while it waits for something to come.
    ///
    /// # Errors
    /// At the end of the connection; what came with it has been handed over.
    pub(crate) async fn read<T>(
        &mut self,
        scratch: &Scratch,
        take: impl FnOnce(&mut Messages<'_>) -> T,
    ) -> anyhow::Result<T> {
        let mut take = Some(take);
        let mut answers = Vec::new();
        let taken = poll_fn(|context| {
            let mut scratch = scratch.0.borrow_mut();
            let kept = self.rest.len();
            if scratch.len() < kept + READ {
                scratch.resize(kept + READ, 0);
            }
            let mut read = 0;
            if !std::mem::take(&mut self.unread) {
                let mut buffer = ReadBuf::new(&mut scratch[kept..kept + READ]);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                read = buffer.filled().len();
                if read == 0 {
                    return Poll::Ready(Err(anyhow::anyhow!("the server closed the connection")));
                }
            }
            scratch[..kept].copy_from_slice(&self.rest);
            let bytes = &scratch[..kept + read];
            let mut messages = Messages::new(bytes);
            let take = take.take().context("a future is not polled after its end")?;
            let taken = take(&mut messages);
            messages.by_ref().for_each(drop);
            self.rest.clear();
            self.rest.extend_from_slice(&bytes[messages.frames.used()..]);
            if let Some(reason) = messages.close {
                let reason = reason.escape_ascii();
                return Poll::Ready(Err(anyhow::anyhow!("the server closed the connection: {reason}")));
            }
            answers = messages.answers;
            Poll::Ready(Ok(taken))
        })
        .await?;
        if !answers.is_empty() {
            self.write(&answers).await?;
        }
        Ok(taken)
    }
}

/// The messages of one read. It answers pings and notices the end, so it is always gone through to the end.
pub(crate) struct Messages<'a> {
    frames: Frames<'a>,
    /// What is to be sent.
    answers: Vec<u8>,
    close: Option<&'a [u8]>,
}

impl<'a> Messages<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            frames: Frames::new(bytes),
            answers: Vec::new(),
            close: None,
        }
    }

    /// Sends a message, once the others have been looked at.
    pub(crate) fn answer(&mut self, binary: bool, message: &[u8]) {
        let opcode = if binary { frame::BINARY } else { frame::TEXT };
        self.answers.extend_from_slice(&frame::masked(opcode, message));
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.frames.next()? {
                (..=frame::BINARY, body) => return Some(body),
                (frame::PING, body) => self.answers.extend_from_slice(&frame::masked(frame::PONG, body)),
                (frame::CLOSE, body) => self.close = Some(body),
                _ => {}
            }
        }
    }
}

/// The opening handshake's request (RFC 6455 section 4.1).
fn request(address: SocketAddr, dialect: &Dialect, channel: &str, number: usize) -> Vec<u8> {
    let mut request = b"GET ".to_vec();
    request.extend_from_slice(&fill(dialect.path.as_bytes(), channel, number));
    request.extend_from_slice(
        format!(
            " HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        .as_bytes(),
    );
    if let Some(subprotocol) = dialect.subprotocol {
        request.extend_from_slice(format!("Sec-WebSocket-Protocol: {subprotocol}\r\n").as_bytes());
    }
    for line in &dialect.headers {
        request.extend_from_slice(&fill(line.as_bytes(), channel, number));
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}
