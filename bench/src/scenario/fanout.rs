//! One channel, many subscribers, a steady rate: open loop, so that a server which cannot keep up shows as delay and not
//! as a lower rate. With `--durable`, a live and a durable channel take turns, on one edge.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::audience::{Audience, Seat, sum};
use crate::deployment::{Edge, EdgeOptions, Kind, Nats};
use crate::ledger::Counts;
use crate::nats::{self, Stream};
use crate::process;
use crate::report::{self, Delays, Goal, Spread, Table, figure, ratio};

/// What a delivery on a durable channel may cost, against one on a live channel.
const TARGET: f64 = 1.10;

/// Handshakes at a time, before anything is measured.
const AT_ONCE: usize = 200;

/// One channel, many subscribers, a steady rate of publications: what a delivery costs
#[derive(Debug, Args)]
pub(crate) struct Fanout {
    #[command(flatten)]
    edge: EdgeOptions,
    /// Compare a durable channel with a live one
    #[arg(long)]
    durable: bool,
    /// Compare a live channel with itself: how far a ratio of equals is from 1 on this machine
    #[arg(long, conflicts_with = "durable")]
    control: bool,
    /// Connections that subscribe
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Publications a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Length of a run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Bytes of each publication
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

/// One of the things that are compared.
#[derive(Clone, Copy)]
struct Side {
    name: &'static str,
    kind: Kind,
}

#[derive(Serialize)]
struct Run {
    scenario: &'static str,
    repeat: usize,
    channel: &'static str,
    published: u32,
    edge_cpu_us_per_delivery: f64,
    nats_cpu_us_per_publication: f64,
    delay_ms: Delays,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct Summary {
    scenario: &'static str,
    summary: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_cpu_ratio: Option<Goal>,
    sides: Vec<SideSummary>,
    counts: Counts,
}

#[derive(Serialize)]
struct SideSummary {
    channel: &'static str,
    edge_cpu_us_per_delivery: Spread,
    delay_p99_ms: Spread,
    nats_cpu_us_per_publication: Spread,
}

impl Fanout {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        process::make_room_for(self.subscribers)?;
        let sides = self.sides();
        let kinds: Vec<Kind> = sides.iter().map(|side| side.kind).collect();
        let nats = Nats::start().await?;
        let edge = self.edge.start(&nats, &kinds).await?;
        for side in &sides {
            self.once(&nats, &edge, *side, 0, self.rate).await?;
        }
        let mut runs = Vec::new();
        for repeat in 1..=self.repeats {
            // Who goes first takes turns too.
            let mut order: Vec<Side> = sides.clone();
            order.rotate_left(repeat % sides.len());
            for side in order {
                let run = self
                    .once(&nats, &edge, side, repeat, self.rate * self.seconds)
                    .await?;
                report::json(&run)?;
                runs.push(run);
            }
        }
        edge.kill().await?;
        nats.stop().await;
        conclude(&sides, &runs)
    }

    fn sides(&self) -> Vec<Side> {
        let live = Side {
            name: "live",
            kind: Kind::Live,
        };
        let other = match (self.durable, self.control) {
            (true, _) => Some(Side {
                name: "durable",
                kind: Kind::Durable,
            }),
            (_, true) => Some(Side {
                name: "control",
                kind: Kind::Live,
            }),
            _ => None,
        };
        [Some(live), other].into_iter().flatten().collect()
    }

    async fn once(
        &self,
        nats: &Nats,
        edge: &Edge,
        side: Side,
        repeat: usize,
        total: u32,
    ) -> anyhow::Result<Run> {
        // A channel of its own, so that no run meets what an earlier one has left.
        let channel = side.kind.channel(&format!("{}.{repeat}", side.name));
        let seat = Seat {
            channel: channel.clone(),
            since: None,
            expects: 0..total,
            stalls_after: None,
            timed: true,
        };
        let seats = std::iter::repeat_n(seat, self.subscribers);
        let audience = Audience::seat(edge.address(), seats, AT_ONCE).await?;
        let stream = Stream {
            subject: channel,
            total,
            pause: Duration::from_secs(1) / self.rate,
            size: self.size,
        };
        let before = (process::cpu_time(edge.pid())?, process::cpu_time(nats.pid())?);
        let (schedule, publisher) = stream.start(nats.url()).await?;
        audience.expect(schedule);
        audience.read_all().await;
        nats::join(publisher)?;
        let after = (process::cpu_time(edge.pid())?, process::cpu_time(nats.pid())?);
        let (seen, delay_ms) = audience.leave().await?;
        let counts = sum(&seen);
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        Ok(Run {
            scenario: "fanout",
            repeat,
            channel: side.name,
            published: total,
            edge_cpu_us_per_delivery: ratio(micros(after.0 - before.0), figure(counts.delivered)),
            nats_cpu_us_per_publication: ratio(micros(after.1 - before.1), f64::from(total)),
            delay_ms,
            counts,
        })
    }
}

fn conclude(sides: &[Side], runs: &[Run]) -> anyhow::Result<()> {
    let of = |side: &Side, figure: fn(&Run) -> f64| -> Vec<f64> {
        let name = side.name;
        let mut runs: Vec<&Run> = runs.iter().filter(|run| run.channel == name).collect();
        runs.sort_by_key(|run| run.repeat);
        runs.into_iter().map(figure).collect()
    };
    let edge_cpu_ratio = match sides {
        [base, other] => {
            let cpu = |side| of(side, |run| run.edge_cpu_us_per_delivery);
            let pairs = cpu(other).into_iter().zip(cpu(base));
            let ratios = pairs.map(|(other, base)| ratio(other, base));
            Some(Goal::at_most(TARGET, Spread::of(ratios)))
        }
        _ => None,
    };
    let sides: Vec<SideSummary> = sides
        .iter()
        .map(|side| SideSummary {
            channel: side.name,
            edge_cpu_us_per_delivery: Spread::of(of(side, |run| run.edge_cpu_us_per_delivery)),
            delay_p99_ms: Spread::of(of(side, |run| run.delay_ms.p99)),
            nats_cpu_us_per_publication: Spread::of(of(side, |run| run.nats_cpu_us_per_publication)),
        })
        .collect();
    let mut counts = Counts::default();
    runs.iter().for_each(|run| counts += run.counts);
    let mut table = Table::new(&["channel", "edge µs/delivery", "p99 ms", "nats µs/publication"]);
    for side in &sides {
        table.row(&[
            &side.channel,
            &side.edge_cpu_us_per_delivery,
            &side.delay_p99_ms,
            &side.nats_cpu_us_per_publication,
        ]);
    }
    if let Some(goal) = &edge_cpu_ratio {
        report::say(format_args!("edge CPU per delivery, second to first: {goal}"));
    }
    report::say(format_args!("{table}{counts:?}"));
    report::json(&Summary {
        scenario: "fanout",
        summary: true,
        edge_cpu_ratio,
        sides,
        counts,
    })?;
    anyhow::ensure!(
        counts.is_complete(),
        "deliveries are missing, doubled or out of order"
    );
    Ok(())
}
