//! Clients that keep to the rules, and how long their publications take.

use std::fmt;
use std::time::{Duration, Instant};

use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, Subscribe};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::push::Push;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::soon;

/// How many there are.
const CLIENTS: usize = 20;

/// The pause between two publications.
const PAUSE: Duration = Duration::from_millis(10);

/// What has not come after so long without any is missing.
const SILENCE: Duration = Duration::from_secs(3);

/// What they follow.
const CHANNEL: &str = "honest.news";

/// Clients on one channel, and who publishes on it.
pub struct Honest {
    nats: async_nats::Client,
    /// Publication numbers as they arrive.
    arrived: mpsc::Receiver<(usize, Instant)>,
    next: usize,
    _clients: JoinSet<()>,
}

/// How long publications took, from the publisher to all clients.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// Half of the deliveries took less.
    pub median: Duration,
    /// All but a hundredth of the deliveries took less.
    pub p99: Duration,
    /// Deliveries that did not come.
    pub missing: usize,
}

impl fmt::Display for Delays {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |delay: Duration| delay.as_secs_f64() * 1000.0;
        write!(out, "{:.2} ms (p99 {:.1})", ms(self.median), ms(self.p99))?;
        match self.missing {
            0 => Ok(()),
            missing => write!(out, ", {missing} missing"),
        }
    }
}

impl Honest {
    /// Connects them.
    ///
    /// # Panics
    /// If one of them is not served.
    pub async fn start(url: &str, nats: async_nats::Client) -> Self {
        let (sender, arrived) = mpsc::channel(1 << 16);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let mut client = soon("a connection", Client::connect(url, None))
                .await
                .expect("an honest client is let in");
            let subscribe = Subscribe {
                channel: Channel::new(CHANNEL).expect("a channel"),
                since: None,
                latest: false,
            };
            client
                .send(None, Command::Subscribe(subscribe))
                .await
                .expect("the edge is there");
            while crate::next(&mut client).await.kind() != "subscribed" {}
            let sender = sender.clone();
            clients.spawn(async move {
                while let Ok(message) = client.next().await {
                    let ServerBody::Push(Push::Update(update)) = message.body else {
                        continue;
                    };
                    let number = format!("{:?}", update.payload);
                    let number: String = number.chars().filter(char::is_ascii_digit).collect();
                    let number = number.parse().expect("a number was published");
                    if sender.send((number, Instant::now())).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self {
            nats,
            arrived,
            next: 0,
            _clients: clients,
        }
    }

    /// Publishes for `time`, and waits until everything has come.
    ///
    /// # Panics
    /// If NATS takes no publication.
    pub async fn measure(&mut self, time: Duration) -> Delays {
        let (first, begin) = (self.next, Instant::now());
        let (mut published, mut arrivals) = (Vec::new(), Vec::new());
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while begin.elapsed() < time {
            tokio::select! {
                _ = ticks.tick() => {
                    published.push(Instant::now());
                    let number = self.next.to_string();
                    self.next += 1;
                    self.nats.publish(CHANNEL, number.into()).await.expect("NATS is there");
                }
                Some(arrival) = self.arrived.recv() => arrivals.push(arrival),
            }
        }
        let expected = published.len() * CLIENTS;
        while arrivals.len() < expected
            && let Ok(Some(arrival)) = timeout(SILENCE, self.arrived.recv()).await
        {
            arrivals.push(arrival);
        }
        // One of a measurement before this one has counted there, as missing.
        let delay = |(number, at): (usize, Instant)| {
            let sent: &Instant = published.get(number.checked_sub(first)?)?;
            Some(at.duration_since(*sent))
        };
        let mut delays: Vec<Duration> = arrivals.into_iter().filter_map(delay).collect();
        delays.sort_unstable();
        let at = |percent: usize| {
            let delay = delays.get(delays.len() * percent / 100);
            delay.copied().unwrap_or(Duration::MAX)
        };
        Delays {
            median: at(50),
            p99: at(99),
            missing: expected - delays.len(),
        }
    }
}
