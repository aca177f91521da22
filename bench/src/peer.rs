//! The servers that an edge is compared with: found or installed by their packages, started as their users would start
//! them, and ended with the value that stands for them.
//!
//! What a peer is called and where it comes from stands in `install`, how it is run in `launch`, how it is spoken to in
//! `dialects`; `check` sees whether it does what a comparison needs.

pub(crate) mod check;
mod dialects;
mod install;
mod launch;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Child;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::dialect::Dialect;
use crate::publisher::WebSocket;

/// The longest that a server may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// Lines of a log that an error repeats.
const LAST_LINES: usize = 8;

/// A server that an edge can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Peer {
    /// One write a socket and nothing else; part of this program
    Floor,
    /// nats-server's own WebSocket listener
    NatsServer,
    /// npm `ws` on Node.js, with a loop that sends to each client of a channel
    WsNode,
    /// uWebSockets.js on Node.js, with its topics
    Uws,
    /// Bun's own WebSocket server, with its topics
    Bun,
    /// sockudo, which speaks the protocol of Pusher
    Sockudo,
    /// Centrifugo, with its memory engine
    Centrifugo,
    /// The library that Centrifugo is made of, in a server of a few lines
    Centrifuge,
}

impl Peer {
    /// Its name, as on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::NatsServer => "nats-server",
            Self::WsNode => "ws-node",
            Self::Uws => "uws",
            Self::Bun => "bun",
            Self::Sockudo => "sockudo",
            Self::Centrifugo => "centrifugo",
            Self::Centrifuge => "centrifuge",
        }
    }

    /// Finds it, or installs it into the cache directory, which may take minutes; says so.
    ///
    /// # Errors
    /// With the reason, and where it is known what to do, if it cannot be had on this machine.
    pub(crate) async fn install(self) -> anyhow::Result<Installed> {
        let (version, program) = install::install(self)
            .await
            .with_context(|| format!("cannot install {}", self.name()))?;
        Ok(Installed {
            peer: self,
            version,
            program,
        })
    }
}

/// A server that can be started.
#[derive(Debug)]
pub(crate) struct Installed {
    peer: Peer,
    version: String,
    program: install::Program,
}

impl Installed {
    /// What it calls itself, with what it runs on.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Starts it on a free port of the loopback, on this core alone or on any, and waits until it takes connections.
    ///
    /// # Errors
    /// If it ends or is not ready in time: with its last words, and the file that has all of them.
    pub(crate) async fn start(&self, core: Option<usize>) -> anyhow::Result<Running> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", self.peer.name()))
            .tempdir()?;
        let log = folder.path().join("log");
        match self.start_in(folder.path(), &log, core).await {
            Ok((child, pid, address, dialect)) => Ok(Running {
                child,
                pid,
                address,
                dialect,
                _folder: folder,
            }),
            Err(error) => {
                let folder = folder.keep();
                Err(error.context(format!(
                    "{} {} does not start (all of its log: {})\n{}",
                    self.peer.name(),
                    self.version,
                    folder.join("log").display(),
                    last_lines(&log)
                )))
            }
        }
    }

    async fn start_in(
        &self,
        folder: &Path,
        log: &Path,
        core: Option<usize>,
    ) -> anyhow::Result<(Child, u32, SocketAddr, Dialect)> {
        let address = free_address()?;
        let launch::Launch { mut command, dialect } =
            launch::launch(self.peer, &self.program, address, folder)?;
        // What a server inherits is what it may have.
        crate::process::make_room_for(0)?;
        let output = File::create(log)?;
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true);
        let mut child = crate::pin::spawn_on(core, &mut command).context("cannot run it")?;
        let pid = child.id().context("it has ended")?;
        wait_until_ready(&mut child, address, &dialect).await?;
        Ok((child, pid, address, dialect))
    }
}

/// A server that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    pid: u32,
    address: SocketAddr,
    dialect: Dialect,
    _folder: tempfile::TempDir,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Kills it and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Waits until a handshake succeeds.
async fn wait_until_ready(child: &mut Child, address: SocketAddr, dialect: &Dialect) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("it ended: {status}");
        }
        let dialect = dialect.clone();
        let attempt = spawn_blocking(move || open(address, &dialect, "ready", 0).map(drop));
        let Err(error) = attempt.await? else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(error.context(format!("it is not ready after {READY:?}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Makes the handshake that the clients of a server make.
fn open(address: SocketAddr, dialect: &Dialect, channel: &str, number: usize) -> anyhow::Result<WebSocket> {
    let path = crate::template::fill(dialect.path.as_bytes(), channel, number);
    let path = String::from_utf8(path)?;
    WebSocket::connect(address, &path, dialect.subprotocol, &dialect.headers)
}

/// A free port of the loopback below those that Linux gives out by itself (`ip_local_port_range`), so that none of the
/// generator's own connections takes it before the server does.
fn free_address() -> anyhow::Result<SocketAddr> {
    let some =
        std::iter::repeat_with(|| SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(10_000..32_000))));
    let free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    some.take(100).find(free).context("no port is free")
}

fn last_lines(log: &Path) -> String {
    let log = std::fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
