//! Sends metrics to a collector, now and then and at the end.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::collector::Collector;
use crate::metrics::{Metrics, otlp};

/// Where a collector takes metrics (OTLP 1.x, section "OTLP/HTTP Request").
pub(crate) const PATH: &str = "/v1/metrics";

/// How long the last set may take.
const FLUSH: Duration = Duration::from_secs(2);

/// What is sent, and where.
#[derive(Clone, Debug)]
struct Pushed {
    metrics: Arc<Metrics>,
    collector: Arc<Collector>,
    resource: Arc<[(String, String)]>,
}

/// The task that sends; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Push {
    pushed: Pushed,
    task: JoinHandle<()>,
}

impl Push {
    /// Begins to send, every `interval`. Must be called in a tokio runtime.
    pub(crate) fn start(
        metrics: Arc<Metrics>,
        collector: Arc<Collector>,
        resource: Vec<(String, String)>,
        interval: Duration,
    ) -> Self {
        let pushed = Pushed {
            metrics,
            collector,
            resource: resource.into(),
        };
        let task = tokio::spawn(pushed.clone().run(interval));
        Self { pushed, task }
    }

    /// Sends what has come about since the last time, and ends; in two seconds at most.
    pub(crate) async fn finish(self) {
        self.task.abort();
        // The collector has told the log if it does not take it.
        let _ = timeout(FLUSH, self.pushed.send()).await;
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pushed {
    async fn run(self, interval: Duration) {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.send().await;
        }
    }

    /// What is not taken is not sent again: the next set holds it too.
    async fn send(&self) {
        let body = otlp::request(&self.metrics, &self.resource).encode_to_vec();
        // The collector has told the log.
        let _ = self.collector.post(body.into()).await;
    }
}
