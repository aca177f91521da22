//! A balancer of TCP connections: in turn to every edge that says that it is ready.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::checker::truth::lock;
use crate::cluster::get;

/// How often each edge is asked.
const CHECK: Duration = Duration::from_millis(250);

/// So many answers in a row must say that an edge is not ready before it gets no more clients: balancers notice late.
const MISSES: u32 = 2;

/// Ended, with all of its connections, when it is dropped.
pub(super) struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Shared {
    edges: Mutex<Vec<Edge>>,
    turn: AtomicUsize,
    /// When each connection came.
    connections: Mutex<Vec<Instant>>,
}

#[derive(Clone)]
struct Edge {
    public: SocketAddr,
    admin: SocketAddr,
    is_ready: bool,
    misses: u32,
    open: Arc<AtomicUsize>,
}

impl Balancer {
    /// Listens on a free port, before no edge at all.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let shared = Arc::<Shared>::default();
        Self {
            address: listener.local_addr().expect("it has an address"),
            tasks: [
                tokio::spawn(accept(listener, shared.clone())),
                tokio::spawn(check(shared.clone())),
            ],
            shared,
        }
    }

    /// The address for clients.
    pub(super) fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Adds an edge, and gives its number.
    pub(super) fn add(&self, public: SocketAddr, admin: SocketAddr) -> usize {
        let mut edges = lock(&self.shared.edges);
        edges.push(Edge {
            public,
            admin,
            is_ready: false,
            misses: 0,
            open: Arc::default(),
        });
        edges.len() - 1
    }

    /// Whether an edge gets clients.
    pub(super) fn uses(&self, edge: usize) -> bool {
        lock(&self.shared.edges)[edge].is_ready
    }

    /// How many connections an edge has.
    pub(super) fn open(&self, edge: usize) -> usize {
        lock(&self.shared.edges)[edge].open.load(Ordering::Relaxed)
    }

    /// When connections came, counted from `begin`.
    pub(super) fn arrivals(&self, begin: Instant) -> Vec<Duration> {
        let connections = lock(&self.shared.connections);
        let times = &connections[connections.partition_point(|at| *at < begin)..];
        times.iter().map(|at| *at - begin).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        lock(&shared.connections).push(Instant::now());
        let edge = {
            let edges = lock(&shared.edges);
            let ready: Vec<_> = edges.iter().filter(|edge| edge.is_ready).collect();
            let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
            ready.get(turn % ready.len().max(1)).map(|edge| (*edge).clone())
        };
        if let Some(edge) = edge {
            links.spawn(link(client, edge));
        }
        while links.try_join_next().is_some() {}
    }
}

async fn link(mut client: TcpStream, edge: Edge) {
    let Ok(mut server) = TcpStream::connect(edge.public).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    edge.open.fetch_add(1, Ordering::Relaxed);
    let _ = copy_bidirectional(&mut client, &mut server).await;
    edge.open.fetch_sub(1, Ordering::Relaxed);
}

/// Asks all edges again and again whether they are ready.
async fn check(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(CHECK);
    loop {
        tick.tick().await;
        let admins: Vec<_> = lock(&shared.edges).iter().map(|edge| edge.admin).collect();
        for (index, admin) in admins.into_iter().enumerate() {
            let is_ready = get(admin, "/readyz")
                .await
                .is_some_and(|(status, _)| status == 200);
            let edge = &mut lock(&shared.edges)[index];
            edge.misses = if is_ready { 0 } else { edge.misses + 1 };
            edge.is_ready = is_ready || (edge.is_ready && edge.misses < MISSES);
        }
    }
}
