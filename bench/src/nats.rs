//! What a scenario itself does in NATS: publish with an acknowledgement, and watch what an edge asks of JetStream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tailwater_broker::wire::{self, Handler, Message, Outgoing, ServerOrder, SubscriptionId, Wire};
use tailwater_broker::{Credentials, NatsConfig, TlsConfig};

use crate::deployment::STREAM;

/// The longest that NATS may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Counts what an edge asks of JetStream, by listening where it asks: NATS hands every subscriber a copy. These are direct
/// gets (history and heads), barriers on the streams' sync subjects, and all else of the API, mostly at the start.
pub(crate) struct Tap {
    wire: Wire<()>,
    count: Arc<AtomicU64>,
}

struct Counter(Arc<AtomicU64>);

impl Handler for Counter {
    type Subscription = ();

    fn message(&mut self, _: SubscriptionId, (): &mut (), _: &Message<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Tap {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let count = Arc::<AtomicU64>::default();
        let wire = connect(url, "tap", Counter(count.clone())).await?;
        wire.subscribe("$JS.API.>", ()).await?;
        wire.subscribe("_tw.sync.>", ()).await?;
        wire.barrier(PATIENCE).await?;
        Ok(Self { wire, count })
    }

    /// Requests that it has seen so far.
    pub(crate) async fn asked(&self) -> anyhow::Result<u64> {
        // What the server has handled before this has been counted then.
        self.wire.barrier(PATIENCE).await?;
        Ok(self.count.load(Ordering::Relaxed))
    }
}
