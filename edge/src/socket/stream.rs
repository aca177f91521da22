//! A socket as hyper reads and writes it, for the HTTP phase alone.

use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
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
}

impl Stream {
    /// `decrypted` has been read from the socket already.
    pub(crate) fn new(socket: Socket, decrypted: Vec<u8>) -> Self {
        Self { socket, decrypted }
    }

    /// The socket, and what was read from it and not taken.
    pub(crate) fn into_parts(self) -> (Socket, Vec<u8>) {
        (self.socket, self.decrypted)
    }

    fn take_decrypted(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.decrypted.len().min(buffer.remaining());
        buffer.put_slice(&self.decrypted[..count]);
        self.decrypted.drain(..count);
    }

    /// Waits until there is room, and writes what is unsent, then some of `slices`.
    fn poll_write_some(&self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.tcp().poll_write_ready(context))?;
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
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_some(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_some(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.socket.has_unsent() {
            ready!(self.poll_write_some(context, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.announce_end();
        ready!(self.as_mut().poll_flush(context))?;
        Poll::Ready(SockRef::from(self.socket.tcp()).shutdown(Shutdown::Write))
    }
}
