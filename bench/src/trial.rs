//! One run: a server, an audience, and publications on a schedule. What every scenario with publications measures.

use std::time::{Duration, Instant};

use crate::audience::{Audience, Received, Seat};
use crate::client::Door;
use crate::process;
use crate::publisher::{self, Lateness, Schedule};
use crate::report::{figure, ratio, whole};
use crate::results::{Broken, Figure, Figures};
use crate::stage::{Stage, Target};

/// Handshakes at a time, where they are not what is measured.
const AT_ONCE: usize = 200;

/// How long load is put on a server before it is measured, so that nothing is measured that happens only once.
const WARM_UP: Duration = Duration::from_millis(500);

/// What is put on a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Connections that subscribe.
    pub(crate) clients: usize,
    /// Channels that they share.
    pub(crate) channels: u32,
    /// Publications a second.
    pub(crate) rate: f64,
    /// Publications that go out together.
    pub(crate) burst: u32,
    /// Bytes of each publication.
    pub(crate) size: usize,
    /// Seconds of publications.
    pub(crate) seconds: f64,
}

impl Load {
    /// The same at another rate.
    pub(crate) fn at(self, rate: f64) -> Self {
        Self { rate, ..self }
    }

    fn schedule(&self, first: u32, seconds: f64) -> Schedule {
        let pause = Duration::from_secs_f64(f64::from(self.burst) / self.rate);
        let bursts = (seconds * self.rate / f64::from(self.burst)).ceil().max(1.0);
        Schedule {
            begin: Instant::now(),
            first,
            total: whole(bursts).saturating_mul(self.burst),
            pause,
            burst: self.burst,
            channels: self.channels,
            size: self.size,
        }
    }
}

/// What a run has come to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) received: Received,
    /// How late the publisher was by its own fault, at worst.
    pub(crate) late: Lateness,
}

/// An audience on a server that runs.
pub(crate) struct Trial<'a> {
    stage: &'a Stage,
    target: &'a Target,
    audience: Audience,
    channels: Vec<String>,
    /// The number of the publication that comes next.
    next: u32,
}

impl<'a> Trial<'a> {
    /// Seats the clients of a load; `name` is for channels that no other run has.
    pub(crate) async fn seat(
        stage: &'a Stage,
        target: &'a Target,
        load: &Load,
        name: &str,
    ) -> anyhow::Result<Self> {
        Self::seat_with(stage, target, target.door().clone(), load, name, |_| None).await
    }

    /// The same, where some stop reading after so many publications.
    pub(crate) async fn seat_with(
        stage: &'a Stage,
        target: &'a Target,
        door: Door,
        load: &Load,
        name: &str,
        stalls_after: impl Fn(usize) -> Option<u32>,
    ) -> anyhow::Result<Self> {
        let channel = |number: u32| target.channel(&format!("{name}.c{number}"));
        let channels: Vec<String> = (0..load.channels).map(channel).collect();
        let seats = (0..load.clients).map(|number| Seat {
            channel: channels[number % channels.len()].clone(),
            stalls_after: stalls_after(number),
            ..Seat::default()
        });
        let audience = Audience::seat(door, seats, AT_ONCE).await?;
        Ok(Self {
            stage,
            target,
            audience,
            channels,
            next: 0,
        })
    }

    /// Half a second of the load, not measured.
    pub(crate) async fn warm_up(&mut self, load: &Load) -> anyhow::Result<()> {
        let schedule = load.schedule(self.next, WARM_UP.as_secs_f64().min(load.seconds));
        self.publish(schedule).await?;
        let counts = self.audience.received().counts();
        let ours = self.target.door().codec.is_some();
        Broken::unless(!ours || counts.is_honest(), || "warm-up".to_owned(), counts)
    }

    /// Puts the load on, and waits until everything has come or nothing comes any more.
    pub(crate) async fn run(&mut self, load: &Load) -> anyhow::Result<Outcome> {
        let (server, nats) = (self.target.pid(), self.stage.nats().pid());
        let cpu = || {
            anyhow::Ok((
                process::cpu_time(server)?,
                process::cpu_time(nats)?,
                process::own_cpu_time(),
            ))
        };
        let schedule = load.schedule(self.next, load.seconds);
        let before = cpu()?;
        let (begin, late) = self.publish(schedule).await?;
        let after = cpu()?;
        self.audience.linger().await;
        let received = self.audience.received();
        let last = received.last.unwrap_or_else(Instant::now);
        let elapsed = last.saturating_duration_since(begin).as_secs_f64();
        let counts = received.counts();
        let delivered = figure(counts.delivered);
        let micros = |after: Duration, before: Duration| after.saturating_sub(before).as_secs_f64() * 1e6;
        let (server_us, client_us) = (micros(after.0, before.0), micros(after.2, before.2));
        let milliseconds = |microseconds: u32| f64::from(microseconds) / 1e3;
        let figures = Figures::from([
            (Figure::ServerUsPerDelivery, ratio(server_us, delivered)),
            (Figure::ServerCores, ratio(server_us / 1e6, elapsed)),
            (
                Figure::NatsUsPerDelivery,
                ratio(micros(after.1, before.1), delivered),
            ),
            (Figure::ClientUsPerDelivery, ratio(client_us, delivered)),
            (Figure::ClientCores, ratio(client_us / 1e6, elapsed)),
            (Figure::DeliveriesPerSecond, ratio(delivered, elapsed)),
            (Figure::ReadsPerDelivery, ratio(figure(received.reads), delivered)),
            (Figure::DelayP50Ms, milliseconds(received.delays.quantile(0.50))),
            (Figure::DelayP99Ms, milliseconds(received.delays.quantile(0.99))),
            (Figure::DelayMaxMs, milliseconds(received.delays.max())),
            (Figure::PublisherLateMs, late.as_secs_f64() * 1e3),
        ]);
        Ok(Outcome {
            figures,
            received,
            late,
        })
    }

    async fn publish(&mut self, mut schedule: Schedule) -> anyhow::Result<(Instant, Lateness)> {
        let publish = &self.target.door().dialect.publish;
        let address = self.target.address();
        let channels = self.channels.clone();
        let (begun, publisher) = publisher::start(address, publish, channels, schedule).await?;
        schedule = begun;
        self.next += schedule.total;
        self.audience.expect(schedule);
        self.audience.read_all().await;
        Ok((schedule.begin, publisher::join(publisher)?))
    }

    pub(crate) fn audience(&self) -> &Audience {
        &self.audience
    }
}
