//! Publishes on a schedule, whatever becomes of it: publication `n` is due at a time that is known before, and how late it
//! arrives is told from then, so a server that holds the publisher up shows as delay and not as a lower rate.

mod connection;
pub(crate) mod http;
mod message;
mod nats;
mod pusher;
pub(crate) mod websocket;

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::oneshot;

use crate::dialect::Publish;
use crate::ledger::Expected;
use crate::payload::Payload;

pub(crate) use self::connection::WebSocket;

/// From the connection of the publisher to the first publication.
const LEAD: Duration = Duration::from_millis(50);

/// Publications that are due already are sent together, so many at most.
const TOGETHER: u32 = 64;

/// The publisher is late if it may not run, so it may run before others; where that is forbidden, it goes on as it is.
const NICE: i32 = -15;

/// Where publications go, one after the other, on a thread of its own.
pub(crate) trait Sink {
    /// Sends one publication to a channel, or keeps it until [`Sink::flush`].
    ///
    /// # Errors
    /// If the connection has failed, or the server refuses a publication.
    fn publish(&mut self, channel: &str, payload: &[u8]) -> anyhow::Result<()>;

    /// Returns when everything has been sent, and answered where the server answers.
    ///
    /// # Errors
    /// As `publish`.
    fn flush(&mut self) -> anyhow::Result<()>;

    /// After the last publication: returns when the server has read them all, where it can say so.
    ///
    /// # Errors
    /// As `publish`.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.flush()
    }
}

/// When each publication of a run is due: `burst` of them every `pause`, the first at `begin`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) begin: Instant,
    /// The number of the first publication; the others follow.
    pub(crate) first: u32,
    pub(crate) total: u32,
    pub(crate) pause: Duration,
    pub(crate) burst: u32,
    /// Publications go round so many channels.
    pub(crate) channels: u32,
    /// Bytes of each publication.
    pub(crate) size: usize,
}

impl Schedule {
    fn due(&self, number: u32) -> Duration {
        self.pause * ((number - self.first) / self.burst)
    }

    /// How late a publication is that arrives now, in microseconds; 0 for one of another run.
    #[inline]
    pub(crate) fn late_us(&self, number: u32, now: Instant) -> u32 {
        let Some(place) = number.checked_sub(self.first) else {
            return 0;
        };
        let turn = if self.burst == 1 {
            place
        } else {
            place / self.burst
        };
        let pause = u64::try_from(self.pause.as_nanos()).unwrap_or(u64::MAX);
        let since = now.saturating_duration_since(self.begin);
        let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let late = since.saturating_sub(pause * u64::from(turn)) / 1000;
        u32::try_from(late).unwrap_or(u32::MAX)
    }

    /// What member `number` of an audience receives, whose channel is `number % channels`.
    pub(crate) fn expected_by(&self, number: usize) -> Expected {
        let channels = self.channels;
        let channel = u32::try_from(number % channels as usize).unwrap_or(0);
        Expected {
            first: self.first + channel,
            count: self.total / channels + u32::from(channel < self.total % channels),
            step: channels,
        }
    }
}

/// How late a publisher was with its own work, at its worst.
pub(crate) type Lateness = Duration;

/// Publishes to the server at `address` on a thread of its own, as the schedule says; its `begin` is set here. Returns when
/// the thread is connected and about to begin.
///
/// # Errors
/// If it cannot connect.
pub(crate) async fn start(
    address: SocketAddr,
    publish: &Publish,
    channels: Vec<String>,
    mut schedule: Schedule,
) -> anyhow::Result<(Schedule, JoinHandle<anyhow::Result<Lateness>>)> {
    let (begun, beginning) = oneshot::channel();
    let publish = publish.clone();
    let work = move || {
        let _ = setpriority_process(Some(gettid()), NICE);
        let mut sink = open(address, &publish)?;
        schedule.begin = Instant::now() + LEAD;
        // Who started this waits for it.
        let _ = begun.send(schedule);
        keep(&mut *sink, &channels, schedule)
    };
    let thread = std::thread::Builder::new()
        .name("publisher".to_owned())
        .spawn(work)?;
    match beginning.await {
        Ok(schedule) => Ok((schedule, thread)),
        Err(_) => Err(join(thread).err().context("the publisher has not begun")?),
    }
}

/// Connects as a server wants its publications.
///
/// # Errors
/// If it is not there, or refuses.
pub(crate) fn open(address: SocketAddr, publish: &Publish) -> anyhow::Result<Box<dyn Sink>> {
    match publish {
        Publish::Nats { url } => Ok(Box::new(nats::Nats::open(url)?)),
        Publish::WebSocket { .. } => websocket::open(address, publish),
        Publish::Http { .. } => http::open(address, publish),
    }
}

/// Keeps to the schedule.
fn keep(sink: &mut dyn Sink, channels: &[String], schedule: Schedule) -> anyhow::Result<Lateness> {
    let mut payload = Payload::new(schedule.size);
    let mut worst = Lateness::ZERO;
    let mut kept = 0;
    for number in schedule.first..schedule.first + schedule.total {
        let due = schedule.begin + schedule.due(number);
        if kept >= TOGETHER || (kept > 0 && Instant::now() < due) {
            sink.flush()?;
            kept = 0;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        worst = worst.max(due.elapsed());
        let channel = &channels[(number - schedule.first) as usize % channels.len()];
        sink.publish(channel, payload.numbered(number))?;
        kept += 1;
    }
    sink.finish()?;
    Ok(worst)
}

/// Waits for a publisher that has ended or is about to.
pub(crate) fn join(thread: JoinHandle<anyhow::Result<Lateness>>) -> anyhow::Result<Lateness> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(burst: u32, channels: u32) -> Schedule {
        Schedule {
            begin: Instant::now(),
            first: 100,
            total: 25,
            pause: Duration::from_millis(10),
            burst,
            channels,
            size: 128,
        }
    }

    #[test]
    fn delays_are_told_from_when_a_publication_was_due() {
        let single = schedule(1, 1);
        let now = single.begin + Duration::from_millis(25);
        assert_eq!(single.late_us(102, now), 5000);
        assert_eq!(single.late_us(103, now), 0);
        assert_eq!(single.late_us(99, now), 0);
        let burst = schedule(4, 1);
        let now = burst.begin + Duration::from_millis(25);
        assert_eq!(burst.late_us(107, now), 15_000);
        assert_eq!(burst.late_us(108, now), 5000);
    }

    #[test]
    fn members_of_all_channels_together_expect_every_publication_once() {
        let schedule = schedule(1, 10);
        let expected: Vec<Expected> = (0..10).map(|number| schedule.expected_by(number)).collect();
        let mut numbers: Vec<u32> = expected
            .iter()
            .flat_map(|each| (0..each.count).map(|place| each.first + place * each.step))
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(100..125));
        assert_eq!(schedule.expected_by(13), expected[3]);
    }
}
