//! What all runs of a scenario share: nats-server, the certificate, the peers that are installed, and which core the
//! server under test has. A server is started anew for every run, so none meets what an earlier run has left.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;

use crate::client::Door;
use crate::contender::{Contender, Server, Variant};
use crate::deployment::{Edge, EdgeOptions, Kind, Nats};
use crate::peer::{Installed, Peer, Running};
use crate::pin;
use crate::process;
use crate::report;
use crate::tailwater::{self, Codec};
use crate::tls::Certificate;

/// What is measured, and on which cores
#[derive(Clone, Debug, Args)]
pub(crate) struct StageOptions {
    #[command(flatten)]
    pub(crate) edge: EdgeOptions,
    /// Let the system choose cores, instead of the first for the server and the others for clients and NATS
    #[arg(long)]
    no_pin: bool,
}

/// Who takes turns
#[derive(Clone, Debug, Args)]
pub(crate) struct Choice {
    /// Servers that take turns; all that are named run in one go
    #[arg(long = "server", value_name = "NAME", default_value = "tailwater")]
    pub(crate) servers: Vec<Server>,
    /// Codec of our server
    #[arg(long, default_value = "json")]
    codec: Codec,
    /// Encrypt connections to our server
    #[arg(long)]
    tls: bool,
}

impl Choice {
    /// Ours on channels of this kind, and the peers.
    pub(crate) fn contenders(&self, kind: Kind) -> Vec<Contender> {
        let variant = Variant {
            codec: self.codec,
            kind,
            tls: self.tls,
        };
        let contender = |server| match server {
            Server::Tailwater => Contender::ours(variant),
            peer => Contender::plain(peer),
        };
        self.servers.iter().copied().map(contender).collect()
    }
}

/// A peer that cannot take part.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct LeftOut {
    pub(crate) server: &'static str,
    pub(crate) reason: String,
}

/// What the runs share.
pub(crate) struct Stage {
    edge: EdgeOptions,
    core: Option<usize>,
    nats: Nats,
    certificate: Certificate,
    installed: Vec<(Peer, Installed)>,
    left_out: Vec<LeftOut>,
}

impl Stage {
    /// Raises the limit of open files, takes this process off the server's core, starts nats-server, and installs those
    /// peers that are asked for.
    pub(crate) async fn set(options: &StageOptions, servers: &[Server]) -> anyhow::Result<Self> {
        process::make_room_for(0)?;
        let mut installed = Vec::new();
        let mut left_out = Vec::new();
        for server in servers {
            let Server::Peer(peer) = server else { continue };
            match peer.install().await {
                Ok(found) => {
                    report::say(format_args!("{} {}", peer.name(), found.version()));
                    installed.push((*peer, found));
                }
                Err(error) => {
                    let (server, reason) = (peer.name(), format!("{error:#}"));
                    report::say(format_args!("{server} is left out: {reason}"));
                    left_out.push(LeftOut { server, reason });
                }
            }
        }
        let core = if options.no_pin {
            None
        } else {
            pin::leave_the_first_core()?
        };
        Ok(Self {
            edge: options.edge.clone(),
            core,
            nats: Nats::start().await?,
            certificate: Certificate::new()?,
            installed,
            left_out,
        })
    }

    pub(crate) fn nats(&self) -> &Nats {
        &self.nats
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(crate) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The peers that take part, with their versions.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (Peer, &str)> {
        self.installed
            .iter()
            .map(|(peer, found)| (*peer, found.version()))
    }

    /// Everything that takes part, with its version.
    ///
    /// # Errors
    /// If the edge cannot be run, or NATS does not answer.
    pub(crate) async fn all_versions(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut all = vec![
            ("tailwater".to_owned(), self.edge.version().await?),
            ("NATS behind it".to_owned(), self.nats.version().await?),
        ];
        let peers = self.versions();
        all.extend(peers.map(|(peer, version)| (peer.name().to_owned(), version.to_owned())));
        Ok(all)
    }

    /// Ours, and those of the peers that are installed.
    pub(crate) fn takes_part(&self, contender: &Contender) -> bool {
        match contender.server {
            Server::Tailwater => true,
            Server::Peer(peer) => self.installed.iter().any(|(each, _)| *each == peer),
        }
    }

    /// Starts a server.
    pub(crate) async fn start(&self, contender: &Contender) -> anyhow::Result<Target> {
        let variant = contender.variant;
        let running = match contender.server {
            Server::Tailwater => {
                let certificate = variant.tls.then_some(&self.certificate);
                let edge = self.edge.start(&self.nats, variant.kind, certificate, self.core);
                Process::Edge(Box::new(edge.await?))
            }
            Server::Peer(peer) => {
                let (_, installed) = self
                    .installed
                    .iter()
                    .find(|(each, _)| *each == peer)
                    .context("it is not installed")?;
                Process::Peer(Box::new(installed.start(self.core).await?))
            }
        };
        let (address, dialect, codec) = match &running {
            Process::Edge(edge) => (
                edge.address(),
                tailwater::dialect(variant.codec, self.nats.url()),
                Some(variant.codec),
            ),
            Process::Peer(peer) => (peer.address(), peer.dialect().clone(), None),
        };
        Ok(Target {
            running,
            kind: variant.kind,
            door: Door {
                address,
                dialect,
                tls: variant.tls.then(|| self.certificate.connector()),
                codec,
                source: None,
                receive_buffer: None,
            },
        })
    }

    pub(crate) async fn end(self) {
        self.nats.stop().await;
    }
}

enum Process {
    Edge(Box<Edge>),
    Peer(Box<Running>),
}

/// A server that runs.
pub(crate) struct Target {
    running: Process,
    kind: Kind,
    door: Door,
}

impl Target {
    pub(crate) fn pid(&self) -> u32 {
        match &self.running {
            Process::Edge(edge) => edge.pid(),
            Process::Peer(peer) => peer.pid(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address
    }

    /// How clients come in.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    /// A channel that this server has.
    pub(crate) fn channel(&self, name: &str) -> String {
        self.kind.channel(name)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.running {
            Process::Edge(edge) => edge.kill().await,
            Process::Peer(peer) => peer.stop().await,
        }
    }
}
