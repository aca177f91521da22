//! Many clients come back at once, as after the end of an edge: each with its place in a durable channel, and in one
//! case with publications to catch up on. Every storm meets an edge that has just been started, so that all it knows
//! it has to ask of JetStream.
//!
//! Each repeat has a storm with nothing behind and one with `--behind` publications behind, in turns the one or the
//! other first. What an edge asks of JetStream is counted by listening where it asks.

use std::time::Instant;

use clap::Args;
use tailwater_broker::wire::{RequestsOnly, Wire};

use crate::audience::{Audience, Seat};
use crate::contender::{Contender, Server, Variant};
use crate::deployment::Kind;
use crate::ledger::{Counts, Expected};
use crate::nats::{self, Tap};
use crate::payload::Payload;
use crate::process;
use crate::report::{self, Goal, figure, ratio};
use crate::results::{Broken, Figure, Figures, Results};
use crate::stage::{Stage, StageOptions};
use crate::tailwater::{Codec, Position};

/// What being behind may cost, against coming back with nothing behind.
const TARGET: f64 = 1.20;

/// What an edge may ask of JetStream for one channel, however many come back to it.
const ASKED_TARGET: f64 = 3.0;

/// Many clients come back at once to an edge that has just started: what it costs that they are behind
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    stage: StageOptions,
    /// Live channels, where nobody resumes: how far a ratio of equals is from 1 on this machine
    #[arg(long)]
    live: bool,
    /// Codec of the clients
    #[arg(long, default_value = "json")]
    codec: Codec,
    /// Encrypt connections
    #[arg(long)]
    tls: bool,
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
    repeats: usize,
}

const LEVEL: &str = "level";
const BEHIND: &str = "behind";

/// What there is on the side of NATS.
struct Place {
    tap: Tap,
    wire: Wire<()>,
    /// Publications so far on each channel.
    published: u32,
}

impl Resume {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        process::make_room_for(self.clients)?;
        let stage = Stage::set(&self.stage, &[Server::Tailwater]).await?;
        let url = stage.nats().url();
        let mut place = Place {
            tap: Tap::open(url).await?,
            wire: nats::connect(url, "publish", RequestsOnly).await?,
            published: 0,
        };
        let contender = |note| Contender {
            note,
            ..Contender::ours(Variant {
                codec: self.codec,
                kind: if self.live { Kind::Live } else { Kind::Durable },
                tls: self.tls,
            })
        };
        let contenders = [contender(LEVEL), contender(BEHIND)];
        // The first edge makes the stream.
        self.positions(&stage, &contenders[0]).await?;
        self.publish(&mut place, &contenders[0]).await?;
        let results = Results::of(
            &stage,
            "resume",
            &contenders,
            self.repeats,
            async |contender, _| {
                let positions = self.positions(&stage, contender).await?;
                let seen = place.published;
                if contender.note == BEHIND {
                    self.publish(&mut place, contender).await?;
                }
                self.storm(&stage, &place, contender, &positions, seen).await
            },
        )
        .await?;
        stage.end().await;
        let [level, behind] = contenders.map(|contender| contender.label());
        let compare = |figure| Goal::at_most(TARGET, results.ratio(&behind, &level, figure));
        let asked = Goal::at_most(ASKED_TARGET, results.spread(&behind, Figure::RequestsPerChannel));
        report::say(format_args!(
            "edge CPU, behind to level: {}\ntime, behind to level: {}\nrequests to JetStream a channel, behind: {asked}",
            compare(Figure::ServerUsPerConnection),
            compare(Figure::Seconds),
        ));
        results.conclude(Figure::ServerUsPerConnection)
    }

    fn channel(&self, contender: &Contender, number: u32) -> String {
        contender
            .variant
            .kind
            .channel(&format!("c{}", number % self.channels))
    }

    /// Where every channel is now, as an edge tells it.
    async fn positions(&self, stage: &Stage, contender: &Contender) -> anyhow::Result<Vec<Option<Position>>> {
        let target = stage.start(contender).await?;
        let seats = (0..self.channels).map(|number| Seat {
            channel: self.channel(contender, number),
            ..Seat::default()
        });
        let audience = Audience::seat(target.door().clone(), seats, 1).await?;
        let seen = audience.received().seen;
        let positions: Vec<Option<Position>> = seen.into_iter().map(|seen| seen.position).collect();
        anyhow::ensure!(
            positions.iter().all(|position| position.is_some() != self.live),
            "only durable channels have positions"
        );
        drop(audience);
        target.stop().await?;
        Ok(positions)
    }

    /// What clients will be behind, while no edge is there.
    async fn publish(&self, place: &mut Place, contender: &Contender) -> anyhow::Result<()> {
        let mut payload = Payload::new(self.size);
        for _ in 0..self.behind {
            for channel in 0..self.channels {
                let subject = self.channel(contender, channel);
                let payload = payload.numbered(place.published);
                nats::publish(&place.wire, &subject, payload, !self.live).await?;
            }
            place.published += 1;
        }
        Ok(())
    }

    async fn storm(
        &self,
        stage: &Stage,
        place: &Place,
        contender: &Contender,
        positions: &[Option<Position>],
        seen: u32,
    ) -> anyhow::Result<(Figures, Counts)> {
        let asked_before = place.tap.asked().await?;
        let nats_before = process::cpu_time(stage.nats().pid())?;
        let target = stage.start(contender).await?;
        let cpu_before = process::cpu_time(target.pid())?;
        let expects = if self.live { 0..0 } else { seen..place.published };
        let seats = (0..u32::try_from(self.clients)?).map(|number| Seat {
            channel: self.channel(contender, number),
            since: positions[(number % self.channels) as usize].clone(),
            expects: Expected::all(expects.clone()),
            stalls_after: None,
        });
        let begin = Instant::now();
        let audience = Audience::seat(target.door().clone(), seats, self.at_once).await?;
        audience.read_all().await;
        let elapsed = begin.elapsed().as_secs_f64();
        let cpu = process::cpu_time(target.pid())? - cpu_before;
        let nats_cpu = process::cpu_time(stage.nats().pid())? - nats_before;
        let asked = place.tap.asked().await? - asked_before;
        audience.linger().await;
        let counts = audience.received().counts();
        drop(audience);
        target.stop().await?;
        Broken::unless(counts.is_complete(), || contender.label(), counts)?;
        let figures = Figures::from([
            (
                Figure::ServerUsPerConnection,
                ratio(cpu.as_secs_f64() * 1e6, figure(self.clients as u64)),
            ),
            (Figure::Seconds, elapsed),
            (Figure::NatsCpuSeconds, nats_cpu.as_secs_f64()),
            (
                Figure::RequestsPerChannel,
                ratio(figure(asked), f64::from(self.channels)),
            ),
        ]);
        Ok((figures, counts))
    }
}
