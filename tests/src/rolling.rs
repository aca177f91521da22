//! A rolling restart under load: edges behind a balancer, clients that do as the SDK does, publications that never pause.
//! One edge after the other is drained and replaced, and nobody may notice.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::checker::truth::lock;
use crate::durable::Publisher;
use crate::{NatsServer, Process};
use balancer::Balancer;
use client::{Client, Fleet};

mod balancer;
mod client;

/// How many edges there are.
const EDGES: usize = 3;

/// How many clients may be connecting at once in the beginning.
const CONNECTING: usize = 64;

/// How long the beginning and the end may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run does.
#[derive(Debug, Clone)]
pub struct Options {
    /// Clients, each on one durable channel.
    pub clients: usize,
    /// Channels; each gets a publication a second.
    pub channels: usize,
    /// `drain.window_secs`.
    pub window_secs: u32,
    /// `drain.linger_secs`.
    pub linger_secs: u32,
}

/// What became of one edge.
#[derive(Debug)]
pub struct Restart {
    /// Clients that it had.
    pub clients: usize,
    /// Handshakes a second that the others were to get: its clients by the window.
    pub planned: f64,
    /// The most that its clients were told to make in any tenth of the window, at least a second, as handshakes a second.
    pub told: f64,
    /// The most that the others got in such a time. On a machine that is busy they come late, and then together.
    pub highest: f64,
    /// From the signal to the end of the process.
    pub took: Duration,
    /// Whether the process ended well.
    pub ended_well: bool,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// The edges, in the order of their restarts.
    pub restarts: Vec<Restart>,
    /// Publications on all channels.
    pub publications: u64,
    /// Updates that clients received.
    pub deliveries: u64,
    /// How long clients had no subscription, one for each time, from the shortest to the longest.
    pub gaps: Vec<Duration>,
    /// Attempts to connect that failed.
    pub failures: u64,
    /// Clients that do not have everything that was published on their channel.
    pub incomplete: usize,
    /// What was missing, came twice or was announced as lost: how often, and the first of it.
    pub wrong: (u64, Vec<String>),
}

impl Report {
    /// Whether nobody has lost anything and every edge ended well.
    pub fn is_clean(&self) -> bool {
        self.incomplete == 0 && self.wrong.0 == 0 && self.restarts.iter().all(|restart| restart.ended_well)
    }

    /// The most that any edge's clients were told to come faster than planned; 1 is as planned.
    pub fn told(&self) -> f64 {
        self.most(|restart| restart.told)
    }

    /// The most that any edge's clients came faster than planned.
    pub fn haste(&self) -> f64 {
        self.most(|restart| restart.highest)
    }

    fn most(&self, rate: fn(&Restart) -> f64) -> f64 {
        let parts = self
            .restarts
            .iter()
            .map(|restart| rate(restart) / restart.planned);
        parts.fold(0.0, f64::max)
    }

    /// How long clients had no subscription: this part of the times were shorter.
    pub fn gap(&self, part: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a list"
        )]
        let index = ((self.gaps.len() as f64 * part) as usize).min(self.gaps.len().saturating_sub(1));
        self.gaps.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, restart) in self.restarts.iter().enumerate() {
            let Restart {
                clients,
                planned,
                told,
                highest,
                took,
                ended_well,
            } = restart;
            let end = if *ended_well { "" } else { ", and did not end well" };
            writeln!(
                out,
                "edge {index}: {clients} clients, handshakes at the others: {planned:.1}/s planned, at the highest \
                 {told:.1}/s told and {highest:.1}/s made; gone after {took:.1?}{end}"
            )?;
        }
        writeln!(
            out,
            "without a subscription, {} times: p50 {:.1?}, p99 {:.1?}, longest {:.1?}; {} attempts to connect failed",
            self.gaps.len(),
            self.gap(0.5),
            self.gap(0.99),
            self.gap(1.0),
            self.failures,
        )?;
        writeln!(
            out,
            "{} publications, {} deliveries; {} clients without all of theirs, {} wrong",
            self.publications, self.deliveries, self.incomplete, self.wrong.0,
        )?;
        for wrong in &self.wrong.1 {
            writeln!(out, "  {wrong}")?;
        }
        Ok(())
    }
}

/// Restarts every edge once.
///
/// # Panics
/// If what is to be restarted does not start.
pub async fn run(options: Options) -> Report {
    let nats = NatsServer::start().await;
    let balancer = Balancer::start().await;
    let config = config(&options);
    let mut edges = Vec::new();
    for _ in 0..EDGES {
        edges.push(start(nats.url(), &config, &balancer).await);
    }
    let fleet = Arc::new(Fleet::new(balancer.url(), options.channels));
    let mut clients = JoinSet::new();
    for index in 0..options.clients {
        clients.spawn(Client::new(fleet.clone(), index % options.channels).live());
        reaches(&fleet.connected, (index + 1).saturating_sub(CONNECTING)).await;
    }
    reaches(&fleet.connected, options.clients).await;

    let publisher = Publisher::connect(nats.url()).await;
    let mut publishing = JoinSet::new();
    publishing.spawn(publish(publisher, fleet.clone()));
    let mut restarts = Vec::new();
    for index in 0..EDGES {
        lock(&fleet.hints).clear();
        let mut restart = replace(index, nats.url(), &config, &options, &balancer, &mut edges).await;
        restart.told = highest_rate(std::mem::take(&mut *lock(&fleet.hints)), &options);
        restarts.push(restart);
    }
    fleet.is_over.store(true, Ordering::Relaxed);
    while let Some(published) = publishing.join_next().await {
        published.expect("the publisher does not panic");
    }
    let complete = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while fleet.incomplete() > 0 {
            tick.tick().await;
        }
    };
    // Who lacks something after that is counted.
    let _ = timeout(PATIENCE.min(Duration::from_secs(30)), complete).await;
    clients.shutdown().await;
    report(&fleet, restarts)
}

fn report(fleet: &Fleet, restarts: Vec<Restart>) -> Report {
    let mut gaps = lock(&fleet.gaps).clone();
    gaps.sort();
    Report {
        restarts,
        publications: fleet
            .published
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum(),
        deliveries: fleet.deliveries.load(Ordering::Relaxed),
        gaps,
        failures: fleet.failures.load(Ordering::Relaxed),
        incomplete: fleet.incomplete(),
        wrong: lock(&fleet.wrong).clone(),
    }
}

fn config(options: &Options) -> String {
    let Options {
        window_secs,
        linger_secs,
        ..
    } = options;
    format!(
        "{}[drain]\nlinger_secs = {linger_secs}\nwindow_secs = {window_secs}\n\
         [limits]\nconnections_per_address = 0\nhandshakes_per_address_per_sec = 0\n",
        crate::durable::DURABLE
    )
}

async fn reaches(count: &std::sync::atomic::AtomicUsize, wanted: usize) {
    let reached = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while count.load(Ordering::Relaxed) < wanted {
            tick.tick().await;
        }
    };
    let reached = timeout(PATIENCE, reached).await;
    assert!(
        reached.is_ok(),
        "{} of {wanted} clients",
        count.load(Ordering::Relaxed)
    );
}

/// Starts an edge and waits until the balancer sends it clients.
async fn start(nats: &str, config: &str, balancer: &Balancer) -> (Process, usize) {
    let (edge, ready) = Process::serve(nats, config).await;
    let number = balancer.add(ready.address("ws"), ready.address("admin"));
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let is_taken = async {
        while !balancer.uses(number) {
            tick.tick().await;
        }
    };
    assert!(timeout(PATIENCE, is_taken).await.is_ok(), "{}", edge.stderr());
    (edge, number)
}

/// Starts another edge, then drains this one, as a deployment does.
async fn replace(
    index: usize,
    nats: &str,
    config: &str,
    options: &Options,
    balancer: &Balancer,
    edges: &mut [(Process, usize)],
) -> Restart {
    let next = start(nats, config, balancer).await;
    let (mut old, number) = std::mem::replace(&mut edges[index], next);
    let clients = balancer.open(number);
    let begun = Instant::now();
    old.signal(Signal::TERM);
    let longest = Duration::from_secs(u64::from(options.linger_secs + options.window_secs) + 20);
    let ended = timeout(longest, old.ended()).await;
    let window = Duration::from_secs(options.window_secs.into());
    #[expect(clippy::cast_precision_loss, reason = "a number of clients")]
    Restart {
        clients,
        planned: clients as f64 / window.as_secs_f64(),
        told: 0.0,
        highest: highest_rate(balancer.arrivals(begun), options),
        took: begun.elapsed(),
        ended_well: ended.is_ok_and(|status| status.success()) && !old.stderr().contains("cut off"),
    }
}

/// The most of these in any tenth of the window, at least a second, a second.
fn highest_rate(mut times: Vec<Duration>, options: &Options) -> f64 {
    let span = Duration::from_secs_f64((f64::from(options.window_secs) / 10.0).max(1.0));
    times.sort();
    let within = |from: usize| times[from..].partition_point(|at| *at < times[from] + span);
    let most = (0..times.len()).map(within).max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a number of clients")]
    let most = most as f64;
    most / span.as_secs_f64()
}

/// Publishes the numbers from 1 on each channel, one a second, until the run is over.
async fn publish(publisher: Publisher, fleet: Arc<Fleet>) {
    let count = u32::try_from(fleet.published.len()).expect("few channels");
    let mut tick = tokio::time::interval(Duration::from_secs(1) / count);
    for index in (0..fleet.published.len()).cycle() {
        tick.tick().await;
        if fleet.is_over.load(Ordering::Relaxed) {
            return;
        }
        let number = fleet.published[index].load(Ordering::Relaxed) + 1;
        publisher.store(&client::channel(index), number.to_string()).await;
        fleet.published[index].store(number, Ordering::Relaxed);
    }
}

/// Adds to a list of which the first few are kept.
fn note(list: &Mutex<(u64, Vec<String>)>, what: String) {
    let mut list = lock(list);
    list.0 += 1;
    if list.1.len() < 12 {
        list.1.push(what);
    }
}
