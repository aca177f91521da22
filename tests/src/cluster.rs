//! Three nats-servers on the loopback that are one JetStream cluster. Each keeps its ports and its store when it
//! is killed and started again; none tells its clients of the others, so that a client stays where it is put.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::nats_process::{free_port, nats_server, send_signal};

/// How many nodes there are: enough for a stream of three replicas to go on without one.
pub const NODES: usize = 3;

/// How long the cluster may take to agree on something.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three nats-servers; killed when it is dropped.
pub struct Cluster {
    nodes: Vec<Node>,
    _folder: tempfile::TempDir,
}

struct Node {
    name: String,
    binary: PathBuf,
    folder: PathBuf,
    port: u16,
    monitoring: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Starts all nodes and waits until JetStream has a leader.
    ///
    /// # Panics
    /// If there is no nats-server to be had, or the cluster does not form.
    pub async fn start() -> Self {
        let binary = nats_server().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = free_ports(3 * NODES);
        let routes = &ports[..NODES];
        let nodes = (0..NODES).map(|index| {
            let node = Node {
                name: format!("n{index}"),
                binary: binary.clone(),
                folder: folder.path().join(format!("n{index}")),
                port: ports[NODES + index],
                monitoring: ports[2 * NODES + index],
                child: None,
            };
            node.configure(index, routes);
            node
        });
        let mut cluster = Self {
            nodes: nodes.collect(),
            _folder: folder,
        };
        for index in 0..NODES {
            cluster.restart(index);
        }
        let formed = cluster.within(PATIENCE, async |cluster| cluster.is_formed().await);
        assert!(
            formed.await,
            "the cluster has a leader within {PATIENCE:?}: {}",
            cluster.logs()
        );
        cluster
    }

    /// Where a node listens for clients.
    pub fn address(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.nodes[node].port))
    }

    /// Where all nodes listen for clients.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..NODES).map(|node| self.address(node)).collect()
    }

    /// Sends a node a signal.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, node: usize, signal: Signal) {
        let child = self.nodes[node].child.as_ref().expect("the node runs");
        send_signal(child.id(), signal);
    }

    /// Kills a node and waits for its end; its store stays.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].end();
    }

    /// Starts a node that was killed: the same ports, the same store.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn restart(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.end();
        let child = Command::new(&node.binary)
            .arg("-c")
            .arg(node.folder.join("nats-server.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        node.child = Some(child.expect("nats-server runs"));
    }

    /// The node that leads `stream`; none while an election is held.
    pub async fn leader(&self, stream: &str) -> Option<usize> {
        for index in 0..NODES {
            let node = &self.nodes[index];
            let details = node.stream(stream).await;
            if details.is_some_and(|details| details["cluster"]["leader"] == node.name.as_str()) {
                return Some(index);
            }
        }
        None
    }

    /// Whether `stream` has a leader, all of its replicas are level with it, and JetStream has a leader too: one
    /// node may go now.
    pub async fn is_healthy(&self, stream: &str) -> bool {
        let Some(leader) = self.leader(stream).await else {
            return false;
        };
        let Some(details) = self.nodes[leader].stream(stream).await else {
            return false;
        };
        let replicas = details["cluster"]["replicas"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let level = |replica: &Value| {
            replica["current"] == true
                && replica["offline"] != true
                && replica["lag"].as_u64().unwrap_or(0) < 100
        };
        replicas.len() == NODES - 1 && replicas.iter().all(level) && self.is_formed().await
    }

    /// Waits until [`Cluster::is_healthy`]; false if that takes longer than a minute.
    pub async fn recovers(&self, stream: &str) -> bool {
        self.within(PATIENCE, async |cluster| cluster.is_healthy(stream).await)
            .await
    }

    /// The last lines of each node's log.
    pub fn logs(&self) -> String {
        let logs = self.nodes.iter().map(|node| {
            let log = std::fs::read_to_string(node.folder.join("nats-server.log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(15).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            format!("{}:\n{}\n", node.name, lines.join("\n"))
        });
        logs.collect()
    }

    /// Whether every node is up, and all of them know who leads JetStream.
    async fn is_formed(&self) -> bool {
        for node in &self.nodes {
            let Some(state) = node.ask("/jsz").await else {
                return false;
            };
            let meta = &state["meta_cluster"];
            if meta["leader"].as_str().is_none_or(str::is_empty) || meta["cluster_size"] != NODES {
                return false;
            }
        }
        true
    }

    async fn within(&self, patience: Duration, condition: impl AsyncFn(&Self) -> bool) -> bool {
        let waiting = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            while !condition(self).await {
                tick.tick().await;
            }
        };
        timeout(patience, waiting).await.is_ok()
    }
}

impl Node {
    fn configure(&self, index: usize, routes: &[u16]) {
        std::fs::create_dir_all(&self.folder).expect("the folder is ours");
        let others: Vec<_> = routes
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let config = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring}\"\n\
             logfile: \"{folder}/nats-server.log\"\njetstream {{ store_dir: \"{folder}/store\" }}\n\
             cluster {{ name: loss, listen: \"127.0.0.1:{route}\", routes: [{others}], no_advertise: true }}\n",
            name = self.name,
            port = self.port,
            monitoring = self.monitoring,
            folder = self.folder.display(),
            route = routes[index],
            others = others.join(", "),
        );
        std::fs::write(self.folder.join("nats-server.conf"), config).expect("the folder is ours");
    }

    /// What the node knows of a stream.
    async fn stream(&self, stream: &str) -> Option<Value> {
        let state = self.ask("/jsz?accounts=1&streams=1").await?;
        let accounts = state["account_details"].as_array()?;
        let mut streams = accounts
            .iter()
            .filter_map(|account| account["stream_detail"].as_array())
            .flatten();
        streams.find(|details| details["name"] == stream).cloned()
    }

    /// Asks the monitoring port; nothing if the node is away or stopped.
    async fn ask(&self, path: &str) -> Option<Value> {
        let answer = get(SocketAddr::from(([127, 0, 0, 1], self.monitoring)), path).await?;
        serde_json::from_str(&answer.1).ok()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// A plain GET from somebody who may be away, or stopped: the status and the body, within a second.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            dechunked(body)
        } else {
            body.to_owned()
        };
        Some((head.split(' ').nth(1)?.parse().ok()?, body))
    };
    timeout(Duration::from_secs(1), asking).await.ok()?
}

fn dechunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..length).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        whole.push_str(chunk);
        body = rest.get(length + 2..).unwrap_or_default();
    }
    whole
}

/// Free ports, as [`free_port`] gives them, none of them twice in this process: whoever was killed finds its own again.
///
/// # Panics
/// If there are too few.
pub fn free_ports(count: usize) -> Vec<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    std::iter::repeat_with(free_port)
        .filter(|port| given.insert(*port))
        .take(count)
        .collect()
}
