//! How many connections the process may hold: what the configuration says, and never more than its
//! files allow.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::EdgeError;

/// Files that are kept for everything but clients: NATS, listeners, logs, files to serve, and clients that are told that
/// there is no room.
const RESERVED_FILES: u64 = 128;

/// Connections that wait to be accepted; the kernel caps it by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Counts the connections of the process.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    open: Arc<AtomicUsize>,
    limit: usize,
}

/// One connection that was let in; counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<AtomicUsize>);

impl Connections {
    /// Raises the soft limit of files to the hard one and derives the limit of connections from it.
    /// Nothing `configured` means as many as the files allow.
    pub(crate) fn new(configured: Option<NonZeroUsize>) -> Self {
        let files = usize::try_from(raise_file_limit().saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
        let limit = configured.map_or(files, |configured| files.min(configured.get()));
        if let Some(configured) = configured.filter(|configured| configured.get() > limit) {
            tracing::warn!(
                configured,
                limit,
                "the file limit allows fewer connections: raise `ulimit -n`"
            );
        }
        Self {
            open: Arc::default(),
            limit,
        }
    }

    /// A count of its own: so many at once.
    pub(crate) fn at_most(limit: usize) -> Self {
        Self {
            open: Arc::default(),
            limit,
        }
    }

    /// Most connections at once.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Lets one more in, if there is room.
    pub(crate) fn admit(&self) -> Option<Admission> {
        let count = self.open.fetch_add(1, Ordering::Relaxed);
        let admission = Admission(self.open.clone());
        (count < self.limit).then_some(admission)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Raises the soft limit of open files to the hard one, and says what it is.
fn raise_file_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if limit.current != before
        && let Err(error) = setrlimit(Resource::Nofile, limit)
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
        return before.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}

/// How much the kernel keeps of what a client does not read, in bytes: else megabytes would hide there before any policy
/// for slow clients acts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KernelLimits {
    /// `SO_SNDBUF`.
    pub(crate) send_buffer: usize,
    /// `TCP_NOTSENT_LOWAT`.
    pub(crate) unsent_low_water: u32,
}

/// One listener a worker, all on the same address; the kernel spreads connections over them.
///
/// # Errors
/// [`EdgeError::Listen`] if the address is taken or not ours.
pub(crate) fn listeners(
    address: SocketAddr,
    count: usize,
    limits: KernelLimits,
) -> Result<Vec<TcpListener>, EdgeError> {
    bind_all(address, count, limits).map_err(|source| EdgeError::Listen { address, source })
}

fn bind_all(address: SocketAddr, count: usize, limits: KernelLimits) -> io::Result<Vec<TcpListener>> {
    // Sharing the port would also share it with another process that does so: look first, alone. A
    // port that the kernel chooses is nobody else's.
    if address.port() != 0 {
        bind(address, false, limits)?;
    }
    let first = bind(address, true, limits)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address, true, limits)?);
    }
    let listen = |socket: Socket| {
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    sockets.into_iter().map(listen).collect()
}

/// Accepted sockets inherit what is set here, so that no connection costs system calls for it.
fn bind(address: SocketAddr, share: bool, limits: KernelLimits) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    // Small writes go out at once.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(limits.send_buffer)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(limits.unsent_low_water)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::TcpStream;

    #[test]
    fn accepted_sockets_have_the_options_of_their_listener() {
        let limits = KernelLimits {
            send_buffer: 20_000,
            unsent_low_water: 12_345,
        };
        let listeners = listeners("127.0.0.1:0".parse().unwrap(), 1, limits).unwrap();
        let _client = TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap();
        listeners[0].set_nonblocking(false).unwrap();
        let (accepted, _) = listeners[0].accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        // Linux counts its own overhead in.
        assert_eq!(accepted.send_buffer_size().unwrap(), 40_000);
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), 12_345);
    }
}
