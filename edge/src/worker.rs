//! One core: a current-thread runtime with its own listener, sessions and hub. Nothing in here is
//! shared with another thread but the inbox that the feed fills.

use std::cell::{RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;
use tailwater_broker::Streams;
use tailwater_broker::feed::{FeedHandle, Inbox};
use tailwater_broker::history::History;
use tailwater_broker::publish::Publisher;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::encoding::Encoding;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

use crate::config::Config;
use crate::connections::{Admission, Connections};
use crate::console::Console;
use crate::error::EdgeError;
use crate::http;
use crate::hub::{self, Hub};
use crate::outbox::OutboxLimits;
use crate::session::{self, End, Session, heartbeat};
use crate::socket::tls::{self, Tls};
use crate::socket::{Socket, Stream};

/// One read from a socket takes at most this many bytes.
const SCRATCH_BYTES: usize = 64 * 1024;
const _: () = assert!(SCRATCH_BYTES >= tls::PLAINTEXT_BYTES);

/// What clients read when the process stops.
const STOPPING: &str = "the server is stopping: reconnect with back-off";

/// The pause after a failed accept, such as for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a worker is made of; crosses to the worker's thread.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) feed: FeedHandle,
    pub(crate) history: History,
    pub(crate) streams: Streams,
    pub(crate) publisher: Publisher,
    pub(crate) connections: Connections,
    pub(crate) console: Option<Arc<Console>>,
    /// With it the listener speaks TLS only.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    parts: Parts,
    hub: RefCell<Hub>,
    sessions: RefCell<Slab<Rc<Session>>>,
    /// The last session has left.
    empty: Notify,
    scratch: RefCell<Box<[u8]>>,
    tls: Option<Tls>,
}

impl Worker {
    pub(crate) fn index(&self) -> usize {
        self.parts.index
    }

    pub(crate) fn config(&self) -> &Config {
        &self.parts.config
    }

    pub(crate) fn feed(&self) -> &FeedHandle {
        &self.parts.feed
    }

    pub(crate) fn history(&self) -> &History {
        &self.parts.history
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.parts.streams
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.parts.publisher
    }

    pub(crate) fn console(&self) -> Option<&Arc<Console>> {
        self.parts.console.as_ref()
    }

    pub(crate) fn hub(&self) -> &RefCell<Hub> {
        &self.hub
    }

    pub(crate) fn sessions(&self) -> &RefCell<Slab<Rc<Session>>> {
        &self.sessions
    }

    /// The buffer that every read of this worker goes through; never held across an await.
    pub(crate) fn scratch(&self) -> RefMut<'_, [u8]> {
        RefMut::map(self.scratch.borrow_mut(), |scratch| &mut **scratch)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.parts.stopping.borrow()
    }
}

/// The worker's thread: serves until the process stops and the last session has left.
///
/// # Errors
/// [`EdgeError::Runtime`] if there is no runtime or no listener to be had.
pub(crate) fn run(parts: Parts, listener: std::net::TcpListener) -> Result<(), EdgeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::Runtime)?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        // The only handle: from the moment it is dropped, nobody can connect any more.
        let listener = TcpListener::from_std(listener).map_err(EdgeError::Runtime)?;
        let tls = parts.tls.clone().map(Tls::new);
        let worker = Rc::new(Worker {
            parts,
            hub: RefCell::default(),
            sessions: RefCell::default(),
            empty: Notify::new(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            tls,
        });
        serve(worker, listener).await;
        Ok(())
    })
    // Dropping the LocalSet ends whatever did not leave in time.
}

async fn serve(worker: Rc<Worker>, listener: TcpListener) {
    let mut stopping = worker.parts.stopping.clone();
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = accept(&worker, listener) => {}
        () = fan_out(&worker) => {}
        () = heartbeat::run(worker.clone()) => {}
    }
    for (_, session) in &*worker.sessions.borrow() {
        session.end(End::Close(CloseCode::Drain, STOPPING));
    }
    let left = async {
        while !worker.sessions.borrow().is_empty() {
            worker.empty.notified().await;
        }
    };
    if tokio::time::timeout(worker.config().drain.timeout, left)
        .await
        .is_err()
    {
        let count = worker.sessions.borrow().len();
        tracing::warn!(count, "sessions did not leave in time and were cut off");
    }
}

/// Passes on what the feed brings.
async fn fan_out(worker: &Worker) {
    let outbox = &worker.config().outbox;
    let limits = OutboxLimits {
        bytes: outbox.max_bytes,
        frames: outbox.max_messages,
    };
    let mut deliveries = Vec::new();
    loop {
        worker.parts.inbox.take(&mut deliveries).await;
        hub::deliver(&worker.hub, &mut deliveries, limits).await;
        // A busy feed must not keep this loop from the worker's other tasks.
        tokio::task::yield_now().await;
    }
}

async fn accept(worker: &Rc<Worker>, listener: TcpListener) {
    loop {
        let (socket, remote_addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match worker.parts.connections.admit() {
            Some(admission) => {
                let worker = worker.clone();
                tokio::task::spawn_local(connection(worker, socket, remote_addr, admission));
            }
            // A TLS client could not read it.
            None if worker.tls.is_some() => {}
            None => http::refuse(&socket),
        }
    }
}

/// One connection from its first byte to its last.
async fn connection(worker: Rc<Worker>, socket: TcpStream, remote_addr: SocketAddr, admission: Admission) {
    // The HTTP phase is large and short: in a box that is gone before the session begins.
    let upgraded = Box::pin(http_phase(&worker, socket, remote_addr)).await;
    if let Some(http::Upgraded {
        socket,
        answer,
        read_ahead,
        encoding,
    }) = upgraded
    {
        let entered = Entered::new(&worker, encoding, remote_addr, socket);
        session::welcome(&entered.session, &worker, answer);
        if worker.is_stopping() {
            entered.session.end(End::Close(CloseCode::Drain, STOPPING));
        }
        session::run(entered.session.clone(), worker.clone(), read_ahead).await;
    }
    drop(admission);
}

/// From the first byte to the WebSocket, if it becomes one.
async fn http_phase(
    worker: &Rc<Worker>,
    socket: TcpStream,
    remote_addr: SocketAddr,
) -> Option<http::Upgraded> {
    let stream = match &worker.tls {
        None => Stream::new(Socket::Plain(socket), Vec::new()),
        Some(tls) => {
            let timeout = worker.config().websocket.header_timeout;
            let accepted = tokio::time::timeout(timeout, tls.accept(socket)).await;
            match accepted.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok((socket, early)) => Stream::new(Socket::Tls(Box::new(socket)), early),
                Err(error) => {
                    tracing::debug!(%remote_addr, %error, "the TLS handshake fails");
                    return None;
                }
            }
        }
    };
    http::serve(worker, stream, remote_addr).await
}

/// A session among those of its worker; dropping it takes the session out, whatever happened.
struct Entered {
    worker: Rc<Worker>,
    session: Rc<Session>,
    key: usize,
}

impl Entered {
    fn new(worker: &Rc<Worker>, encoding: Encoding, remote_addr: SocketAddr, socket: Socket) -> Self {
        let id = fastrand::u64(..);
        let session = Rc::new(Session::new(id, encoding, remote_addr, socket));
        let key = worker.sessions.borrow_mut().insert(session.clone());
        tracing::debug!(session_id = %format_args!("{id:016x}"), %remote_addr, ?encoding, "session begins");
        Self {
            worker: worker.clone(),
            session,
            key,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        session::leave(&self.session, &self.worker);
        let mut sessions = self.worker.sessions.borrow_mut();
        sessions.remove(self.key);
        if sessions.is_empty() {
            self.worker.empty.notify_one();
        }
    }
}

/// Bytes that a client sent behind its handshake, in two parts, without the buffers that they came in.
pub(crate) fn compact(read_ahead: &[u8], decrypted: &[u8]) -> Bytes {
    Bytes::from([read_ahead, decrypted].concat())
}
