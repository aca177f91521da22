//! A nats-server as an operator runs one: with a configuration of the test's own, watched through its
//! monitoring port, ended and stopped by signals, and never started again by itself.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tailwater_broker::embedded;

use crate::process::stands_still;
use crate::{eventually, raw_socket};

/// A nats-server; killed when it is dropped.
pub struct NatsProcess {
    child: Child,
    nats: SocketAddr,
    monitoring: SocketAddr,
    folder: tempfile::TempDir,
}

/// One subscription that NATS has: the connection and the name that the client gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The connection's number on the server.
    pub connection: u64,
    /// The client's own number of the subscription.
    pub name: String,
}

impl NatsProcess {
    /// Starts one on a free port, with the text of a configuration file. The port is none that the kernel gives
    /// to whoever asks for any, so that it is still free after [`NatsProcess::kill`].
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(config: &str) -> Self {
        Self::start_on(free_port(), config).await
    }

    /// As [`NatsProcess::start`], on this port of the loopback.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_on(port: u16, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let binary = nats_server().await;
        let file = folder.path().join("nats-server.conf");
        // Not empty, which nats-server would remark on.
        std::fs::write(&file, format!("debug: false\n{config}\n")).expect("a temporary file takes text");
        let port = port.to_string();
        let log = folder.path().join("nats-server.log");
        let mut child = Command::new(binary)
            // nats-server calls a free port -1.
            .args(["-a", "127.0.0.1", "-p", &port, "-m", "-1", "--ports_file_dir"])
            .arg(folder.path())
            .arg("-l")
            .arg(&log)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nats-server runs");
        let ports = folder.path().join(format!("nats-server_{}.ports", child.id()));
        let (nats, monitoring) = eventually("nats-server listens", async || {
            if let Ok(Some(status)) = child.try_wait() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("nats-server ended ({status}): {log}");
            }
            addresses(&ports)
        })
        .await;
        Self {
            child,
            nats,
            monitoring,
            folder,
        }
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.nats)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.nats
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// Stops it, and waits until it stands still; `SIGCONT` lets it go on.
    ///
    /// # Panics
    /// If it has ended.
    pub async fn freeze(&self) {
        self.signal(Signal::STOP);
        eventually("nats-server stands still", async || {
            stands_still(self.child.id()).then_some(())
        })
        .await;
    }

    /// Gives it another configuration, which it takes on without ending connections that it still allows.
    ///
    /// # Panics
    /// If it has ended.
    pub fn reload(&self, config: &str) {
        let file = self.folder.path().join("nats-server.conf");
        std::fs::write(file, format!("debug: false\n{config}\n")).expect("the folder is there");
        self.signal(Signal::HUP);
    }

    /// Kills it and waits for its end. Gives the port, which is free then.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn kill(mut self) -> u16 {
        self.end();
        self.nats.port()
    }

    /// The subscriptions that NATS has on exactly `subject`.
    ///
    /// # Panics
    /// If the server does not tell.
    pub async fn subscriptions(&self, subject: &str) -> Vec<Subscription> {
        // NATS asks for a subject without wildcards that the subscription would match.
        let example = subject.replace(['*', '>'], "x");
        let path = format!("/subsz?subs=1&test={example}");
        let (status, body) = raw_socket::get(self.monitoring, &path).await;
        assert_eq!(status, 200, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let list = body["subscriptions_list"].as_array().cloned().unwrap_or_default();
        list.iter()
            .filter(|entry| entry["subject"] == subject)
            .map(|entry| Subscription {
                connection: entry["cid"].as_u64().expect("a number"),
                name: entry["sid"].as_str().expect("a name").to_owned(),
            })
            .collect()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for NatsProcess {
    fn drop(&mut self) {
        self.end();
    }
}

/// The nats-server of the tests, installed if there is none.
///
/// # Panics
/// If there is none to be had.
pub async fn nats_server() -> PathBuf {
    let cache_dir = embedded::default_cache_dir().expect("a cache folder");
    let located =
        tokio::task::spawn_blocking(move || embedded::locate(&cache_dir, &|line| eprintln!("{line}")));
    match located.await.expect("it does not panic") {
        Ok(binary) => binary.path,
        Err(error) => panic!("no nats-server: {error}"),
    }
}

/// A free port of the loopback below those that Linux gives out by itself (`ip_local_port_range`).
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(10_000..32_000))
        .take(100)
        .find(free)
        .expect("a port is free")
}

/// Sends a process of the test a signal.
///
/// # Panics
/// If there is no such process.
pub fn send_signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// Reads `{"nats": ["nats://127.0.0.1:4222"], "monitoring": ["http://127.0.0.1:8222"]}`; nothing while
/// it is being written.
fn addresses(ports: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(ports).ok()?).ok()?;
    let address = |kind: &str| ports[kind][0].as_str()?.rsplit_once('/')?.1.parse().ok();
    address("nats").zip(address("monitoring"))
}
