//! The loss checker: publishers that number what they publish, hundreds of subscribers that come and go, faults by a
//! seed, and at the end the proof that every subscriber received what the stream holds, once and in order.
//!
//! The stream itself is the truth, read while the run goes on: an acknowledged publication must be in it, and what is
//! in it must have arrived at everybody who was subscribed. Each subscription is judged as it goes on, so that hours
//! need no more memory than the sixteen bytes of each stored publication.

pub mod deployment;
pub mod faults;
pub mod publishers;
pub mod report;
pub mod schedule;
pub mod subscribers;
pub mod truth;
pub mod verdict;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use deployment::{Deployment, EDGES, STREAM};
use publishers::Publishing;
use report::{Healed, Report};
use schedule::Schedule;
use subscribers::Fleet;
use truth::{Truth, lock};

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long faults are injected.
    pub time: Duration,
    /// Decides the faults, and what everybody does.
    pub seed: u64,
    /// How many subscribers there are.
    pub subscribers: usize,
    /// How many publishers there are; every second one waits for acknowledgements.
    pub publishers: usize,
    /// How many channels they publish on.
    pub channels: usize,
    /// What they publish together, in messages a second.
    pub rate: f64,
    /// About how long after one fault the next one comes.
    pub fault_every: Duration,
    /// Publications of a burst.
    pub burst: u64,
    /// How long everybody may take to be level at the end.
    pub patience: Duration,
    /// Whether subscribers come late, leave and stall by themselves.
    pub habits: bool,
}

impl Default for Options {
    /// What CI runs: a minute, with what a machine of two cores carries.
    fn default() -> Self {
        Self {
            time: Duration::from_secs(45),
            seed: fastrand::u64(..),
            subscribers: 200,
            publishers: 8,
            channels: 20,
            rate: 60.0,
            fault_every: Duration::from_secs(8),
            burst: 2000,
            patience: Duration::from_secs(60),
            habits: true,
        }
    }
}

/// A run.
pub struct Checker {
    options: Options,
    random: fastrand::Rng,
    deployment: Deployment,
    truth: Arc<Mutex<Truth>>,
    /// Reads the stream; ends with the run.
    reader: JoinSet<()>,
    publishing: Arc<Publishing>,
    publishers: JoinSet<()>,
    fleet: Fleet,
    rounds: Vec<Healed>,
    faulted: Duration,
}

impl Checker {
    /// Starts servers, edges, publishers and subscribers.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start(options: Options) -> Self {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let deployment = Deployment::start().await;
        let nodes = deployment.cluster.addresses();
        let truth = Arc::new(Mutex::new(Truth::default()));
        let mut reader = JoinSet::new();
        reader.spawn(truth::follow(nodes.clone(), STREAM, truth.clone()));
        let channels = channels(options.channels);
        let publishing = Publishing::connect(nodes, channels.clone(), truth.clone()).await;
        let publishers = publishing.start(options.publishers, options.rate, &mut random);
        let edges = deployment.edges.iter().map(|edge| edge.url()).collect();
        let fleet = Fleet::start(options.subscribers, &channels, edges, truth.clone(), &mut random);
        if !options.habits {
            fleet.calm();
        }
        Self {
            options,
            random,
            deployment,
            truth,
            reader,
            publishing,
            publishers,
            fleet,
            rounds: Vec::new(),
            faulted: Duration::ZERO,
        }
    }

    /// All of it: start, faults, end.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn run(options: Options) -> Report {
        let mut checker = Box::pin(Self::start(options)).await;
        checker.inject().await;
        checker.finish().await
    }

    /// The servers, edges and links.
    pub fn deployment(&mut self) -> &mut Deployment {
        &mut self.deployment
    }

    /// Who publishes.
    pub fn publishing(&self) -> &Publishing {
        &self.publishing
    }

    /// Injects the faults of the seed for the time of the run.
    pub async fn inject(&mut self) {
        let began = Instant::now();
        for round in Schedule::new(self.options.seed, self.options.fault_every) {
            if round.at >= self.options.time || began.elapsed() >= self.options.time {
                break;
            }
            pause(round.at.saturating_sub(began.elapsed())).await;
            let names: Vec<_> = round.faults.iter().map(ToString::to_string).collect();
            eprintln!(
                "{:>7.1?} {} (edge {})",
                began.elapsed(),
                names.join(" and "),
                round.edge
            );
            let healed = Box::pin(faults::carry_out(
                &round,
                &mut self.deployment,
                &self.publishing,
                &self.fleet,
                self.options.burst,
                &mut self.random,
            ));
            let healed = healed.await;
            self.is_known();
            let mut wrong = 0;
            self.fleet.each(|_, follower| wrong += follower.counts().wrong);
            let stored = lock(&self.truth).count();
            eprintln!("{:>9} {healed}; {stored} stored, {wrong} wrong", "");
            self.rounds.push(healed);
        }
        pause(self.options.time.saturating_sub(began.elapsed())).await;
        self.faulted = began.elapsed();
    }

    /// Waits until everybody has all that is stored by now; nothing if that takes longer than `patience`. A last
    /// publication on every channel makes sure that holes before it can be noticed.
    pub async fn level(&self, patience: Duration) -> Option<Duration> {
        let began = Instant::now();
        // Stored behind everything else, so that who has it has all.
        let probes = timeout(patience, self.publishing.probe()).await.ok()?;
        let head = probes.iter().map(|(_, offset)| *offset).max().unwrap_or(0);
        let known = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while lock(&self.truth).upto() < head {
                tick.tick().await;
            }
        };
        timeout(patience.saturating_sub(began.elapsed()), known)
            .await
            .ok()?;
        self.quiet_level(patience.saturating_sub(began.elapsed())).await?;
        Some(began.elapsed())
    }

    /// As [`Checker::level`], of what is known to be stored and acknowledged, and without publishing anything.
    pub async fn quiet_level(&self, patience: Duration) -> Option<Duration> {
        let began = Instant::now();
        let waiting = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            while !self.is_known() || !self.fleet.is_level() {
                tick.tick().await;
            }
        };
        timeout(patience, waiting).await.ok()?;
        Some(began.elapsed())
    }

    /// Whether the reader of the stream has come to everything that was acknowledged.
    fn is_known(&self) -> bool {
        let truth = lock(&self.truth);
        let mut ledger = lock(self.publishing.ledger());
        ledger.settle(&truth);
        ledger.is_settled()
    }

    /// Ends the faults and the publishers, waits until everybody is level, and judges.
    ///
    /// # Panics
    /// If a publisher or a subscriber panicked.
    pub async fn finish(mut self) -> Report {
        self.fleet.calm();
        self.publishing.stop();
        while let Some(ended) = self.publishers.join_next().await {
            ended.expect("a publisher does not panic");
        }
        for edge in &mut self.deployment.edges {
            edge.look_after();
        }
        self.deployment.cluster.recovers(STREAM).await;
        let drained = self.level(self.options.patience).await;
        self.fleet.stop().await;
        self.reader.shutdown().await;
        self.report(drained)
    }

    fn report(mut self, drained: Option<Duration>) -> Report {
        let truth = lock(&self.truth);
        let count = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let publishing = &self.publishing;
        let mut report = Report {
            seed: self.options.seed,
            time: self.faulted,
            rounds: self.rounds,
            stored: truth.count() as u64,
            retries: count(&publishing.retries),
            unacknowledged: count(&publishing.unacknowledged),
            plain: (count(&publishing.plain), truth.of_kind("plain")),
            burst: (count(&publishing.burst), truth.of_kind("burst")),
            forged: (count(&publishing.forged), truth.of_kind("forged")),
            subscribers: self.fleet.len(),
            connections: self.fleet.connections(),
            ends: self.fleet.ends(),
            drained,
            ..Report::default()
        };
        let mut ledger = lock(publishing.ledger());
        ledger.finish(&truth);
        report.acknowledged = ledger.acknowledged();
        let (wrong, wrongs) = ledger.wrongs();
        report.wrong += wrong;
        report.wrongs.extend_from_slice(wrongs);
        for round in report.rounds.clone() {
            if round.healed.is_none() {
                let faults: Vec<_> = round.faults.iter().map(ToString::to_string).collect();
                report.complain(format!(
                    "not healed within {:?}: {}",
                    faults::HEAL_LIMIT,
                    faults.join(" and ")
                ));
            }
        }
        self.fleet.each(|name, follower| {
            follower.finish(&truth);
            let (counts, channel) = (follower.counts(), follower.channel());
            report.counts.add(counts);
            let told = follower
                .told()
                .iter()
                .map(|told| format!("{name}: {channel}: {told}"));
            report.told.extend(told);
            report.wrong += counts.wrong;
            let room = 100_usize.saturating_sub(report.wrongs.len());
            let wrongs = follower.wrongs().iter().take(room);
            report
                .wrongs
                .extend(wrongs.map(|wrong| format!("{name}: {channel}: {wrong}")));
        });
        for edge in &mut self.deployment.edges {
            for trouble in edge.trouble() {
                report.complain(trouble);
            }
        }
        if !report.is_clean() {
            for (index, edge) in self.deployment.edges.iter().enumerate() {
                report.logs += &format!("edge {index}:\n{}\n", edge.log());
            }
            report.logs += &self.deployment.cluster.logs();
        }
        report
    }
}

/// The channels of a run, in three families that patterns tell apart: `check.a.N`, `check.b.N` and `check.sN`.
fn channels(count: usize) -> Vec<String> {
    let name = |index: usize| match index % 3 {
        0 => format!("check.a.{}", index / 3),
        1 => format!("check.b.{}", index / 3),
        _ => format!("check.s{}", index / 3),
    };
    (0..count).map(name).collect()
}

/// Lets time pass, where that is what is meant.
#[expect(
    clippy::disallowed_methods,
    reason = "a fault lasts, a subscriber stalls and a retry waits for a time and not for a condition"
)]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

const _: () = assert!(EDGES == 2, "the schedule knows two edges");
