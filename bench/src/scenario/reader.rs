//! What it costs to read a message from NATS: our lean reader against the client library, async-nats.
//!
//! The messages are those of a durable channel: 128 bytes and the five headers that JetStream adds when it republishes.
//! They come from a real nats-server, in blasts, on one subscription a subject. Each reader is a process of its own, so
//! that its CPU time is its own; it takes the last value of each of the five headers, and adds up sequences to show that
//! it has read them all. The client library has one task a subscription, as its documentation shows it.
//!
//! Built with the feature `allocations`, it counts allocations a message instead: counting them takes so long that CPU
//! time would say nothing.

pub(crate) mod child;

use std::process::Stdio;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tailwater_broker::wire::{Outgoing, RequestsOnly, Wire};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

use self::child::{ChildReport, READY};
use crate::deployment::Nats;
use crate::nats;
use crate::report::{self, Spread, Table, figure, ratio};

/// The longest that a reader may be silent.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Messages between two signs of life of the reader; twice as many are under way at most, which is far below what
/// NATS keeps for a slow reader and what async-nats keeps for a subscription.
pub(crate) const WINDOW: u64 = 10_000;

/// What it costs to read from NATS: our lean reader against async-nats
#[derive(Debug, Args)]
pub(crate) struct Reader {
    /// Messages that are counted, in tens of thousands; as many as one of these come before, uncounted
    #[arg(long, default_value_t = if cfg!(feature = "allocations") { 2 } else { 30 },
          value_parser = clap::value_parser!(u64).range(1..))]
    windows: u64,
    /// Numbers of subjects, each with a subscription of its own
    #[arg(long, default_values_t = [100, 10_000])]
    subjects: Vec<usize>,
    /// Runs of each reader
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    Lean,
    AsyncNats,
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lean => "lean",
            Self::AsyncNats => "async-nats",
        }
    }
}

#[derive(Serialize)]
struct Run {
    scenario: &'static str,
    repeat: usize,
    subjects: usize,
    reader: Who,
    #[serde(flatten)]
    report: ChildReport,
}

#[derive(Serialize)]
struct Summary {
    scenario: &'static str,
    summary: bool,
    subjects: usize,
    unit: &'static str,
    /// async-nats divided by ours; nothing where ours is zero.
    ratio: Spread,
    lean: Spread,
    async_nats: Spread,
}

/// What is compared, a message.
const UNIT: &str = if cfg!(feature = "allocations") {
    "allocations"
} else {
    "CPU ns"
};

impl Reader {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let nats = Nats::start().await?;
        let mut runs = Vec::new();
        for repeat in 1..=self.repeats {
            for subjects in &self.subjects {
                let mut order = [Who::Lean, Who::AsyncNats];
                order.rotate_left(repeat % 2);
                for reader in order {
                    let report = self
                        .once(nats.url(), *subjects, reader)
                        .await
                        .with_context(|| format!("{} on {subjects} subjects", reader.name()))?;
                    let run = Run {
                        scenario: "reader",
                        repeat,
                        subjects: *subjects,
                        reader,
                        report,
                    };
                    report::json(&run)?;
                    runs.push(run);
                }
            }
        }
        nats.stop().await;
        self.conclude(&runs)
    }

    async fn once(&self, url: &str, subjects: usize, reader: Who) -> anyhow::Result<ChildReport> {
        let windows = self.windows.to_string();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["reader-child", "--nats", url, "--reader", reader.name()])
            .args(["--subjects", &subjects.to_string(), "--windows", &windows])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut lines = BufReader::new(output).lines();
        anyhow::ensure!(line(&mut lines).await? == READY, "it is not ready");
        let wire = nats::connect(url, "publish", RequestsOnly).await?;
        let mut blast = Blast::new(wire, subjects);
        // The measurement begins and ends with nothing under way: async-nats parses ahead of those who read.
        blast.window().await?;
        line(&mut lines).await?;
        // From here on one window is under way while the reader reads another.
        blast.window().await?;
        for _ in 1..self.windows {
            blast.window().await?;
            line(&mut lines).await?;
        }
        line(&mut lines).await?;
        let report: ChildReport = serde_json::from_str(&line(&mut lines).await?)?;
        anyhow::ensure!(child.wait().await?.success(), "it failed");
        anyhow::ensure!(
            report.sequences == blast.sequences(),
            "it has read {} messages wrongly",
            report.messages
        );
        Ok(report)
    }

    fn conclude(&self, runs: &[Run]) -> anyhow::Result<()> {
        let mut table = Table::new(&["subjects", "async-nats to lean", "lean", "async-nats"]);
        for subjects in &self.subjects {
            let of = |reader| {
                let runs = runs
                    .iter()
                    .filter(move |run| run.subjects == *subjects && run.reader == reader);
                runs.map(|run| run.report.cost())
            };
            let pairs = of(Who::AsyncNats).zip(of(Who::Lean));
            let summary = Summary {
                scenario: "reader",
                summary: true,
                subjects: *subjects,
                unit: UNIT,
                ratio: Spread::of(pairs.map(|(library, lean)| ratio(library, lean))),
                lean: Spread::of(of(Who::Lean)),
                async_nats: Spread::of(of(Who::AsyncNats)),
            };
            table.row(&[subjects, &summary.ratio, &summary.lean, &summary.async_nats]);
            report::json(&summary)?;
        }
        report::say(format_args!("{UNIT} a message\n{table}"));
        Ok(())
    }
}

impl ChildReport {
    /// What is compared, a message.
    fn cost(&self) -> f64 {
        let total = self.allocations.unwrap_or(self.cpu_ns);
        ratio(figure(total), figure(self.messages))
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<String> {
    let line = timeout(SILENCE, lines.next_line()).await.context("it hangs")??;
    line.context("it ended: see above")
}

/// Subject number `number`.
pub(crate) fn subject(number: usize) -> String {
    format!("_tw.live.events.{number}")
}

/// Publishes as JetStream republishes.
struct Blast {
    wire: Wire<()>,
    subjects: Vec<String>,
    sequence: u64,
}

impl Blast {
    fn new(wire: Wire<()>, subjects: usize) -> Self {
        Self {
            wire,
            subjects: (0..subjects).map(subject).collect(),
            sequence: 0,
        }
    }

    /// The next messages, one subject after the other.
    async fn window(&mut self) -> anyhow::Result<()> {
        let step = self.subjects.len() as u64;
        let turns = (0..self.subjects.len()).cycle();
        let first = usize::try_from(self.sequence % step)?;
        for place in turns.skip(first).take(usize::try_from(WINDOW)?) {
            self.sequence += 1;
            let subject = &self.subjects[place];
            let sequence = self.sequence.to_string();
            let last = self.sequence.saturating_sub(step).to_string();
            let outgoing = Outgoing {
                subject,
                headers: &[
                    ("Nats-Stream", "EVENTS"),
                    ("Nats-Subject", subject.trim_start_matches("_tw.live.")),
                    ("Nats-Sequence", &sequence),
                    ("Nats-Time-Stamp", "2026-11-22T13:57:39.123456789Z"),
                    ("Nats-Last-Sequence", &last),
                ],
                payload: &[b'x'; 128],
            };
            self.wire.publish(outgoing).await?;
        }
        Ok(())
    }

    /// The sum of all sequences so far.
    fn sequences(&self) -> u64 {
        self.sequence * (self.sequence + 1) / 2
    }
}
