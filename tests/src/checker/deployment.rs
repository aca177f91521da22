//! What the checker runs against: a cluster of three nats-servers, two edges, and between them links that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use crate::cluster::{NODES, free_ports, get};
use crate::link::{Link, Sabotage};
use crate::process::config_file;
use crate::{Cluster, Process};

/// The stream of all channels of a run.
pub const STREAM: &str = "CHECK";

/// How many edges there are.
pub const EDGES: usize = 2;

/// How long an edge may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small queues, so that a burst overflows all of them; short intervals, so that a run of a minute sees several.
const CONFIG: &str = r#"
[namespace.check]
channels = "check.>"
durable = true
anonymous = true
stream = "CHECK"
[stream.CHECK]
replicas = 3
max_age_secs = 86400
max_bytes = 0
audit_interval_secs = 5
[outbox]
max_messages = 200
max_bytes = 65536
send_buffer_bytes = 4096
unsent_low_water_bytes = 1024
[feed]
worker_inbox_bytes = 65536
"#;

/// A cluster and its edges; ended when it is dropped.
pub struct Deployment {
    /// The nats-servers.
    pub cluster: Cluster,
    /// The edges.
    pub edges: Vec<EdgeNode>,
    /// What is taken out of the links between them.
    pub sabotage: Arc<Sabotage>,
}

/// An edge that keeps its ports when it is killed and started again.
pub struct EdgeNode {
    config: NamedTempFile,
    listen: SocketAddr,
    admin: SocketAddr,
    links: Vec<Link>,
    process: Process,
    /// What former processes left behind on standard error, as far as it tells of trouble.
    trouble: Vec<String>,
}

impl Deployment {
    /// Starts everything and waits until every edge is ready.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start() -> Self {
        let cluster = Cluster::start().await;
        let sabotage = Arc::new(Sabotage::default());
        let mut edges = Vec::new();
        for _ in 0..EDGES {
            let mut edge = EdgeNode::start(&cluster, &sabotage).await;
            edge.becomes_ready().await;
            edges.push(edge);
        }
        assert!(
            cluster.recovers(STREAM).await,
            "the stream is up: {}",
            cluster.logs()
        );
        Self {
            cluster,
            edges,
            sabotage,
        }
    }
}

impl EdgeNode {
    async fn start(cluster: &Cluster, sabotage: &Arc<Sabotage>) -> Self {
        let ports = free_ports(2 + NODES);
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut links = Vec::new();
        for (node, port) in ports[2..].iter().enumerate() {
            links.push(Link::start(address(*port), cluster.address(node), sabotage.clone()).await);
        }
        let urls: Vec<_> = links
            .iter()
            .map(|link| format!("\"nats://{}\"", link.address()))
            .collect();
        let nats = format!(
            "[nats]\nurl = [{}]\nping_interval_secs = 1\nconnect_timeout_secs = 1\nreconnect_max_delay_secs = 1\n",
            urls.join(", ")
        );
        let config = config_file(&format!("{nats}{CONFIG}"));
        let (listen, admin) = (address(ports[0]), address(ports[1]));
        let process = run(&config, listen, admin);
        Self {
            config,
            listen,
            admin,
            links,
            process,
            trouble: Vec::new(),
        }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.listen)
    }

    /// Its links to NATS, one to each node of the cluster.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The node to which it has most connections.
    pub fn node(&self) -> usize {
        let busiest = (0..NODES).max_by_key(|node| self.links[*node].connections());
        busiest.unwrap_or(0)
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.process.is_running() {
            self.process.signal(signal);
        }
    }

    /// Kills it and waits for its end.
    pub async fn kill(&mut self) {
        self.note_trouble();
        self.signal(Signal::KILL);
        self.process.end().await;
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.process = run(&self.config, self.listen, self.admin);
    }

    /// Notes if it has ended by itself or panicked, and starts it again if it has to be.
    pub fn look_after(&mut self) {
        if !self.process.is_running() {
            self.trouble.push(format!(
                "an edge ended by itself: {}",
                tail(&self.process.stderr(), 5)
            ));
            self.note_trouble();
            self.restart();
        }
    }

    /// What of its log tells of trouble, over all of its lives.
    pub fn trouble(&mut self) -> Vec<String> {
        self.note_trouble();
        std::mem::take(&mut self.trouble)
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        tail(&self.process.stderr(), 20)
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// If it ends, or is not ready within a minute.
    async fn becomes_ready(&mut self) {
        let admin = self.admin;
        let process = &mut self.process;
        let ready = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while get(admin, "/readyz")
                .await
                .is_none_or(|(status, _)| status != 200)
            {
                assert!(
                    process.is_running(),
                    "the edge ended: {}",
                    tail(&process.stderr(), 20)
                );
                tick.tick().await;
            }
        };
        let ready = timeout(PATIENCE, ready).await;
        assert!(ready.is_ok(), "the edge is ready: {}", self.log());
    }

    fn note_trouble(&mut self) {
        let log = self.process.stderr();
        let panics = log.lines().filter(|line| line.contains("panicked at"));
        self.trouble
            .extend(panics.map(|line| format!("an edge panicked: {line}")));
    }
}

fn run(config: &NamedTempFile, listen: SocketAddr, admin: SocketAddr) -> Process {
    let config = config.path().to_str().expect("text");
    let (listen, admin) = (listen.to_string(), admin.to_string());
    Process::start([
        "serve",
        "--config",
        config,
        "--listen",
        &listen,
        "--admin-listen",
        &admin,
    ])
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
