//! What the load generator itself does in NATS: publish on a schedule, publish with an acknowledgement, and watch what
//! an edge asks of JetStream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tailwater_broker::wire::{
    self, Handler, Message, Outgoing, RequestsOnly, ServerOrder, SubscriptionId, Wire,
};
use tailwater_broker::{Credentials, NatsConfig, TlsConfig};
use tokio::sync::oneshot;

use crate::deployment::STREAM;

/// The longest that NATS may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands before the number in a payload.
const MARK: &[u8] = b"@@";

/// Connects to the server at `url`; the connection's task runs on the runtime that this is called on.
pub(crate) async fn connect<H>(url: &str, role: &str, handler: H) -> anyhow::Result<Wire<H::Subscription>>
where
    H: Handler + Send + 'static,
    H::Subscription: Send,
{
    let config = NatsConfig {
        servers: vec![url.to_owned()],
        name: "tailwater-bench".to_owned(),
        credentials: Credentials::Anonymous,
        tls: TlsConfig::default(),
        inbox_prefix: "_INBOX_bench".to_owned(),
        connect_timeout: PATIENCE,
        ping_interval: PATIENCE,
        reconnect_max_delay: PATIENCE,
    };
    let (wire, driver) = wire::open(&config, role, ServerOrder::AsGiven, handler)?;
    tokio::spawn(driver.run());
    wire.wait_until_connected(PATIENCE).await?;
    Ok(wire)
}

/// When each publication of a run is due: the first at `begin`, then one every `pause`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) begin: Instant,
    pub(crate) pause: Duration,
}

impl Schedule {
    pub(crate) fn due(&self, number: u32) -> Instant {
        self.begin + self.pause * number
    }
}

/// Publications on one subject at a steady rate, whatever becomes of them.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) subject: String,
    pub(crate) total: u32,
    pub(crate) pause: Duration,
    /// Bytes of each publication.
    pub(crate) size: usize,
}

impl Stream {
    /// Publishes on a thread of its own, so that those who read do not delay it. Returns when it is connected and
    /// about to begin.
    pub(crate) async fn start(self, url: &str) -> anyhow::Result<(Schedule, JoinHandle<anyhow::Result<()>>)> {
        let (begun, beginning) = oneshot::channel();
        let url = url.to_owned();
        let publish = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(self.publish(&url, begun))
        };
        let thread = std::thread::Builder::new()
            .name("publisher".to_owned())
            .spawn(publish)?;
        match beginning.await {
            Ok(schedule) => Ok((schedule, thread)),
            Err(_) => Err(join(thread).err().context("the publisher has not begun")?),
        }
    }

    async fn publish(self, url: &str, begun: oneshot::Sender<Schedule>) -> anyhow::Result<()> {
        let wire = connect(url, "publish", RequestsOnly).await?;
        let schedule = Schedule {
            begin: Instant::now() + Duration::from_millis(50),
            pause: self.pause,
        };
        // Who started this waits for it.
        let _ = begun.send(schedule);
        for number in 0..self.total {
            tokio::time::sleep_until(schedule.due(number).into()).await;
            wire.publish(outgoing(&self.subject, &payload(number, self.size)))
                .await?;
        }
        Ok(wire.barrier(PATIENCE).await?)
    }
}

/// Waits for a thread that has ended or is about to.
pub(crate) fn join(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Publishes and, if `stored` is asked for, waits until JetStream has stored it.
pub(crate) async fn publish(
    wire: &Wire<()>,
    subject: &str,
    payload: &[u8],
    stored: bool,
) -> anyhow::Result<()> {
    let outgoing = outgoing(subject, payload);
    if !stored {
        return Ok(wire.publish(outgoing).await?);
    }
    let answer = wire.request(outgoing, PATIENCE).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    anyhow::ensure!(answer["stream"] == STREAM, "JetStream did not store it: {answer}");
    Ok(())
}

fn outgoing<'a>(subject: &'a str, payload: &'a [u8]) -> Outgoing<'a> {
    Outgoing {
        subject,
        headers: &[],
        payload,
    }
}

/// A JSON text of at least `size` bytes that begins with its number.
pub(crate) fn payload(number: u32, size: usize) -> Vec<u8> {
    let text = format!("\"@@{number} ");
    let width = size.saturating_sub(1).max(text.len());
    format!("{text:.<width$}\"").into_bytes()
}

/// The number in a message that carries such a payload.
pub(crate) fn number_in(message: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(message, MARK)? + MARK.len();
    let rest = &message[at..];
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// What an edge has asked of JetStream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    /// Direct gets: history and heads.
    pub(crate) gets: u64,
    /// Publications on the stream's sync subject: barriers, and sync messages stored again.
    pub(crate) syncs: u64,
    /// All else of its API: information on streams, mostly at the start.
    pub(crate) others: u64,
}

impl Asked {
    pub(crate) fn total(self) -> u64 {
        self.gets + self.syncs + self.others
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            gets: self.gets - before.gets,
            syncs: self.syncs - before.syncs,
            others: self.others - before.others,
        }
    }
}

/// Counts what an edge asks of JetStream, by listening where it asks: NATS hands every subscriber a copy.
pub(crate) struct Tap {
    wire: Wire<Seen>,
    counts: Arc<[AtomicU64; 3]>,
}

#[derive(Clone, Copy)]
enum Seen {
    Api,
    Sync,
}

struct Counter(Arc<[AtomicU64; 3]>);

impl Handler for Counter {
    type Subscription = Seen;

    fn message(&mut self, _: SubscriptionId, seen: &mut Seen, message: &Message<'_>) {
        let [gets, syncs, others] = &*self.0;
        let count = match seen {
            Seen::Sync => syncs,
            Seen::Api if message.subject.starts_with(b"$JS.API.DIRECT.GET.") => gets,
            Seen::Api => others,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Tap {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let counts = Arc::<[AtomicU64; 3]>::default();
        let wire = connect(url, "tap", Counter(counts.clone())).await?;
        wire.subscribe("$JS.API.>", Seen::Api).await?;
        wire.subscribe("_tw.sync.>", Seen::Sync).await?;
        wire.barrier(PATIENCE).await?;
        Ok(Self { wire, counts })
    }

    /// What it has seen so far.
    pub(crate) async fn asked(&self) -> anyhow::Result<Asked> {
        // What the server has handled before this has been counted then.
        self.wire.barrier(PATIENCE).await?;
        let [gets, syncs, others] = &*self.counts;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Asked {
            gets: count(gets),
            syncs: count(syncs),
            others: count(others),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_of_its_size_and_carries_its_number() {
        for (number, size) in [(0, 0), (7, 128), (u32::MAX, 1000)] {
            let payload = payload(number, size);
            assert!(payload.len() >= size && payload.len() <= size.max(16));
            assert!(serde_json::from_slice::<String>(&payload).is_ok());
            assert_eq!(number_in(&payload), Some(number));
        }
        assert_eq!(number_in(b"@@x"), None);
    }
}
