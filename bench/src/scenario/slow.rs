//! Some clients of a channel stop reading while far more is published than buffers hold: what the others notice, what the
//! server keeps for those who stalled, and what the kernel keeps, which no server sees. Each stops at another place of the
//! first half, so that they do not share what is kept for them. Runs of ours with and without stalled clients take
//! turns, each on a server of its own.
//!
//! Those who stalled read on at the end: on a durable channel they must receive everything, on a live one everything but
//! what our server says is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;

use crate::audience::sum;
use crate::client::Door;
use crate::contender::Contender;
use crate::deployment::Kind;
use crate::ledger::Counts;
use crate::process;
use crate::report::{self, Goal, figure, ratio, whole};
use crate::results::{Broken, Figure, Figures, Results};
use crate::stage::{Choice, Stage, StageOptions};
use crate::trial::{Load, Trial};

/// How late the others' publications may be at the 99th percentile, against a run in which nobody stalls.
const TARGET: f64 = 1.20;

/// Who stalls tells the kernel to keep no more than this for it on its own side, in bytes.
const RECEIVE_BUFFER: u32 = 64 * 1024;

/// How often the server's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// What a run without stalled clients is called.
const CALM: &str = "calm";

/// What is usual.
pub(crate) const PLAN: Plan = Plan {
    clients: 200,
    one_in: 10,
    mebibytes: 8,
    size: 4096,
    rate: 200,
};

/// Some clients stop reading: what the others notice, and what is kept for them
#[derive(Debug, Args)]
pub(crate) struct Slow {
    #[command(flatten)]
    stage: StageOptions,
    #[command(flatten)]
    choice: Choice,
    /// Durable channels of our server
    #[arg(long)]
    durable: bool,
    #[command(flatten)]
    plan: Plan,
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

/// What stalls, and what is published meanwhile
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Plan {
    /// Connections that subscribe
    #[arg(long, default_value_t = PLAN.clients)]
    pub(crate) clients: usize,
    /// One of this many stops reading
    #[arg(long, default_value_t = PLAN.one_in)]
    pub(crate) one_in: usize,
    /// What is published for each client, in MiB
    #[arg(long, default_value_t = PLAN.mebibytes)]
    pub(crate) mebibytes: u32,
    /// Bytes of each publication
    #[arg(long, default_value_t = PLAN.size)]
    pub(crate) size: usize,
    /// Publications a second
    #[arg(long, default_value_t = PLAN.rate, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
}

impl Slow {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.plan.one_in >= 2, "somebody must read: --one-in is 2 or more");
        anyhow::ensure!(
            self.plan.size > 0 && self.plan.clients > 0,
            "nothing would be published"
        );
        let stage = Stage::set(&self.stage, &self.choice.servers).await?;
        let kind = if self.durable { Kind::Durable } else { Kind::Live };
        let contenders = self.choice.contenders(kind);
        let results = measure(&stage, &contenders, self.plan, self.repeats).await?;
        stage.end().await;
        for contender in contenders.iter().filter(|one| one.is_ours()) {
            let contender = contender.label();
            let calm = format!("{contender} {CALM}");
            let late = results.ratio(&contender, &calm, Figure::DelayP99Ms);
            let late = Goal::at_most(TARGET, late);
            report::say(format_args!(
                "{contender}: p99 delay of the others, stalled to calm: {late}"
            ));
        }
        results.conclude(Figure::ServerUsPerDelivery)
    }
}

/// Lets servers take turns with clients that stall, and ours without them too.
pub(crate) async fn measure(
    stage: &Stage,
    contenders: &[Contender],
    plan: Plan,
    repeats: usize,
) -> anyhow::Result<Results> {
    let calm = |contender: &Contender| Contender {
        note: CALM,
        ..contender.clone()
    };
    let both: Vec<Contender> = contenders
        .iter()
        .flat_map(|contender| {
            let calm = contender.is_ours().then(|| calm(contender));
            [Some(contender.clone()), calm]
        })
        .flatten()
        .collect();
    Results::of(stage, "slow", &both, repeats, async |contender, repeat| {
        once(stage, contender, plan, repeat).await
    })
    .await
}

async fn once(
    stage: &Stage,
    contender: &Contender,
    plan: Plan,
    repeat: usize,
) -> anyhow::Result<(Figures, Counts)> {
    let target = stage.start(contender).await?;
    let total = f64::from(plan.mebibytes) * 1024.0 * 1024.0 / figure(plan.size as u64);
    let load = Load {
        clients: plan.clients,
        channels: 1,
        rate: f64::from(plan.rate),
        burst: 1,
        size: plan.size,
        seconds: total / f64::from(plan.rate),
    };
    let stall = plan.clients.div_ceil(plan.one_in);
    let stalled = figure(stall as u64);
    let stalls_after = |number: usize| {
        let place = total / 2.0 * figure(number as u64) / figure(plan.clients as u64);
        let stalls = contender.note != CALM && number.is_multiple_of(plan.one_in);
        stalls.then_some(whole(place))
    };
    let door = Door {
        receive_buffer: Some(RECEIVE_BUFFER),
        ..target.door().clone()
    };
    let name = format!("slow.{}.{repeat}", target.pid());
    let mut trial = Trial::seat_with(stage, &target, door, &load, &name, stalls_after).await?;
    let memory = Memory::watch(target.pid(), target.address().port(), stall)?;
    let mut figures = trial.run(&load).await?.figures;
    let grown = memory.grown();
    trial.audience().resume().await;
    trial.audience().linger().await;
    let seen = trial.audience().received().seen;
    let (stallers, others): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.stalled);
    let (stallers, others) = (sum(stallers), sum(others));
    figures.extend([
        (
            Figure::KernelBytesPerStalled,
            ratio(figure(memory.queued.get()), stalled),
        ),
        (Figure::BytesPerStalled, ratio(grown, stalled)),
        (Figure::BytesPerStalledToTheEnd, ratio(memory.grown(), stalled)),
        (Figure::StalledClosed, figure(stallers.closed)),
        (Figure::StalledLostPercent, {
            100.0 * ratio(figure(stallers.lost), figure(stallers.lost + stallers.delivered))
        }),
    ]);
    drop(memory);
    drop(trial);
    target.stop().await?;
    let durable = contender.variant.kind == Kind::Durable;
    // On a live channel, who does not keep up is told what is lost, and that is checked with all other counts.
    if contender.is_ours() && durable {
        Broken::unless(others.is_complete(), || format!("{name}, those who read"), others)?;
        Broken::unless(
            stallers.is_complete(),
            || format!("{name}, those who stalled"),
            stallers,
        )?;
    }
    let mut counts = others;
    counts += stallers;
    Ok((figures, counts))
}

/// Watches the memory of a process and the send queues of its connections until it is dropped.
struct Memory {
    before: u64,
    peak: Rc<Cell<u64>>,
    /// In as many of the largest send queues as clients stall, at most.
    queued: Rc<Cell<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Memory {
    fn watch(pid: u32, port: u16, stall: usize) -> anyhow::Result<Self> {
        let before = process::resident_bytes(pid)?;
        let peak = Rc::new(Cell::new(before));
        let queued = Rc::new(Cell::new(0));
        let (highest, most) = (peak.clone(), queued.clone());
        let task = tokio::task::spawn_local(async move {
            let mut tick = tokio::time::interval(SAMPLE);
            while let Ok(bytes) = process::resident_bytes(pid) {
                highest.set(highest.get().max(bytes));
                most.set(most.get().max(process::largest_send_queues(port, stall)));
                tick.tick().await;
            }
        });
        Ok(Self {
            before,
            peak,
            queued,
            task,
        })
    }

    /// From the begin to the peak so far, in bytes.
    fn grown(&self) -> f64 {
        figure(self.peak.get() - self.before)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.task.abort();
    }
}
