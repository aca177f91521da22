//! The highest rate that a server sustains: 99 of 100 publications arrive within 100 ms, nothing is lost, and the publisher
//! is not held up. Then what happens at twice that rate, and how late publications are at half of it.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::load::FANOUT;
use crate::contender::Contender;
use crate::deployment::Kind;
use crate::ledger::Counts;
use crate::report::{self, figure, ratio};
use crate::results::{Figure, Figures, Results};
use crate::search::Search;
use crate::stage::{Choice, Stage, StageOptions, Target};
use crate::trial::{Load, Outcome, Trial};

/// What a step must stay below, in milliseconds.
const LATE_MS: f64 = 100.0;

/// A publisher that is later than this by its own fault has not offered the rate.
const PUBLISHER_LATE: Duration = Duration::from_millis(50);

/// Searches of one server in a row at most.
const SEARCHES: usize = 3;

/// What a step offers, but for the rate.
pub(crate) const STEP: Load = Load {
    seconds: 2.0,
    ..FANOUT
};

/// Where a search begins, in deliveries a second.
pub(crate) const START: f64 = 60_000.0;

/// The highest rate that a server sustains, and what happens past it
#[derive(Debug, Args)]
pub(crate) struct Max {
    #[command(flatten)]
    stage: StageOptions,
    #[command(flatten)]
    choice: Choice,
    /// Durable channels of our server
    #[arg(long)]
    durable: bool,
    /// Connections that subscribe
    #[arg(long, default_value_t = STEP.clients)]
    clients: usize,
    /// Bytes of each publication
    #[arg(long, default_value_t = STEP.size)]
    size: usize,
    /// Length of a step
    #[arg(long, default_value_t = STEP.seconds)]
    seconds: f64,
    /// Deliveries a second to begin with
    #[arg(long, default_value_t = START)]
    start: f64,
    /// Searches for each server
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

impl Max {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stage = Stage::set(&self.stage, &self.choice.servers).await?;
        let kind = if self.durable { Kind::Durable } else { Kind::Live };
        let contenders = self.choice.contenders(kind);
        let step = Load {
            clients: self.clients,
            size: self.size,
            seconds: self.seconds,
            ..STEP
        };
        let results = measure(&stage, &contenders, step, self.start, self.repeats).await?;
        stage.end().await;
        results.conclude(Figure::DeliveriesPerSecond)
    }
}

/// Lets servers take turns in being searched.
pub(crate) async fn measure(
    stage: &Stage,
    contenders: &[Contender],
    step: Load,
    start: f64,
    repeats: usize,
) -> anyhow::Result<Results> {
    // Later searches begin near what the first has found.
    let mut starts: Vec<(String, f64)> = Vec::new();
    Results::of(stage, "max", contenders, repeats, async |contender, repeat| {
        let label = contender.label();
        let known = starts.iter().find(|(server, _)| *server == label);
        let start = known.map_or(start, |(_, found)| found * 0.7);
        let found = search(stage, contender, step, start, repeat).await?;
        starts.push((label, found.0[&Figure::DeliveriesPerSecond]));
        Ok(found)
    })
    .await
}

async fn search(
    stage: &Stage,
    contender: &Contender,
    step: Load,
    start: f64,
    repeat: usize,
) -> anyhow::Result<(Figures, Counts)> {
    report::say(format_args!("{}, search {repeat}", contender.label()));
    let target = stage.start(contender).await?;
    let subscribers = figure(step.clients as u64) / f64::from(step.channels);
    let mut steps = Steps {
        stage,
        target: &target,
        step,
        name: format!("max.{}.{repeat}", target.pid()),
        taken: 0,
        searches: 0,
        counts: Counts::default(),
    };
    let mut start = start / subscribers;
    let (mut figures, half, past) = loop {
        let (rate, figures) = steps.search(start).await?;
        let half = steps.take(rate / 2.0).await?;
        let past = steps.take(rate * 2.0).await?;
        // What else the machine does can end a search early; that twice its result passes proves that it did.
        if !passes(&past) || steps.searches == SEARCHES {
            break (figures, half, past);
        }
        start = rate * 2.0;
    };
    let missing = past.received.counts();
    let due = figure(missing.delivered + missing.lost);
    figures.extend([
        (Figure::HalfP99Ms, half.figures[&Figure::DelayP99Ms]),
        (
            Figure::PastDeliveriesPerSecond,
            past.figures[&Figure::DeliveriesPerSecond],
        ),
        (Figure::PastDelayP99Ms, past.figures[&Figure::DelayP99Ms]),
        (Figure::PastLostPercent, 100.0 * ratio(figure(missing.lost), due)),
        (
            Figure::PastAnnouncedPercent,
            100.0 * ratio(figure(missing.announced), due),
        ),
    ]);
    let counts = steps.counts;
    target.stop().await?;
    Ok((figures, counts))
}

/// The steps of one search.
struct Steps<'a> {
    stage: &'a Stage,
    target: &'a Target,
    step: Load,
    name: String,
    taken: usize,
    searches: usize,
    /// Of all steps.
    counts: Counts,
}

impl Steps<'_> {
    /// The highest rate that passes, and its figures.
    async fn search(&mut self, start: f64) -> anyhow::Result<(f64, Figures)> {
        let mut search = Search::from(start);
        let mut best = None;
        self.searches += 1;
        while let Some(rate) = search.rate() {
            let outcome = self.take(rate).await?;
            let passed = passes(&outcome);
            report::say(format_args!(
                "  {:.0} publications/s: {}, p99 {:.1} ms, lost {}, server {:.2} cores, publisher {:.0} ms late",
                rate,
                if passed { "passed" } else { "failed" },
                outcome.figures[&Figure::DelayP99Ms],
                outcome.received.counts().lost,
                outcome.figures[&Figure::ServerCores],
                outcome.figures[&Figure::PublisherLateMs],
            ));
            if passed {
                best = Some((rate, outcome.figures));
            }
            search.tell(passed);
        }
        // The rate that passes last is the highest that does.
        best.context("it sustains no rate")
    }

    /// Each has clients and channels of its own, so that what an earlier one left under way is not met.
    async fn take(&mut self, rate: f64) -> anyhow::Result<Outcome> {
        let load = self.step.at(rate);
        let name = format!("{}.{}", self.name, self.taken);
        let mut trial = Trial::seat(self.stage, self.target, &load, &name).await?;
        if self.taken == 0 {
            trial.warm_up(&load).await?;
        }
        self.taken += 1;
        let outcome = trial.run(&load).await?;
        self.counts += outcome.received.counts();
        Ok(outcome)
    }
}

fn passes(outcome: &Outcome) -> bool {
    outcome.received.counts().is_complete()
        && outcome.figures[&Figure::DelayP99Ms] < LATE_MS
        && outcome.late < PUBLISHER_LATE
}
