//! A storm of handshakes: what it costs a server to let a client in, from the connection to the answer that it is
//! subscribed.

use std::time::Instant;

use clap::Args;

use crate::audience::{Audience, Seat};
use crate::contender::Contender;
use crate::deployment::Kind;
use crate::ledger::Counts;
use crate::process;
use crate::report::{figure, ratio};
use crate::results::{Figure, Figures, Results};
use crate::stage::{Choice, Stage, StageOptions};

/// Handshakes under way at a time.
pub(crate) const AT_ONCE: usize = 200;

/// Connections of a storm.
pub(crate) const CLIENTS: usize = 10_000;

/// Many clients connect and subscribe at once: what each costs the server
#[derive(Debug, Args)]
pub(crate) struct Connect {
    #[command(flatten)]
    stage: StageOptions,
    #[command(flatten)]
    choice: Choice,
    /// Durable channels of our server
    #[arg(long)]
    durable: bool,
    /// Connections that come
    #[arg(long, default_value_t = CLIENTS)]
    clients: usize,
    /// Handshakes under way at a time; the kernel queues no more than `net.core.somaxconn`
    #[arg(long, default_value_t = AT_ONCE)]
    at_once: usize,
    /// Storms on each server
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

impl Connect {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        process::make_room_for(self.clients)?;
        let stage = Stage::set(&self.stage, &self.choice.servers).await?;
        let kind = if self.durable { Kind::Durable } else { Kind::Live };
        let contenders = self.choice.contenders(kind);
        let results = measure(&stage, &contenders, self.clients, self.at_once, self.repeats).await?;
        stage.end().await;
        results.conclude(Figure::ServerUsPerConnection)
    }
}

/// Lets servers take turns; each storm meets one that has just been started.
pub(crate) async fn measure(
    stage: &Stage,
    contenders: &[Contender],
    clients: usize,
    at_once: usize,
    repeats: usize,
) -> anyhow::Result<Results> {
    Results::of(stage, "connect", contenders, repeats, async |contender, _| {
        let target = stage.start(contender).await?;
        let seat = Seat {
            channel: target.channel("connect"),
            ..Seat::default()
        };
        let before = process::cpu_time(target.pid())?;
        let begin = Instant::now();
        let seats = std::iter::repeat_n(seat, clients);
        let audience = Audience::seat(target.door().clone(), seats, at_once).await?;
        let elapsed = begin.elapsed().as_secs_f64();
        let cpu = process::cpu_time(target.pid())? - before;
        drop(audience);
        target.stop().await?;
        let clients = figure(clients as u64);
        let figures = Figures::from([
            (
                Figure::ServerUsPerConnection,
                ratio(cpu.as_secs_f64() * 1e6, clients),
            ),
            (Figure::ConnectionsPerSecond, ratio(clients, elapsed)),
        ]);
        Ok((figures, Counts::default()))
    })
    .await
}
