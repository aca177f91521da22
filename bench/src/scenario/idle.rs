//! What a connection costs that is subscribed and hears nothing: memory of the server's process, and of the kernel on both
//! ends. One publication at the end proves that all of them live.
//!
//! A process holds as many connections as it may open files. With `--edges`, there are so many edges of ours and as many
//! processes with clients, each from a loopback address of its own: that is how it scales anyway.

pub(crate) mod crowd;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use clap::Args;

use self::crowd::Crowd;
use crate::contender::Contender;
use crate::deployment::Kind;
use crate::ledger::Counts;
use crate::process;
use crate::publisher::{self, Schedule};
use crate::report::{figure, ratio};
use crate::results::{Figure, Figures, Results};
use crate::stage::{Choice, Stage, StageOptions, Target};
use crate::trial::{Load, Trial};

/// What fits into a process that may open 20,000 files.
pub(crate) const CLIENTS: usize = 19_000;

/// From the last connection to the measurement, for what a server tidies up afterwards.
const SETTLE: Duration = Duration::from_secs(1);

/// The one publication that all get.
const PROOF: Load = Load {
    clients: CLIENTS,
    channels: 1,
    rate: 1.0,
    burst: 1,
    size: 128,
    seconds: 1.0,
};

/// Many connections that hear nothing: what each costs in memory
#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    stage: StageOptions,
    #[command(flatten)]
    choice: Choice,
    /// Durable channels of our server
    #[arg(long)]
    durable: bool,
    /// Connections to each server
    #[arg(long, default_value_t = CLIENTS)]
    clients: usize,
    /// So many edges at once, with clients in processes of their own; our server only
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=250))]
    edges: u8,
    /// Runs of each server
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

impl Idle {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        process::make_room_for(self.clients)?;
        let stage = Stage::set(&self.stage, &self.choice.servers).await?;
        let kind = if self.durable { Kind::Durable } else { Kind::Live };
        let mut contenders = self.choice.contenders(kind);
        let results = if self.edges == 1 {
            measure(&stage, &contenders, self.clients, self.repeats).await?
        } else {
            contenders.retain(Contender::is_ours);
            anyhow::ensure!(!contenders.is_empty(), "--edges is for our server");
            Results::of(
                &stage,
                "scale",
                &contenders,
                self.repeats,
                async |contender, _| scale(&stage, contender, self.edges, self.clients).await,
            )
            .await?
        };
        stage.end().await;
        results.conclude(Figure::BytesPerConnection)
    }
}

/// Lets servers take turns, each started anew.
pub(crate) async fn measure(
    stage: &Stage,
    contenders: &[Contender],
    clients: usize,
    repeats: usize,
) -> anyhow::Result<Results> {
    Results::of(stage, "idle", contenders, repeats, async |contender, _| {
        let target = stage.start(contender).await?;
        let load = Load { clients, ..PROOF };
        let before = Memory::of(std::slice::from_ref(&target))?;
        let mut trial = Trial::seat(stage, &target, &load, &format!("idle.{}", target.pid())).await?;
        tokio::time::sleep(SETTLE).await;
        let mut figures = Memory::of(std::slice::from_ref(&target))?.since(&before, clients);
        let proof = trial.run(&load).await?;
        figures.insert(Figure::Connections, figure(clients as u64));
        let counts = proof.received.counts();
        drop(trial);
        target.stop().await?;
        Ok((figures, counts))
    })
    .await
}

async fn scale(
    stage: &Stage,
    contender: &Contender,
    edges: u8,
    clients: usize,
) -> anyhow::Result<(Figures, Counts)> {
    let mut targets = Vec::new();
    for _ in 0..edges {
        targets.push(stage.start(contender).await?);
    }
    let channel = targets[0].channel("scale");
    let total = clients * usize::from(edges);
    let before = Memory::of(&targets)?;
    let begin = Instant::now();
    let mut crowds = Vec::new();
    for (target, number) in targets.iter().zip(1_u8..) {
        let source = Ipv4Addr::new(127, 0, 1, number);
        let chain = contender.variant.tls.then(|| stage.certificate().chain());
        crowds.push(Crowd::start(
            target.address(),
            source,
            clients,
            &channel,
            contender.variant.codec,
            chain.as_deref(),
        )?);
    }
    for crowd in &mut crowds {
        crowd.seated().await?;
    }
    let arrival = begin.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let mut figures = Memory::of(&targets)?.since(&before, total);
    for crowd in &mut crowds {
        crowd.listen().await?;
    }
    let cpu =
        || -> anyhow::Result<Duration> { targets.iter().map(|target| process::cpu_time(target.pid())).sum() };
    let before = cpu()?;
    let schedule = Schedule {
        begin: Instant::now(),
        first: 0,
        total: 1,
        pause: Duration::ZERO,
        burst: 1,
        channels: 1,
        size: PROOF.size,
    };
    let publish = &targets[0].door().dialect.publish;
    let (schedule, publisher) =
        publisher::start(targets[0].address(), publish, vec![channel], schedule).await?;
    for crowd in &mut crowds {
        crowd.heard().await?;
    }
    let seconds = schedule.begin.elapsed().as_secs_f64();
    let cpu = (cpu()? - before).as_secs_f64();
    publisher::join(publisher)?;
    let mut counts = Counts::default();
    for crowd in crowds {
        counts += crowd.leave().await?;
    }
    for target in targets {
        target.stop().await?;
    }
    let total = figure(total as u64);
    figures.extend([
        (Figure::Connections, total),
        (Figure::ConnectionsPerSecond, ratio(total, arrival)),
        (Figure::Seconds, seconds),
        (
            Figure::ServerUsPerDelivery,
            ratio(cpu * 1e6, figure(counts.delivered)),
        ),
    ]);
    Ok((figures, counts))
}

/// What servers and the kernel hold.
struct Memory {
    resident: u64,
    slab: u64,
}

impl Memory {
    fn of(targets: &[Target]) -> anyhow::Result<Self> {
        let resident: anyhow::Result<u64> = targets
            .iter()
            .map(|target| process::resident_bytes(target.pid()))
            .sum();
        Ok(Self {
            resident: resident?,
            slab: process::slab_bytes()?,
        })
    }

    fn since(&self, before: &Self, clients: usize) -> Figures {
        let each = |now: u64, before: u64| ratio(figure(now.saturating_sub(before)), figure(clients as u64));
        Figures::from([
            (Figure::BytesPerConnection, each(self.resident, before.resident)),
            (Figure::KernelBytesPerConnection, each(self.slab, before.slab)),
        ])
    }
}
