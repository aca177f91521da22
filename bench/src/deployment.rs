//! The servers that a scenario measures, each a process of its own on the loopback: a real nats-server and an edge. Both
//! end with the value that stands for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tailwater_broker::embedded::{self, Embedded, EmbeddedConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::pin;
use crate::tls::Certificate;

/// The longest that a server may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// A nats-server with JetStream and an empty store.
pub(crate) struct Nats {
    embedded: Embedded,
    _state: tempfile::TempDir,
}

impl Nats {
    /// Starts it on a free port; installs it if the machine has none.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let config = EmbeddedConfig {
            supervisor: vec![std::env::current_exe()?.into(), "supervise".into()],
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            state_dir: state.path().to_owned(),
            cache_dir: embedded::default_cache_dir()?,
        };
        let embedded = Embedded::start(config, &|line| crate::report::say(line)).await?;
        Ok(Self {
            embedded,
            _state: state,
        })
    }

    pub(crate) fn url(&self) -> &str {
        self.embedded.url()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.embedded.pid()
    }

    /// What it says of itself when it is connected to.
    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        let address = self.url().trim_start_matches("nats://");
        let mut line = String::new();
        let read = async {
            let stream = TcpStream::connect(address).await?;
            BufReader::new(stream).read_line(&mut line).await
        };
        timeout(READY, read).await.context("NATS does not answer")??;
        let info: serde_json::Value = serde_json::from_str(line.trim_start_matches("INFO"))?;
        Ok(info["version"].as_str().unwrap_or("unknown").to_owned())
    }

    pub(crate) async fn stop(self) {
        self.embedded.stop().await;
    }
}

/// An edge, as `tailwater serve` runs it.
pub(crate) struct Edge {
    child: Child,
    pid: u32,
    address: SocketAddr,
    _config: tempfile::NamedTempFile,
}

impl Edge {
    /// Starts the program at `binary` on free ports, on one core if asked to, and waits until it is ready.
    async fn start(binary: &Path, nats: &str, config: &str, core: Option<usize>) -> anyhow::Result<Self> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile()?;
        std::fs::write(file.path(), config)?;
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TAILWATER_") || name == "NATS_URL" {
                command.env_remove(name);
            }
        }
        let free = "127.0.0.1:0";
        command.args(["serve", "--json", "--listen", free, "--admin-listen", free]);
        command.args(["--nats", nats, "--config"]).arg(file.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = pin::spawn_on(core, &mut command).with_context(|| missing(binary))?;
        let pid = child.id().context("the edge has ended")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut lines = BufReader::new(output).lines();
        let line = timeout(READY, lines.next_line())
            .await
            .context("the edge does not start")??;
        let line = line.context("the edge ended at its start: see above")?;
        let ready: serde_json::Value = serde_json::from_str(&line)?;
        let address = address_in(&ready, "ws")?;
        let edge = Self {
            child,
            pid,
            address,
            _config: file,
        };
        timeout(READY, wait_until_ready(address_in(&ready, "admin")?))
            .await
            .context("the edge does not become ready")?;
        Ok(edge)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it, so that all its clients lose their connections at once.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

fn missing(binary: &Path) -> String {
    let path = binary.display();
    format!("cannot run {path}: build it with `cargo build --release`, or name it with --edge")
}

fn address_in(ready: &serde_json::Value, key: &str) -> anyhow::Result<SocketAddr> {
    let url = ready[key]
        .as_str()
        .with_context(|| format!("no `{key}` in {ready}"))?;
    let authority = url
        .split('/')
        .nth(2)
        .with_context(|| format!("{url} is no URL"))?;
    Ok(authority.parse()?)
}

async fn wait_until_ready(admin: SocketAddr) {
    let is_ready = async || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(admin).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    while !is_ready().await.unwrap_or(false) {
        sleep(Duration::from_millis(20)).await;
    }
}

/// The edge under test.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EdgeOptions {
    /// The `tailwater` program to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/tailwater")]
    pub(crate) edge: PathBuf,
    /// Threads of the edge that serve clients
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
}

/// Whether channels are live or durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Live,
    Durable,
}

impl Kind {
    /// A channel of this kind.
    pub(crate) fn channel(self, name: &str) -> String {
        match self {
            Self::Live => format!("l.{name}"),
            Self::Durable => format!("d.{name}"),
        }
    }
}

/// The stream that holds the durable channels.
pub(crate) const STREAM: &str = "D";

impl EdgeOptions {
    /// What the program says of itself.
    ///
    /// # Errors
    /// If it cannot be run: then it says how it is built.
    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        let mut command = Command::new(&self.edge);
        command.arg("--version").stdin(Stdio::null());
        let output = timeout(READY, command.output()).await?;
        let output = output.with_context(|| missing(&self.edge))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.trim().trim_start_matches("tailwater ").to_owned())
    }

    /// Starts an edge with live channels and, if they are asked for, durable ones; with TLS if there is a certificate.
    pub(crate) async fn start(
        &self,
        nats: &Nats,
        kind: Kind,
        certificate: Option<&Certificate>,
        core: Option<usize>,
    ) -> anyhow::Result<Edge> {
        let workers = self.workers;
        // Who stalls cannot answer pings, and is to be kept all the same; all clients have one address here.
        let mut config = format!(
            "[edge]\nworkers = {workers}\n[log]\nlevel = \"warn\"\nformat = \"human\"\n\
             [websocket]\nping_interval_secs = 3600\npong_timeout_secs = 3600\n\
             [limits]\nconnections_per_address = 0\nhandshakes_per_address_per_sec = 0\n\
             commands_per_sec = 0\nbytes_per_sec = 0\n\
             [namespace.l]\nchannels = \"l.>\"\nanonymous = true\n"
        );
        if kind == Kind::Durable {
            config.push_str("[namespace.d]\nchannels = \"d.>\"\ndurable = true\nanonymous = true\n");
        }
        if let Some(certificate) = certificate {
            config.push_str(&format!(
                "[tls]\ncertificate = {:?}\nkey = {:?}\n",
                certificate.chain(),
                certificate.key()
            ));
        }
        Edge::start(&self.edge, nats.url(), &config, core).await
    }
}
