//! Some clients of a channel stop reading while far more is published than buffers hold: what the others notice, and what
//! the edge keeps for those who stalled. Each stops at another place of the first half, so that they do not share what is
//! kept for them. Runs with and without stalled clients take turns, each on an edge of its own.
//!
//! Those who stalled read on at the end: on a durable channel they must receive everything, on a live one everything but
//! what the edge says is lost.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::audience::{Audience, Seat, sum};
use crate::deployment::{EdgeOptions, Kind, Nats};
use crate::ledger::Counts;
use crate::nats::{self, Stream};
use crate::process;
use crate::report::{self, Delays, Goal, Spread, Table, figure, ratio};

/// How late the others' publications may be at the 99th percentile, against a run in which nobody stalls.
const TARGET: f64 = 1.20;

/// What the edge may keep in memory for one stalled client, in KiB.
const MEMORY_TARGET_KIB: f64 = 256.0;

/// Handshakes at a time, before anything is measured.
const AT_ONCE: usize = 100;

/// How often the edge's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// Some clients stop reading: what the others notice, and what the edge keeps for them
#[derive(Debug, Args)]
pub(crate) struct Stalled {
    #[command(flatten)]
    edge: EdgeOptions,
    /// A live channel instead of a durable one
    #[arg(long)]
    live: bool,
    /// Connections that subscribe
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// One of this many stops reading
    #[arg(long, default_value_t = 10)]
    one_in: usize,
    /// What is published for each client, in MiB
    #[arg(long, default_value_t = 8)]
    mebibytes: u32,
    /// Bytes of each publication
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(16..))]
    size: u32,
    /// Publications a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

#[derive(Serialize)]
struct Run {
    scenario: &'static str,
    repeat: usize,
    run: &'static str,
    clients: usize,
    stalled: usize,
    published: u32,
    edge_cpu_us_per_delivery: f64,
    /// Of those who would read in any case.
    delay_ms: Delays,
    /// Of the edge, from before the first publication to its peak while some stalled.
    grown_kib: f64,
    /// The same, with the time in which they catch up.
    grown_to_the_end_kib: f64,
    others: Counts,
    those_who_stalled: Counts,
}

#[derive(Serialize)]
struct Summary {
    scenario: &'static str,
    summary: bool,
    channel: &'static str,
    delay_p99_ratio: Goal,
    kib_per_stalled_client: Goal,
    kib_per_stalled_client_to_the_end: Spread,
    others: Counts,
    those_who_stalled: Counts,
}

const CALM: &str = "calm";
const STALLED: &str = "stalled";

impl Stalled {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        process::make_room_for(self.clients)?;
        anyhow::ensure!(self.one_in >= 2, "somebody must read: --one-in is 2 or more");
        let nats = Nats::start().await?;
        let mut runs = Vec::new();
        for repeat in 1..=self.repeats {
            let mut order = [CALM, STALLED];
            order.rotate_left(repeat % 2);
            for name in order {
                let run = self.once(&nats, repeat, name).await?;
                report::json(&run)?;
                runs.push(run);
            }
        }
        nats.stop().await;
        self.conclude(&runs)
    }

    fn kind(&self) -> Kind {
        if self.live { Kind::Live } else { Kind::Durable }
    }

    async fn once(&self, nats: &Nats, repeat: usize, name: &'static str) -> anyhow::Result<Run> {
        let edge = self.edge.start(nats, &[self.kind()]).await?;
        let pid = edge.pid();
        let total = u32::try_from(u64::from(self.mebibytes) * 1024 * 1024 / u64::from(self.size))?;
        let channel = self.kind().channel(&format!("{name}.{repeat}"));
        let clients = u64::try_from(self.clients.max(1))?;
        let first_half = |number: usize| {
            let place = u64::from(total / 2) * number as u64 / clients;
            u32::try_from(place).unwrap_or(total)
        };
        let seats = (0..self.clients).map(|number| {
            let may_stall = number % self.one_in == 0;
            let stalls_after = (may_stall && name == STALLED).then_some(first_half(number));
            Seat {
                channel: channel.clone(),
                since: None,
                expects: 0..total,
                stalls_after,
                timed: !may_stall,
            }
        });
        let audience = Audience::seat(edge.address(), seats, AT_ONCE).await?;
        let memory = Memory::watch(pid)?;
        let cpu_before = process::cpu_time(pid)?;
        let stream = Stream {
            subject: channel,
            total,
            pause: Duration::from_secs(1) / self.rate,
            size: self.size as usize,
        };
        let (schedule, publisher) = stream.start(nats.url()).await?;
        audience.expect(schedule);
        audience.read_all().await;
        nats::join(publisher)?;
        let cpu = process::cpu_time(pid)? - cpu_before;
        let delivered = audience.delivered();
        let grown_kib = memory.grown_kib();
        audience.resume().await;
        let (seen, delay_ms) = audience.leave().await?;
        let grown_to_the_end_kib = memory.grown_kib();
        drop(memory);
        edge.kill().await?;
        let (stalled, others): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.stalled);
        Ok(Run {
            scenario: "stalled",
            repeat,
            run: name,
            clients: self.clients,
            stalled: stalled.len(),
            published: total,
            edge_cpu_us_per_delivery: ratio(cpu.as_secs_f64() * 1e6, figure(delivered)),
            delay_ms,
            grown_kib,
            grown_to_the_end_kib,
            others: sum(others),
            those_who_stalled: sum(stalled),
        })
    }

    fn conclude(&self, runs: &[Run]) -> anyhow::Result<()> {
        let of = |name: &'static str, figure: fn(&Run) -> f64| -> Vec<f64> {
            let mut runs: Vec<&Run> = runs.iter().filter(|run| run.run == name).collect();
            runs.sort_by_key(|run| run.repeat);
            runs.into_iter().map(figure).collect()
        };
        let compare = |figure: fn(&Run) -> f64, with: &dyn Fn(f64, f64) -> f64| {
            let pairs = of(STALLED, figure).into_iter().zip(of(CALM, figure));
            Spread::of(pairs.map(|(stalled, calm)| with(stalled, calm)))
        };
        let stalled = figure(self.clients.div_ceil(self.one_in) as u64);
        let each = |stalled_run: f64, calm: f64| ratio(stalled_run - calm, stalled);
        let mut others = Counts::default();
        let mut those_who_stalled = Counts::default();
        for run in runs {
            others += run.others;
            those_who_stalled += run.those_who_stalled;
        }
        let summary = Summary {
            scenario: "stalled",
            summary: true,
            channel: self.kind().name(),
            delay_p99_ratio: Goal::at_most(TARGET, compare(|run| run.delay_ms.p99, &ratio)),
            kib_per_stalled_client: Goal::at_most(MEMORY_TARGET_KIB, compare(|run| run.grown_kib, &each)),
            kib_per_stalled_client_to_the_end: compare(|run| run.grown_to_the_end_kib, &each),
            others,
            those_who_stalled,
        };
        let Summary {
            delay_p99_ratio,
            kib_per_stalled_client,
            ..
        } = &summary;
        report::say(format_args!(
            "p99 delay of the others, stalled to calm: {delay_p99_ratio}"
        ));
        report::say(format_args!("KiB a stalled client: {kib_per_stalled_client}"));
        let mut table = Table::new(&["run", "edge µs/delivery", "p50 ms", "p99 ms", "edge grown KiB"]);
        for name in [CALM, STALLED] {
            table.row(&[
                &name,
                &Spread::of(of(name, |run| run.edge_cpu_us_per_delivery)),
                &Spread::of(of(name, |run| run.delay_ms.p50)),
                &Spread::of(of(name, |run| run.delay_ms.p99)),
                &Spread::of(of(name, |run| run.grown_kib)),
            ]);
        }
        report::say(format_args!(
            "{table}others: {others:?}\nthose who stalled: {those_who_stalled:?}"
        ));
        report::json(&summary)?;
        let served = if self.live {
            those_who_stalled.is_honest()
        } else {
            those_who_stalled.is_complete()
        };
        anyhow::ensure!(
            others.is_complete() && served,
            "deliveries are missing, doubled or out of order"
        );
        Ok(())
    }
}

/// Watches the memory of a process until it is dropped.
struct Memory {
    before: u64,
    peak: Rc<Cell<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Memory {
    fn watch(pid: u32) -> anyhow::Result<Self> {
        let before = process::resident_bytes(pid)?;
        let peak = Rc::new(Cell::new(before));
        let highest = peak.clone();
        let task = tokio::task::spawn_local(async move {
            let mut tick = tokio::time::interval(SAMPLE);
            while let Ok(bytes) = process::resident_bytes(pid) {
                highest.set(highest.get().max(bytes));
                tick.tick().await;
            }
        });
        Ok(Self { before, peak, task })
    }

    /// From the begin to the peak so far.
    fn grown_kib(&self) -> f64 {
        figure(self.peak.get() - self.before) / 1024.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.task.abort();
    }
}
