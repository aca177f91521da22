//! A socket as hyper reads and writes it, for the HTTP phase alone.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Socket;

/// A socket that is waited for.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    /// What was decrypted and not read yet: records are larger than what is asked for may be.
    decrypted: Vec<u8>,
    holds: Rc<Cell<bool>>,
    held: Vec<u8>,
}

/// What is left of a [`Stream`] after the HTTP phase.
pub(crate) struct Parts {
    pub(crate) socket: Socket,
    /// What was read from it and not taken.
    pub(crate) decrypted: Vec<u8>,
    /// What was written since [`Stream::holds`] was set, and has not been sent.
    pub(crate) held: Vec<u8>,
}

impl Stream {
    /// `decrypted` has been read from the socket already.
    pub(crate) fn new(socket: Socket, decrypted: Vec<u8>) -> Self {
        Self {
            socket,
            decrypted,
            holds: Rc::default(),
            held: Vec::new(),
        }
    }

    /// While this is set, what is written is kept instead of sent: the answer to an opening handshake goes out with the
    /// first frame, in one system call.
    pub(crate) fn holds(&self) -> Rc<Cell<bool>> {
        self.holds.clone()
    }

    pub(crate) fn into_parts(self) -> Parts {
        Parts {
            socket: self.socket,
            decrypted: self.decrypted,
            held: self.held,
        }
    }

    fn take_decrypted(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.decrypted.len().min(buffer.remaining());
        buffer.put_slice(&self.decrypted[..count]);
        self.decrypted.drain(..count);
    }

    /// Waits until there is room, and writes what is unsent, then some of `slices`.
    fn poll_write_some(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.holds.get() {
            let before = self.held.len();
            slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
            return Poll::Ready(Ok(self.held.len() - before));
        }
        loop {
            ready!(self.socket.poll_write_ready(context));
            match self.socket.try_write_vectored(slices) {
                Ok(0) if self.socket.has_unsent() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.decrypted.is_empty() {
                this.take_decrypted(buffer);
                return Poll::Ready(Ok(()));
            }
            let tls = match &mut this.socket {
                Socket::Plain(tcp) => return Pin::new(tcp).poll_read(context, buffer),
                Socket::Tls(tls) => tls,
                Socket::None => return Poll::Ready(Ok(())),
            };
            ready!(tls.tcp().poll_read_ready(context))?;
            match tls.receive(|bytes| this.decrypted.extend_from_slice(bytes)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                _ => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_some(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_some(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.holds.get() && self.socket.has_unsent() {
            ready!(self.poll_write_some(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.announce_end();
        ready!(self.as_mut().poll_flush(context))?;
        let tcp = self.socket.tcp();
        Poll::Ready(tcp.map_or(Ok(()), |tcp| SockRef::from(tcp).shutdown(Shutdown::Write)))
    }
}
