//! One client's connection, in the clear or over TLS: what a session needs of it, without waiting.
//!
//! In the clear each operation is tokio's own behind one branch. Over TLS what is written is encrypted first, so a
//! socket may hold a little that it has accepted and the kernel has not ([`Socket::has_unsent`]): whoever waits
//! until something can be written waits for that too.

pub(crate) mod tls;

mod records;
mod stream;

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::TcpStream;

pub(crate) use stream::Stream;
use tls::TlsSocket;

/// A connection. Errors are those of the system; of kind `InvalidData` if the peer breaks TLS.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
    /// There is none: what is written stays in the outbox, and becomes the answer to a request.
    None,
}

impl Socket {
    /// Reads what is there, as `TcpStream::try_read` does; over TLS the end is the peer's `close_notify` too. Over TLS
    /// `buffer` has at least [`tls::PLAINTEXT_BYTES`].
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => try_read(tcp, buffer),
            Self::Tls(tls) => tls.try_read(buffer),
            Self::None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes as much of `bytes` as the socket takes.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write(bytes),
            Self::Tls(tls) => tls.try_write(bytes),
            Self::None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes what is unsent, then as much of `slices` as the socket takes. That it took nothing of them, without an
    /// error, means that it took something of what was unsent.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(slices),
            Self::Tls(tls) => tls.try_write_vectored(slices),
            Self::None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether something that this socket has accepted is still to be written, by
    /// [`Socket::try_write_vectored`]: [`Socket::try_write`] takes nothing before.
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) | Self::None => false,
            Self::Tls(tls) => tls.has_unsent(),
        }
    }

    /// Says that nothing more will be written, if the transport has a word for that before its own end. It may be
    /// unsent then.
    pub(crate) fn announce_end(&self) {
        if let Self::Tls(tls) = self {
            tls.announce_end();
        }
    }

    /// Whether there may be something to read. Without a socket there never is.
    pub(crate) fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.tcp()
            .map_or(Poll::Pending, |tcp| tcp.poll_read_ready(context).map(drop))
    }

    /// Whether something may be written. Without a socket that never is so.
    pub(crate) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.tcp()
            .map_or(Poll::Pending, |tcp| tcp.poll_write_ready(context).map(drop))
    }

    /// What lies below: to wait for it, to end it, and to read what nobody looks at.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.tcp()),
            Self::None => None,
        }
    }
}

/// As `TcpStream::try_read`, but a read that does not fill the buffer has emptied the socket, which is then not read
/// again before more has come: one system call for a message instead of two (`epoll(7)`, question 9).
fn try_read(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    let result = tcp.try_io(Interest::READABLE, || {
        let count = rustix::io::read(tcp, &mut *buffer)?;
        read = Some(count);
        match count {
            count if count == 0 || count == buffer.len() => Ok(count),
            // How tokio is told.
            _ => Err(ErrorKind::WouldBlock.into()),
        }
    });
    read.map_or(result, Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_socket_is_a_word_larger_at_most_for_the_other_kinds() {
        assert!(size_of::<Socket>() <= size_of::<TcpStream>() + size_of::<usize>());
    }
}
