//! A TCP link between an edge and a nats-server that can be cut, refused and held, and from which single NATS
//! operations can be taken out.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::raw_nats::{Operation, Splitter};

/// One link; gone with all of its connections when it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What is taken out of the links that share it: a way to lose what an edge must notice.
#[derive(Debug, Default)]
pub struct Sabotage {
    dropping: Mutex<Option<Dropping>>,
    swallows_history: AtomicBool,
    dropped: AtomicU64,
    swallowed: AtomicU64,
}

#[derive(Debug)]
struct Dropping {
    subject: String,
    left: u64,
    /// Those of which every copy goes, if copies do not count.
    sequences: Option<HashSet<Vec<u8>>>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    sabotage: Arc<Sabotage>,
    /// Counts the cuts; whoever sees it change hangs up.
    cuts: watch::Sender<u64>,
    held: watch::Sender<bool>,
    refusing: AtomicBool,
    open: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Link {
    /// Listens on `address` and connects whoever comes to `upstream`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(address: SocketAddr, upstream: SocketAddr, sabotage: Arc<Sabotage>) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            upstream,
            sabotage,
            cuts: watch::Sender::new(0),
            held: watch::Sender::new(false),
            refusing: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Self {
            address,
            shared,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection, without a word to either side.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Whether new connections are ended at once.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refusing.store(refuses, Ordering::Relaxed);
    }

    /// Whether bytes are held back in both directions, as on a network that has stopped to forward.
    pub fn hold(&self, holds: bool) {
        self.shared.held.send_replace(holds);
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sabotage {
    /// Takes the next `count` messages with headers on exactly this subject out of what servers send. A connection
    /// with several subscriptions that match gets as many copies, and each counts.
    pub fn drop_messages(&self, subject: &str, count: u64) {
        self.drop(subject, count, None);
    }

    /// Takes the next `count` publications that a stream republishes on exactly this subject out of what servers send:
    /// every copy, on every link.
    pub fn drop_publications(&self, subject: &str, count: u64) {
        self.drop(subject, count, Some(HashSet::new()));
    }

    fn drop(&self, subject: &str, left: u64, sequences: Option<HashSet<Vec<u8>>>) {
        let dropping = Dropping {
            subject: subject.to_owned(),
            left,
            sequences,
        };
        *self.dropping.lock().unwrap_or_else(PoisonError::into_inner) = Some(dropping);
    }

    /// Whether every request that reads from a stream is taken out of what clients send.
    pub fn swallow_history(&self, swallows: bool) {
        self.swallows_history.store(swallows, Ordering::Relaxed);
    }

    /// How many messages were taken out.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// How many requests were taken out.
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::Relaxed)
    }

    fn passes(&self, direction: Direction, operation: Operation<'_>) -> bool {
        match direction {
            Direction::ToClient => !self.drops(operation),
            Direction::ToServer => !self.swallows(operation),
        }
    }

    fn drops(&self, operation: Operation<'_>) -> bool {
        if operation.verb() != b"HMSG" {
            return false;
        }
        let mut dropping = self.dropping.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = dropping.as_mut().is_some_and(|dropping| dropping.hits(operation));
        self.dropped.fetch_add(u64::from(hit), Ordering::Relaxed);
        hit
    }

    fn swallows(&self, operation: Operation<'_>) -> bool {
        const READS: [&str; 3] = [
            "$JS.API.DIRECT.GET.",
            "$JS.API.STREAM.MSG.GET.",
            "$JS.API.CONSUMER.",
        ];
        let reads = || {
            operation
                .subject()
                .is_some_and(|subject| READS.iter().any(|read| subject.starts_with(read)))
        };
        let hit = self.swallows_history.load(Ordering::Relaxed) && reads();
        self.swallowed.fetch_add(u64::from(hit), Ordering::Relaxed);
        hit
    }
}

impl Dropping {
    fn hits(&mut self, operation: Operation<'_>) -> bool {
        if operation.subject() != Some(&self.subject) {
            return false;
        }
        if let Some(sequences) = &mut self.sequences {
            // The stream's own value is the last.
            let mut lines = operation.body.rsplit(|byte| *byte == b'\n');
            let Some(sequence) = lines.find_map(|line| line.strip_prefix(b"Nats-Sequence:")) else {
                return false;
            };
            if sequences.contains(sequence) {
                return true;
            }
            if self.left > 0 {
                sequences.insert(sequence.to_vec());
            }
        }
        let hit = self.left > 0;
        self.left = self.left.saturating_sub(1);
        hit
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and then so are they.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if !shared.refusing.load(Ordering::Relaxed) {
            connections.spawn(carry(client, shared.clone()));
        }
    }
}

/// Carries one connection until a side ends it or it is cut.
async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let Ok(server) = TcpStream::connect(shared.upstream).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    shared.open.fetch_add(1, Ordering::Relaxed);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Whichever ends first ends the connection.
    let _ = tokio::select! {
        end = pump(from_client, to_server, Direction::ToServer, &shared) => end,
        end = pump(from_server, to_client, Direction::ToClient, &shared) => end,
        _ = cuts.changed() => Ok(()),
    };
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    shared: &Shared,
) -> io::Result<()> {
    let mut held = shared.held.subscribe();
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; 32 << 10];
    let mut passed = Vec::new();
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if held.wait_for(|held| !held).await.is_err() {
            return Ok(());
        }
        splitter.push(&buffer[..read]);
        while let Some(operation) = splitter.take() {
            if shared.sabotage.passes(direction, operation) {
                passed.extend_from_slice(operation.bytes);
            }
        }
        to.write_all(&passed).await?;
        passed.clear();
    }
}
