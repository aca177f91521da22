//! Clients in a process of their own, which says on its output how far they are: [`SEATED`] when all are subscribed, and,
//! after a line on its input, [`HEARD`] when all have received the one publication; then their counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

use crate::audience::{Audience, Seat};
use crate::client::Door;
use crate::ledger::{Counts, Expected};
use crate::scenario::connect::AT_ONCE;
use crate::tailwater::{self, Codec};
use crate::{process, report, tls};

const SEATED: &str = "\"seated\"";
const HEARD: &str = "\"heard\"";

/// The longest that a crowd may be silent: 20,000 handshakes with TLS on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// A crowd in a process of its own.
pub(crate) struct Crowd {
    child: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Starts it; it begins to connect at once.
    pub(crate) fn start(
        address: SocketAddr,
        source: Ipv4Addr,
        clients: usize,
        channel: &str,
        codec: Codec,
        chain: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let codec = match codec {
            Codec::Json => "json",
            Codec::Msgpack => "msgpack",
        };
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["crowd", "--address", &address.to_string()])
            .args(["--source", &source.to_string()])
            .args(["--clients", &clients.to_string()])
            .args(["--channel", channel, "--codec", codec]);
        if let Some(chain) = chain {
            command.arg("--chain").arg(chain);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("its output is a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(output).lines(),
        })
    }

    /// Waits until all clients are subscribed.
    pub(crate) async fn seated(&mut self) -> anyhow::Result<()> {
        let line = self.line().await?;
        anyhow::ensure!(line == SEATED, "a crowd says {line}");
        Ok(())
    }

    /// Lets it wait for the publication.
    pub(crate) async fn listen(&mut self) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("its input is a pipe")?;
        Ok(input.write_all(b"listen\n").await?)
    }

    /// Waits until all have the publication, or nothing comes.
    pub(crate) async fn heard(&mut self) -> anyhow::Result<()> {
        let line = self.line().await?;
        anyhow::ensure!(line == HEARD, "a crowd says {line}");
        Ok(())
    }

    /// What the clients have come to.
    pub(crate) async fn leave(mut self) -> anyhow::Result<Counts> {
        let counts = serde_json::from_str(&self.line().await?)?;
        anyhow::ensure!(self.child.wait().await?.success(), "a crowd failed: see above");
        Ok(counts)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        line.context("a crowd hangs")??
            .context("a crowd ended: see above")
    }
}

/// What the process of a crowd does.
#[derive(Debug, Args)]
pub(crate) struct Member {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    source: Ipv4Addr,
    #[arg(long)]
    clients: usize,
    #[arg(long)]
    channel: String,
    #[arg(long)]
    codec: Codec,
    /// The certificate that is trusted
    #[arg(long)]
    chain: Option<PathBuf>,
}

impl Member {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        process::make_room_for(self.clients)?;
        let door = Door {
            address: self.address,
            // Others publish.
            dialect: tailwater::dialect(self.codec, ""),
            tls: self.chain.as_deref().map(tls::connector_from).transpose()?,
            codec: Some(self.codec),
            source: Some(self.source),
            receive_buffer: None,
        };
        let seat = Seat {
            channel: self.channel,
            expects: Expected::all(0..1),
            ..Seat::default()
        };
        let audience = Audience::seat(door, std::iter::repeat_n(seat, self.clients), AT_ONCE).await?;
        report::json(&"seated")?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
        audience.read_all().await;
        report::json(&"heard")?;
        audience.linger().await;
        report::json(&audience.received().counts())
    }
}
