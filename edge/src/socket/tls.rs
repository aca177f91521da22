//! A socket that speaks TLS. Cost of one delivery: one encryption of the shared batch into the worker's buffer, and one
//! system call; no memory of its own.
//!
//! What waits for a slow client waits in its outbox in the clear, where the policies act on it. Only what was
//! encrypted for one write and not taken by the kernel is kept here, and nothing is encrypted before that is gone.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Error, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};

use super::records::{Fault, Records};
use crate::config::Material;

/// One read takes at most so many bytes from the kernel.
const RECEIVED_BYTES: usize = 32 * 1024;

/// What one read may bring: what it takes, and a record that had begun before.
pub(crate) const PLAINTEXT_BYTES: usize = RECEIVED_BYTES + 17 * 1024;

/// So much is encrypted for one write: two whole records (RFC 8446 section 5.1). More would save little, and a client
/// that does not read may cost so much.
const CHUNK_BYTES: usize = 32 * 1024;

/// The chunk's records, and a key update before them.
const RECORDS_BYTES: usize = CHUNK_BYTES + 1024;

/// What a TLS handshake begins with: the type of its record.
const HANDSHAKE: u8 = 22;

/// What a client gets that speaks plain HTTP with a TLS port.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nthis port speaks TLS only: use https:// or wss://\n";

/// What seals the tickets with which any worker of this process resumes a session without having kept anything of it.
/// Its keys are new every six hours, and a ticket is good for twelve at most.
///
/// # Errors
/// If the system has no random numbers.
pub(crate) fn tickets() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    ring::Ticketer::new()
}

/// How the public listener speaks TLS: versions 1.2 and 1.3, HTTP/1.1, and tickets, unless it asks for certificates of
/// clients: these are looked at in whole handshakes only, so one that has expired, or of an authority that is
/// trusted no longer, would be good for ever with a ticket.
///
/// # Errors
/// If the cryptography at hand is not enough for these versions, which it is.
pub(crate) fn settings(
    material: &Material,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match &material.client_verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
    };
    let pair = SingleCertAndKey::from(material.pair.clone());
    let mut settings = builder.with_cert_resolver(Arc::new(pair));
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    settings.session_storage = Arc::new(NoServerSessionStorage {});
    settings.send_tls13_tickets = 0;
    if material.client_verifier.is_none() {
        settings.ticketer = tickets.clone();
        settings.send_tls13_tickets = 1;
    }
    Ok(Arc::new(settings))
}

/// TLS for the connections of one worker, and the buffers that they share: nothing in them outlives a call.
pub(crate) struct Tls {
    /// What new connections begin with; each keeps to what it began with.
    settings: watch::Receiver<Arc<ServerConfig>>,
    buffers: Rc<Buffers>,
    /// One step of one handshake at a time: each takes as long as many deliveries, and these come in between.
    turn: Mutex<()>,
}

struct Buffers {
    received: RefCell<Box<[u8]>>,
    gathered: RefCell<Vec<u8>>,
    records: RefCell<Box<[u8]>>,
}

impl Tls {
    pub(crate) fn new(settings: watch::Receiver<Arc<ServerConfig>>) -> Self {
        let buffers = Buffers {
            received: RefCell::new(vec![0; RECEIVED_BYTES].into_boxed_slice()),
            gathered: RefCell::new(Vec::with_capacity(CHUNK_BYTES)),
            records: RefCell::new(vec![0; RECORDS_BYTES].into_boxed_slice()),
        };
        Self {
            settings,
            buffers: Rc::new(buffers),
            turn: Mutex::new(()),
        }
    }

    /// The server's side of a handshake; gives the client's first bytes too, if they came with its last message. How
    /// long it may take is up to the caller.
    ///
    /// # Errors
    /// What the system says; `InvalidData` if the client does not speak TLS, which it is told.
    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<(TlsSocket, Vec<u8>)> {
        if is_plain_http(&tcp).await? {
            turn_away(&tcp);
            return Err(Error::new(
                ErrorKind::InvalidData,
                "the client speaks plain HTTP with a TLS port",
            ));
        }
        let settings = self.settings.borrow().clone();
        let records = Records::new(settings).map_err(broken)?;
        let socket = TlsSocket {
            tcp,
            records: RefCell::new(records),
            buffers: self.buffers.clone(),
        };
        let mut early = Vec::new();
        loop {
            while socket.has_unsent() {
                socket.tcp.writable().await?;
                would_block_is_nothing(socket.send_unsent())?;
            }
            if !socket.records.borrow().is_handshaking() {
                return Ok((socket, early));
            }
            socket.tcp.readable().await?;
            let turn = self.turn.lock().await;
            let received = socket.receive(|bytes| early.extend_from_slice(bytes));
            tokio::task::yield_now().await;
            drop(turn);
            if would_block_is_nothing(received)? == Some(0) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Whether a client's first byte is that of a request. Nobody else begins with a letter.
async fn is_plain_http(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [HANDSHAKE];
    tcp.peek(&mut first).await?;
    Ok(first[0].is_ascii_uppercase())
}

/// One attempt to say what is wrong. What the client has sent is read first, within reason: unread, it would reset the
/// connection.
fn turn_away(tcp: &TcpStream) {
    let mut request = [0; 1024];
    for _ in 0..16 {
        if !tcp.try_read(&mut request).is_ok_and(|count| count > 0) {
            break;
        }
    }
    let _ = tcp.try_write(PLAIN_HTTP);
}

/// One TLS connection. When it is dropped the peer is told that it ends, if there is room.
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    records: RefCell<Records>,
    buffers: Rc<Buffers>,
}

impl TlsSocket {
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.records.borrow().unsent().is_empty()
    }

    /// See [`super::Socket::try_read`]. That records came without data in them is `WouldBlock` too.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut length, mut fits) = (0, true);
        let received = self.receive(|bytes| match buffer.get_mut(length..length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                length += bytes.len();
            }
            None => fits = false,
        })?;
        match (received, length) {
            _ if !fits => Err(ErrorKind::InvalidData.into()),
            (0, _) => Ok(0),
            (_, 0) => Err(ErrorKind::WouldBlock.into()),
            (_, length) => Ok(length),
        }
    }

    /// Reads once and passes on what was encrypted in it, at most [`PLAINTEXT_BYTES`]. Gives how many bytes came, 0 at
    /// the end of what the peer sends.
    pub(super) fn receive(&self, plaintext: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut records = self.records.borrow_mut();
        if records.has_ended() {
            return Ok(0);
        }
        let mut buffer = self.buffers.received.borrow_mut();
        let count = super::try_read(&self.tcp, &mut buffer)?;
        if count == 0 {
            return Ok(0);
        }
        let decrypted = records.decrypt(&mut buffer[..count], plaintext);
        drop(records);
        if self.has_unsent() {
            // An answer of TLS itself. What does not go out now does with what follows.
            let _ = self.send_unsent();
        }
        match decrypted {
            Ok(()) => Ok(count),
            Err(fault) => {
                tracing::debug!(%fault, "a TLS connection fails");
                Err(broken(fault))
            }
        }
    }

    /// As `TcpStream::try_write`: chunk by chunk, for as long as the kernel takes each whole.
    pub(super) fn try_write(&self, plaintext: &[u8]) -> io::Result<usize> {
        let mut records = self.records.borrow_mut();
        if !records.unsent().is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut buffer = self.buffers.records.borrow_mut();
        let mut taken = 0;
        for chunk in plaintext.chunks(CHUNK_BYTES) {
            // Nothing is encrypted for a socket that is known to be full.
            match would_block_is_nothing(self.tcp.try_io(Interest::WRITABLE, || Ok(())))? {
                None if taken == 0 => return Err(ErrorKind::WouldBlock.into()),
                None => break,
                Some(()) => {}
            }
            let length = records.encrypt(chunk, &mut buffer).map_err(broken)?;
            let sent = would_block_is_nothing(self.tcp.try_write(&buffer[..length]))?.unwrap_or(0);
            taken += chunk.len();
            if sent < length {
                records.keep(&buffer[sent..length]);
                break;
            }
        }
        Ok(taken)
    }

    /// See [`super::Socket::try_write_vectored`]. Small slices share their records.
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.has_unsent() {
            self.send_unsent()?;
            if self.has_unsent() {
                return Ok(0);
            }
        }
        match slices {
            [] => Ok(0),
            [first, ..] if slices.len() == 1 || first.len() >= CHUNK_BYTES => self.try_write(first),
            _ => {
                let mut gathered = self.buffers.gathered.borrow_mut();
                gathered.clear();
                for slice in slices {
                    let room = CHUNK_BYTES - gathered.len();
                    gathered.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                self.try_write(&gathered)
            }
        }
    }

    /// Appends a `close_notify` to what is to be sent and sends what there is room for.
    pub(super) fn announce_end(&self) {
        self.records.borrow_mut().close();
        if self.has_unsent() {
            let _ = self.send_unsent();
        }
    }

    fn send_unsent(&self) -> io::Result<()> {
        let mut records = self.records.borrow_mut();
        let sent = self.tcp.try_write(records.unsent())?;
        records.advance(sent);
        Ok(())
    }
}

impl Drop for TlsSocket {
    fn drop(&mut self) {
        let records = self.records.get_mut();
        records.close();
        if !records.unsent().is_empty() {
            let _ = self.tcp.try_write(records.unsent());
        }
    }
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("TlsSocket").field(&self.tcp).finish()
    }
}

fn broken(fault: Fault) -> Error {
    Error::new(ErrorKind::InvalidData, fault)
}

fn would_block_is_nothing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
