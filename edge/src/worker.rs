//! One core: a current-thread runtime with its own listener, sessions and hub. Nothing in here is
//! shared with another thread but the inbox that the feed fills.

mod connection;
pub(crate) mod leaving;

use std::cell::{RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use tailwater_broker::Streams;
use tailwater_broker::feed::{FeedHandle, Inbox};
use tailwater_broker::history::History;
use tailwater_broker::publish::Publisher;
use tailwater_broker::request::Requester;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::LocalSet;

use crate::config::{Config, Secret};
use crate::connections::Connections;
use crate::console::Console;
use crate::control::revocations::Revocations;
use crate::control::sessions::{self, Request};
use crate::drain::Drain;
use crate::error::EdgeError;
use crate::hooks::Hooks;
use crate::hub::{self, Hub};
use crate::identity::Identity;
use crate::identity::verifier::Verifier;
use crate::limits::Limits;
use crate::limits::memory::Memory;
use crate::limits::refusal::Refusal;
use crate::metrics::meters::Meters;
use crate::outbox::OutboxLimits;
use crate::session::request::HELD_BYTES;
use crate::session::state::Rules;
use crate::session::{RETRY_AFTER_MS, Session, heartbeat, identify};
use crate::socket::tls::{self, Tls};
use crate::telemetry::traces::Tracer;

pub(crate) use connection::Entered;
use leaving::Departures;

/// One read from a socket takes at most this many bytes.
const SCRATCH_BYTES: usize = 64 * 1024;
const _: () = assert!(SCRATCH_BYTES >= tls::PLAINTEXT_BYTES);

/// How long a client may wait until it is known which tokens are revoked.
const REVOCATIONS_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Nothing if neither a namespace nor a hook needs it.
    pub(crate) requester: Option<Requester>,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) connections: Connections,
    pub(crate) limits: Arc<Limits>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) tracer: Tracer,
    pub(crate) console: Option<Arc<Console>>,
    pub(crate) verifier: Verifier,
    pub(crate) revocations: Revocations,
    /// What has to come before orders and revocations are known here.
    pub(crate) awaited: watch::Receiver<Vec<&'static str>>,
    /// With it the listener speaks TLS only.
    pub(crate) tls: Option<watch::Receiver<Arc<rustls::ServerConfig>>>,
    pub(crate) drain: Drain,
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    parts: Parts,
    /// Who sessions are that nobody has said anything of.
    anonymous: Rc<Identity>,
    hub: RefCell<Hub>,
    sessions: RefCell<Slab<Rc<Session>>>,
    /// The last session has left.
    empty: Notify,
    /// From the begin of a drain on.
    departures: RefCell<Option<Departures>>,
    scratch: RefCell<Box<[u8]>>,
    memory: Rc<Memory>,
    tls: Option<Tls>,
    /// Shares of what answers of services may take up while they wait for room in an outbox, in bytes.
    held_answers: Arc<Semaphore>,
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

    pub(crate) fn requester(&self) -> Option<&Requester> {
        self.parts.requester.as_ref()
    }

    pub(crate) fn held_answers(&self) -> &Arc<Semaphore> {
        &self.held_answers
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.parts.hooks
    }

    pub(crate) fn console(&self) -> Option<&Arc<Console>> {
        self.parts.console.as_ref()
    }

    /// Who a session is that nobody has said anything of.
    pub(crate) fn anonymous(&self) -> &Rc<Identity> {
        &self.anonymous
    }

    /// What the commands of a session with this identity are judged by.
    pub(crate) fn rules<'a>(&'a self, identity: &'a Identity) -> Rules<'a> {
        Rules {
            namespaces: &self.config().namespaces,
            identity,
            tokens: !self.config().identity.issuers.is_empty(),
        }
    }

    /// Which tokens do not count any more.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.parts.revocations
    }

    /// Waits until it is known which tokens do not count any more: soon after the start, if NATS is there.
    ///
    /// # Errors
    /// What a client is told that has waited for long enough.
    pub(crate) async fn revocations_are_known(&self) -> Result<(), ErrorMessage> {
        if self.parts.awaited.borrow().is_empty() {
            return Ok(());
        }
        let mut awaited = self.parts.awaited.clone();
        let known = awaited.wait_for(Vec::is_empty);
        match tokio::time::timeout(REVOCATIONS_PATIENCE, known).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let message = "it is not known here yet which tokens are revoked: try again";
                Err(ErrorMessage {
                    retry_after_ms: Some(RETRY_AFTER_MS),
                    ..ErrorMessage::new(ErrorCode::Unavailable, message)
                })
            }
        }
    }

    /// Who the bearer of a token is.
    ///
    /// # Errors
    /// What the client is told instead.
    pub(crate) async fn identify(&self, token: &Secret) -> Result<Rc<Identity>, ErrorMessage> {
        let verified = self.parts.verifier.verify(token.reveal()).await;
        let claims = verified.map_err(|error| identify::token_error(&error))?;
        Ok(Rc::new(claims.into()))
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    /// What this worker counts.
    pub(crate) fn meters(&self) -> &Arc<Meters> {
        &self.parts.meters
    }

    /// Makes spans of what clients ask for.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.parts.tracer
    }

    /// The memory of all outboxes.
    pub(crate) fn memory(&self) -> &Rc<Memory> {
        &self.memory
    }

    /// The bound of one outbox.
    pub(crate) fn outbox_limits(&self) -> OutboxLimits {
        let outbox = &self.config().outbox;
        OutboxLimits {
            bytes: outbox.max_bytes,
            frames: outbox.max_messages,
        }
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

    /// When this process leaves.
    pub(crate) fn drain(&self) -> &Drain {
        &self.parts.drain
    }
}

/// The worker's thread: serves until the process is to end and the last session has left.
///
/// # Errors
/// [`EdgeError::Runtime`] if there is no runtime or no listener to be had.
pub(crate) fn run(
    parts: Parts,
    listener: std::net::TcpListener,
    requests: mpsc::Receiver<Request>,
) -> Result<(), EdgeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::Runtime)?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        // The only handle: from the moment it is dropped, nobody can connect any more.
        let listener = TcpListener::from_std(listener).map_err(EdgeError::Runtime)?;
        let tls = parts.tls.clone().map(Tls::new);
        let memory = Rc::new(Memory::new(parts.limits.outboxes().clone(), parts.meters.clone()));
        let worker = Rc::new(Worker {
            parts,
            anonymous: Rc::default(),
            hub: RefCell::default(),
            sessions: RefCell::default(),
            empty: Notify::new(),
            departures: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            memory,
            tls,
            held_answers: Arc::new(Semaphore::new(HELD_BYTES)),
        });
        // To the end: sessions that drain can be looked at and closed too.
        tokio::task::spawn_local(sessions::serve(worker.clone(), requests));
        serve(worker, listener).await;
        Ok(())
    })
    // Dropping the LocalSet ends whatever did not leave in time.
}

async fn serve(worker: Rc<Worker>, listener: TcpListener) {
    let until_the_end = async { tokio::join!(open(&worker, listener), leaving::run(&worker)) };
    tokio::select! {
        _ = until_the_end => {}
        () = fan_out(&worker) => {}
        () = heartbeat::run(worker.clone()) => {}
    }
}

/// Takes clients until a drain closes the door. The listener is gone then, so that nobody can connect any more.
async fn open(worker: &Rc<Worker>, listener: TcpListener) {
    tokio::select! {
        biased;
        // First, so that nobody is left in its queue.
        () = accept(worker, &listener) => {}
        () = worker.drain().closed() => {}
    }
}

/// Passes on what the feed brings.
async fn fan_out(worker: &Worker) {
    let limits = worker.outbox_limits();
    let mut deliveries = Vec::new();
    loop {
        worker.parts.inbox.take(&mut deliveries).await;
        hub::deliver(
            &worker.hub,
            &mut deliveries,
            limits,
            &worker.memory,
            worker.tracer(),
        )
        .await;
        // A busy feed must not keep this loop from the worker's other tasks.
        tokio::task::yield_now().await;
    }
}

async fn accept(worker: &Rc<Worker>, listener: &TcpListener) {
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let worker = worker.clone();
        match worker.parts.connections.admit() {
            Some(admission) => {
                tokio::task::spawn_local(connection::serve(worker, socket, peer, admission));
            }
            None => {
                worker.limits().note_refused(Refusal::Connections, peer.ip());
                let Some(farewell) = connection::farewell(&worker, &socket, Refusal::Connections) else {
                    continue;
                };
                tokio::task::spawn_local(async move {
                    connection::turn_away(&worker, socket, Some(peer), Refusal::Connections).await;
                    drop(farewell);
                });
            }
        }
    }
}
