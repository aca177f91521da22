//! An echo server of the parts that read and write WebSockets here, for the conformance suite: each message goes back as
//! it came, compressed if that was agreed on and makes it smaller.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::deflate::deflate;
use tailwater_protocol::frame::{self, COMPRESSED, Opcode};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::outbox::Outbox;
use crate::socket::{Socket, Stream};
use crate::transport::websocket::{Inbound, MessageReader, Violation};
use crate::upgrade;

/// The longest message in bytes: the suite sends 16 MiB.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Nothing is read while so many bytes wait to be written.
const MAX_WAITING_BYTES: usize = MAX_MESSAGE_BYTES;

/// How long a peer may take to close after we have.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves on this thread until the process ends.
///
/// # Errors
/// What the system refuses: a runtime, or a connection.
pub fn run(listener: std::net::TcpListener) -> io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    listener.set_nonblocking(true)?;
    LocalSet::new().block_on(&runtime, accept(listener))
}

async fn accept(listener: std::net::TcpListener) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::task::spawn_local(async {
            if let Some(mut peer) = Box::pin(handshake(socket)).await {
                // A peer may leave whenever it likes.
                let _ = peer.echo().await;
            }
        });
    }
}

/// The other end of a WebSocket.
struct Peer {
    socket: TcpStream,
    outbox: Outbox,
    /// Compression was agreed on.
    deflate: bool,
    /// What came right behind the handshake.
    read_ahead: Bytes,
}

/// From the first byte to the WebSocket, if it becomes one.
async fn handshake(socket: TcpStream) -> Option<Peer> {
    let stream = Stream::new(Socket::Plain(socket), Vec::new());
    let (agreed, holds) = (Rc::new(Cell::new(None)), stream.holds());
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = match upgrade::upgrade(&mut request, true) {
            Ok((response, encoding)) => {
                agreed.set(Some(encoding));
                holds.set(true);
                response
            }
            Err(refusal) => refusal.response(),
        };
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let parts = connection.without_shutdown().await.ok()?;
    let encoding = agreed.get()?;
    let stream = parts.io.into_inner().into_parts();
    let mut outbox = Outbox::default();
    outbox.push_message(stream.held.into());
    let Socket::Plain(socket) = stream.socket else {
        return None;
    };
    Some(Peer {
        socket,
        outbox,
        deflate: encoding.is_deflated(),
        read_ahead: parts.read_buf,
    })
}

impl Peer {
    /// Sends back what comes until the end, which is as a session's.
    async fn echo(&mut self) -> io::Result<()> {
        let mut reader = MessageReader::new(MAX_MESSAGE_BYTES, self.deflate);
        let mut scratch = vec![0; 64 * 1024];
        let mut messages = Vec::new();
        let mut violation = reader
            .read(&std::mem::take(&mut self.read_ahead), &mut messages)
            .err();
        let close = loop {
            let answered = messages.drain(..).try_for_each(|message| self.answer(message));
            if let Err(close) = answered {
                break close;
            }
            if let Some(violation) = violation {
                break close_frame(violation);
            }
            self.write()?;
            if self.outbox.bytes() > MAX_WAITING_BYTES {
                self.socket.writable().await?;
                continue;
            }
            if self.outbox.is_empty() {
                self.socket.readable().await?;
            } else {
                let tcp = &self.socket;
                tokio::select! { ready = tcp.readable() => ready?, ready = tcp.writable() => ready? }
            }
            match self.socket.try_read(&mut scratch) {
                Ok(0) => return Ok(()),
                Ok(count) => violation = reader.read(&scratch[..count], &mut messages).err(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        };
        self.outbox.push_message(close);
        tokio::time::timeout(CLOSE_TIMEOUT, self.finish(&mut scratch)).await?
    }

    /// Queues the answer to one message; the close frame, if it is the last one.
    fn answer(&mut self, message: Inbound) -> Result<(), Bytes> {
        match message {
            Inbound::Text(body) => self.send(Opcode::Text, &body),
            Inbound::Binary(body) => self.send(Opcode::Binary, &body),
            Inbound::Deflated(deflated) => {
                let opcode = match deflated.codec() {
                    Codec::Json => Opcode::Text,
                    Codec::MessagePack => Opcode::Binary,
                };
                let body = deflated.inflate(MAX_MESSAGE_BYTES).map_err(close_frame)?;
                self.send(opcode, &body);
            }
            Inbound::Ping(body) => self.outbox.push_message(frame::frame(Opcode::Pong, &body)),
            Inbound::Pong => {}
            Inbound::Close(None) => return Err(frame::frame(Opcode::Close, &[])),
            Inbound::Close(Some(code)) => return Err(frame::frame(Opcode::Close, &code.to_be_bytes())),
        }
        Ok(())
    }

    fn send(&mut self, opcode: Opcode, body: &[u8]) {
        let deflated = self.deflate.then(|| deflate(body)).flatten();
        let mut message = Vec::new();
        let body = deflated.as_deref().unwrap_or(body);
        frame::write_header(opcode, body.len(), &mut message);
        if deflated.is_some() {
            message[0] |= COMPRESSED;
        }
        message.extend_from_slice(body);
        self.outbox.push_message(message.into());
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); 64];
            let used = self.outbox.fill(Codec::Json.into(), &mut slices);
            match self.socket.try_write_vectored(&slices[..used]) {
                Ok(written) => self.outbox.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what waits, and reads until the peer is done.
    async fn finish(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            self.write()?;
            if self.outbox.is_empty() {
                break;
            }
            self.socket.writable().await?;
        }
        SockRef::from(&self.socket).shutdown(Shutdown::Write)?;
        loop {
            self.socket.readable().await?;
            match self.socket.try_read(scratch) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}

fn close_frame(violation: Violation) -> Bytes {
    frame::close_frame_raw(violation.code.code(), violation.reason)
}
