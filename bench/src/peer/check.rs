//! Whether a peer can be had here and does what a comparison needs: every client gets every publication, once and in
//! order.

use anyhow::Context;
use clap::ValueEnum;

use super::Peer;
use crate::contender::{Contender, Server};
use crate::report::{Table, say};
use crate::stage::{Stage, StageOptions};
use crate::trial::{Load, Trial};

/// What each of them is to deliver.
const LOAD: Load = Load {
    clients: 3,
    channels: 1,
    rate: 1000.0,
    burst: 1,
    size: 128,
    seconds: 0.1,
};

/// Install peers, and see that each delivers every publication once and in order
#[derive(Debug, clap::Args)]
pub(crate) struct Peers {
    #[command(flatten)]
    stage: StageOptions,
    /// Which; all unless named
    peers: Vec<Peer>,
}

impl Peers {
    /// Checks them in turn, and says which can be compared with.
    ///
    /// # Errors
    /// If one of them cannot.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        if self.peers.is_empty() {
            self.peers = Peer::value_variants().to_vec();
        }
        let servers: Vec<Server> = self.peers.iter().copied().map(Server::Peer).collect();
        let stage = Stage::set(&self.stage, &servers).await?;
        let mut table = Table::new(&["peer", "version", "delivers"]);
        let mut failed = stage.left_out().len();
        for left_out in stage.left_out() {
            table.row(&[&left_out.server, &"-", &"no: see above"]);
        }
        for (peer, version) in stage.versions() {
            let delivers = deliver(&stage, peer).await;
            let verdict = if delivers.is_ok() { "yes" } else { "no: see above" };
            if let Err(error) = delivers {
                say(format_args!("{error:#}"));
                failed += 1;
            }
            table.row(&[&peer.name(), &version, &verdict]);
        }
        say(table);
        stage.end().await;
        anyhow::ensure!(failed == 0, "{failed} cannot be compared with");
        Ok(())
    }
}

async fn deliver(stage: &Stage, peer: Peer) -> anyhow::Result<()> {
    let target = stage.start(&Contender::plain(Server::Peer(peer))).await?;
    let mut trial = Trial::seat(stage, &target, &LOAD, "check").await?;
    let counts = trial.run(&LOAD).await?.received.counts();
    let name = peer.name();
    anyhow::ensure!(counts.is_complete(), "{name} does not deliver: {counts:?}");
    drop(trial);
    target
        .stop()
        .await
        .with_context(|| format!("{name} does not end"))
}
