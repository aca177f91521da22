//! A steady rate of publications: open loop, so that a server which cannot keep up shows as delay and not as a lower rate.
//! `fanout` has one channel, `many` has many, `burst` has publications that come back to back.

use clap::Args;

use crate::contender::Contender;
use crate::deployment::Kind;
use crate::ledger::Counts;
use crate::results::{Figure, Figures, Results};
use crate::stage::{Choice, Stage, StageOptions};
use crate::trial::{Load, Trial};

/// One channel, many subscribers.
pub(crate) const FANOUT: Load = Load {
    clients: 1000,
    channels: 1,
    rate: 50.0,
    burst: 1,
    size: 128,
    seconds: 4.0,
};

/// Many channels, ten subscribers each.
pub(crate) const MANY: Load = Load {
    clients: 10_000,
    channels: 1000,
    rate: 5000.0,
    ..FANOUT
};

/// Publications that come back to back.
pub(crate) const BURST: Load = Load {
    rate: 320.0,
    burst: 64,
    ..FANOUT
};

/// Options of `fanout`, `many` and `burst`
#[derive(Debug, Args)]
pub(crate) struct Steady {
    #[command(flatten)]
    stage: StageOptions,
    #[command(flatten)]
    choice: Choice,
    /// Compare durable channels of our server with live ones
    #[arg(long)]
    durable: bool,
    /// Compare our server with itself: how far a ratio of equals is from 1 on this machine
    #[arg(long, conflicts_with = "durable")]
    control: bool,
    /// Connections that subscribe [default: 1000, many: 10000]
    #[arg(long)]
    clients: Option<usize>,
    /// Channels that they share [default: 1, many: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    channels: Option<u32>,
    /// Publications a second, on all channels together [default: 50, many: 5000, burst: 320]
    #[arg(long)]
    rate: Option<f64>,
    /// Publications that come back to back [default: 1, burst: 64]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    burst: Option<u32>,
    /// Bytes of each publication [default: 128]
    #[arg(long)]
    size: Option<usize>,
    /// Length of a run [default: 4]
    #[arg(long)]
    seconds: Option<f64>,
    /// Runs of each server
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

impl Steady {
    pub(crate) async fn run(self, name: &'static str, usual: Load) -> anyhow::Result<()> {
        let load = Load {
            clients: self.clients.unwrap_or(usual.clients),
            channels: self.channels.unwrap_or(usual.channels),
            rate: self.rate.unwrap_or(usual.rate),
            burst: self.burst.unwrap_or(usual.burst),
            size: self.size.unwrap_or(usual.size),
            seconds: self.seconds.unwrap_or(usual.seconds),
        };
        anyhow::ensure!(
            load.rate > 0.0 && load.seconds > 0.0,
            "a rate and a time are above 0"
        );
        let stage = Stage::set(&self.stage, &self.choice.servers).await?;
        let mut contenders = self.choice.contenders(Kind::Live);
        if self.durable {
            contenders.extend(
                self.choice
                    .contenders(Kind::Durable)
                    .into_iter()
                    .filter(Contender::is_ours),
            );
        }
        if self.control {
            let ours: Vec<Contender> = contenders.iter().filter(|one| one.is_ours()).cloned().collect();
            contenders.extend(ours.into_iter().map(|one| Contender { note: "again", ..one }));
        }
        let results = measure(&stage, name, &contenders, load, self.repeats).await?;
        stage.end().await;
        results.conclude(Figure::ServerUsPerDelivery)
    }
}

/// Lets servers take turns under a load.
pub(crate) async fn measure(
    stage: &Stage,
    name: &str,
    contenders: &[Contender],
    load: Load,
    repeats: usize,
) -> anyhow::Result<Results> {
    Results::of(stage, name, contenders, repeats, async |contender, repeat| {
        once(stage, contender, load, &format!("{name}.{repeat}")).await
    })
    .await
}

async fn once(
    stage: &Stage,
    contender: &Contender,
    load: Load,
    name: &str,
) -> anyhow::Result<(Figures, Counts)> {
    let target = stage.start(contender).await?;
    // A stream keeps what an earlier server was sent, so the channel says whose it is.
    let name = format!("{name}.{}", target.pid());
    let mut trial = Trial::seat(stage, &target, &load, &name).await?;
    trial.warm_up(&load).await?;
    let outcome = trial.run(&load).await?;
    drop(trial);
    target.stop().await?;
    Ok((outcome.figures, outcome.received.counts()))
}
