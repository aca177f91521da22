//! Many clients come back at once, as after the end of an edge: each with its place in a durable channel, and in one
//! case with publications to catch up on. Every storm meets an edge that has just been started, so that all it knows
//! it has to ask of JetStream.
//!
//! Each repeat has a storm with nothing behind and one with `--behind` publications behind, in turns the one or the
//! other first. What an edge asks of JetStream is counted by listening where it asks.

use std::time::Instant;

use clap::Args;
use serde::Serialize;
use tailwater_broker::wire::{RequestsOnly, Wire};

use crate::audience::{Audience, Position, Seat, sum};
use crate::deployment::{EdgeOptions, Kind, Nats};
use crate::ledger::Counts;
use crate::nats::{self, Asked, Tap};
use crate::process;
use crate::report::{self, Goal, Spread, Table, figure, ratio};

/// What being behind may cost, against coming back with nothing behind.
const TARGET: f64 = 1.20;

/// What an edge may ask of JetStream for one channel, however many come back to it.
const ASKED_TARGET: f64 = 3.0;

/// Many clients come back at once to an edge that has just started: what it costs that they are behind
#[derive(Debug, Args)]
pub(crate) struct Reconnect {
    #[command(flatten)]
    edge: EdgeOptions,
    /// Live channels, where nobody resumes: how far a ratio of equals is from 1 on this machine
    #[arg(long)]
    live: bool,
    /// Connections that come back
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Channels that they share
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    channels: u32,
    /// Publications that each is behind
    #[arg(long, default_value_t = 20)]
    behind: u32,
    /// Bytes of each publication
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Handshakes at a time; the kernel queues no more than `net.core.somaxconn`
    #[arg(long, default_value_t = 1000)]
    at_once: usize,
    /// Storms of each kind
    #[arg(long, default_value_t = 3)]
    repeats: u32,
}

#[derive(Serialize)]
struct Storm {
    scenario: &'static str,
    repeat: u32,
    storm: &'static str,
    clients: usize,
    seconds: f64,
    edge_cpu_seconds: f64,
    edge_cpu_us_per_client: f64,
    nats_cpu_seconds: f64,
    /// From the start of the edge to the last delivery.
    asked: Asked,
    asked_per_channel: f64,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct Summary {
    scenario: &'static str,
    summary: bool,
    channels: &'static str,
    edge_cpu_ratio: Goal,
    time_ratio: Goal,
    asked_per_channel: Goal,
    counts: Counts,
}

const LEVEL: &str = "level";
const BEHIND: &str = "behind";

/// What there is on the side of NATS.
struct Place {
    nats: Nats,
    tap: Tap,
    wire: Wire<()>,
    kind: Kind,
    /// Publications so far on each channel.
    published: u32,
}

impl Reconnect {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        process::make_room_for(self.clients)?;
        let nats = Nats::start().await?;
        let mut place = Place {
            tap: Tap::open(nats.url()).await?,
            wire: nats::connect(nats.url(), "publish", RequestsOnly).await?,
            nats,
            kind: if self.live { Kind::Live } else { Kind::Durable },
            published: 0,
        };
        // The first edge makes the stream.
        self.positions(&place).await?;
        self.publish(&mut place).await?;
        let mut storms = Vec::new();
        for repeat in 1..=self.repeats {
            let order = if repeat.is_multiple_of(2) {
                [BEHIND, LEVEL]
            } else {
                [LEVEL, BEHIND]
            };
            for storm in order {
                let positions = self.positions(&place).await?;
                let seen = place.published;
                if storm == BEHIND {
                    self.publish(&mut place).await?;
                }
                let storm = self.storm(&place, repeat, storm, &positions, seen).await?;
                report::json(&storm)?;
                storms.push(storm);
            }
        }
        place.nats.stop().await;
        conclude(place.kind, &storms)
    }

    fn channel(&self, kind: Kind, number: u32) -> String {
        kind.channel(&format!("c{}", number % self.channels))
    }

    /// Where every channel is now, as an edge tells it.
    async fn positions(&self, place: &Place) -> anyhow::Result<Vec<Option<Position>>> {
        let edge = self.edge.start(&place.nats, &[place.kind]).await?;
        let mut positions = Vec::new();
        for number in 0..self.channels {
            let seat = self.seat(place.kind, number, None, 0..0);
            let one = Audience::seat(edge.address(), [seat], 1).await?;
            let (seen, _) = one.leave_now().await?;
            let position = seen.into_iter().next().and_then(|seen| seen.position);
            anyhow::ensure!(
                position.is_some() == (place.kind == Kind::Durable),
                "only durable channels have positions"
            );
            positions.push(position);
        }
        edge.kill().await?;
        Ok(positions)
    }

    fn seat(&self, kind: Kind, number: u32, since: Option<Position>, expects: std::ops::Range<u32>) -> Seat {
        Seat {
            channel: self.channel(kind, number),
            since,
            expects,
            stalls_after: None,
            timed: false,
        }
    }

    /// What clients will be behind, while no edge is there.
    async fn publish(&self, place: &mut Place) -> anyhow::Result<()> {
        let stored = place.kind == Kind::Durable;
        for _ in 0..self.behind {
            for channel in 0..self.channels {
                let subject = self.channel(place.kind, channel);
                let payload = nats::payload(place.published, self.size);
                nats::publish(&place.wire, &subject, &payload, stored).await?;
            }
            place.published += 1;
        }
        Ok(())
    }

    async fn storm(
        &self,
        place: &Place,
        repeat: u32,
        name: &'static str,
        positions: &[Option<Position>],
        seen: u32,
    ) -> anyhow::Result<Storm> {
        let asked_before = place.tap.asked().await?;
        let nats_before = process::cpu_time(place.nats.pid())?;
        let edge = self.edge.start(&place.nats, &[place.kind]).await?;
        let cpu_before = process::cpu_time(edge.pid())?;
        let resumes = place.kind == Kind::Durable;
        let expects = if resumes { seen..place.published } else { 0..0 };
        let clients = u32::try_from(self.clients)?;
        let seats = (0..clients).map(|number| {
            let channel = (number % self.channels) as usize;
            let since = positions[channel].clone();
            self.seat(place.kind, number, since, expects.clone())
        });
        let begin = Instant::now();
        let audience = Audience::seat(edge.address(), seats, self.at_once).await?;
        audience.read_all().await;
        let elapsed = begin.elapsed();
        let cpu = process::cpu_time(edge.pid())? - cpu_before;
        let nats_cpu = process::cpu_time(place.nats.pid())? - nats_before;
        let asked = place.tap.asked().await?.since(asked_before);
        let (seen, _) = audience.leave().await?;
        edge.kill().await?;
        Ok(Storm {
            scenario: "reconnect",
            repeat,
            storm: name,
            clients: self.clients,
            seconds: elapsed.as_secs_f64(),
            edge_cpu_seconds: cpu.as_secs_f64(),
            edge_cpu_us_per_client: ratio(cpu.as_secs_f64() * 1e6, f64::from(clients)),
            nats_cpu_seconds: nats_cpu.as_secs_f64(),
            asked,
            asked_per_channel: ratio(figure(asked.total()), f64::from(self.channels)),
            counts: sum(&seen),
        })
    }
}

fn conclude(kind: Kind, storms: &[Storm]) -> anyhow::Result<()> {
    let of = |name: &'static str, figure: fn(&Storm) -> f64| -> Vec<f64> {
        let mut storms: Vec<&Storm> = storms.iter().filter(|storm| storm.storm == name).collect();
        storms.sort_by_key(|storm| storm.repeat);
        storms.into_iter().map(figure).collect()
    };
    let goal = |figure: fn(&Storm) -> f64| {
        let pairs = of(BEHIND, figure).into_iter().zip(of(LEVEL, figure));
        Goal::at_most(
            TARGET,
            Spread::of(pairs.map(|(behind, level)| ratio(behind, level))),
        )
    };
    let mut counts = Counts::default();
    storms.iter().for_each(|storm| counts += storm.counts);
    let asked = Spread::of(of(BEHIND, |storm| storm.asked_per_channel));
    let summary = Summary {
        scenario: "reconnect",
        summary: true,
        channels: kind.name(),
        edge_cpu_ratio: goal(|storm| storm.edge_cpu_seconds),
        time_ratio: goal(|storm| storm.seconds),
        asked_per_channel: Goal::at_most(ASKED_TARGET, asked),
        counts,
    };
    report::say(format_args!(
        "edge CPU, behind to level: {}",
        summary.edge_cpu_ratio
    ));
    report::say(format_args!("time, behind to level: {}", summary.time_ratio));
    report::say(format_args!(
        "requests to JetStream a channel, behind: {}",
        summary.asked_per_channel
    ));
    let mut table = Table::new(&[
        "storm",
        "edge µs/client",
        "seconds",
        "nats CPU s",
        "requests/channel",
    ]);
    for name in [LEVEL, BEHIND] {
        table.row(&[
            &name,
            &Spread::of(of(name, |storm| storm.edge_cpu_us_per_client)),
            &Spread::of(of(name, |storm| storm.seconds)),
            &Spread::of(of(name, |storm| storm.nats_cpu_seconds)),
            &Spread::of(of(name, |storm| storm.asked_per_channel)),
        ]);
    }
    report::say(format_args!("{table}{counts:?}"));
    report::json(&summary)?;
    anyhow::ensure!(
        counts.is_complete(),
        "deliveries are missing, doubled or out of order"
    );
    Ok(())
}
