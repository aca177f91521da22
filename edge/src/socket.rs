//! One client's connection, in the clear or over TLS: what a session needs of it, without waiting.
//!
//! In the clear each operation is tokio's own behind one branch. Over TLS what is written is encrypted first, so a
//! socket may hold a little that it has accepted and the kernel has not ([`Socket::has_unsent`]): whoever waits
//! until something can be written waits for that too.

pub(crate) mod tls;

mod records;
mod stream;

use std::io::{self, IoSlice};

use tokio::net::TcpStream;

pub(crate) use stream::Stream;
use tls::TlsSocket;

/// A connection. Errors are those of the system; of kind `InvalidData` if the peer breaks TLS.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// Reads what is there, as `TcpStream::try_read` does; over TLS the end is the peer's `close_notify` too. Over TLS
    /// `buffer` has at least [`tls::PLAINTEXT_BYTES`].
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_read(buffer),
            Self::Tls(tls) => tls.try_read(buffer),
        }
    }

    /// Writes as much of `bytes` as the socket takes.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write(bytes),
            Self::Tls(tls) => tls.try_write(bytes),
        }
    }

    /// Writes what is unsent, then as much of `slices` as the socket takes. That it took nothing of them, without an
    /// error, means that it took something of what was unsent.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(slices),
            Self::Tls(tls) => tls.try_write_vectored(slices),
        }
    }

    /// Whether something that this socket has accepted is still to be written, by
    /// [`Socket::try_write_vectored`]: [`Socket::try_write`] takes nothing before.
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
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

    /// What lies below: to wait for it, to end it, and to read what nobody looks at.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_socket_is_no_larger_for_the_other_kind() {
        assert_eq!(size_of::<Socket>(), size_of::<TcpStream>());
    }
}
