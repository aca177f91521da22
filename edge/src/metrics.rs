//! Every metric, named once: what it is called, what it counts and the question that it answers. Scrapes and pushes
//! read the same numbers, so both have the same names.
//!
//! `meters` is what a worker counts while it works; `Metrics` adds that up and looks at everything else when it is
//! asked. `text` writes the format of Prometheus, `otlp` that of OpenTelemetry; who carries it is left to `admin` and
//! `telemetry`.

pub(crate) mod meters;
pub(crate) mod otlp;
pub(crate) mod text;

use std::sync::Arc;
use std::time::SystemTime;

use tailwater_broker::Health;
use tailwater_broker::feed::FeedHandle;
use tailwater_broker::health::{JetStreamTimes, Measured};

use crate::connections::Connections;
use crate::drain::Drain;
use crate::limits::Limits;
use crate::readiness::Readiness;
use meters::{By, Counter, Handshake, Label, Meters};

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As UCUM writes it; nothing for what is counted.
    pub(crate) unit: &'static str,
    /// Name of each label, and its values in words.
    pub(crate) labels: &'static [(&'static str, &'static str)],
    /// What an operator learns from it.
    pub(crate) question: &'static str,
    read: fn(&Metrics) -> Vec<Series>,
}

/// One line of a metric.
#[derive(Debug)]
pub(crate) struct Series {
    /// In the order of the family.
    pub(crate) labels: Vec<&'static str>,
    pub(crate) value: Value,
}

/// What a series says.
#[derive(Debug)]
pub(crate) enum Value {
    Number(u64),
    Histogram(Box<Measured>),
}

/// What there is to be read.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// One for each worker.
    pub(crate) meters: Vec<Arc<Meters>>,
    /// Connections to NATS, by what they are for.
    pub(crate) links: Vec<(&'static str, Health)>,
    pub(crate) feed: FeedHandle,
    pub(crate) connections: Connections,
    pub(crate) limits: Arc<Limits>,
    pub(crate) drain: Drain,
    pub(crate) readiness: Readiness,
    pub(crate) started_at: SystemTime,
}

const fn family(
    name: &'static str,
    (kind, unit): (Kind, &'static str),
    labels: &'static [(&'static str, &'static str)],
    question: &'static str,
    read: fn(&Metrics) -> Vec<Series>,
) -> Family {
    Family {
        name,
        kind,
        unit,
        labels,
        question,
        read,
    }
}

// What is counted has no unit. `1` would be that of a ratio, and whoever makes names of Prometheus out of OTLP would append
// `_ratio`.
const COUNTER: (Kind, &str) = (Kind::Counter, "");
const GAUGE: (Kind, &str) = (Kind::Gauge, "");
const BYTES: (Kind, &str) = (Kind::Gauge, "By");
const SECONDS: (Kind, &str) = (Kind::Histogram, "s");

/// The labels of what is said of the connections to NATS.
const ROLE: (&str, &str) = ("role", "`live`, `history`, `publish`, `request`, `control`");

/// All metrics, in the order of the README.
#[rustfmt::skip]
pub(crate) const FAMILIES: &[Family] = &[
    family("tailwater_connections", GAUGE, &[("transport", "`websocket`, `sse`, `poll`")], "how many clients are there",
        |metrics| metrics.by(|meters| &meters.connections)),
    family("tailwater_connections_limit", GAUGE, &[], "how many may there be",
        |metrics| one(metrics.connections.limit() as u64)),
    family("tailwater_handshakes_total", COUNTER, &[("result", "`accepted`, `unauthenticated`, `forbidden`, `rate_limited`, `over_limit`, `bad_request`, `unavailable`, `tls_failed`")], "do clients get in",
        Metrics::handshakes),
    family("tailwater_commands_total", COUNTER, &[("command", "its `type`, or `unknown`"), ("result", "`ok`, or the `code` of the error")], "what do clients ask for, and does it work",
        Metrics::commands),
    family("tailwater_deliveries_total", COUNTER, &[("delivery", "`live`, `durable`")], "how many updates went to the sockets of clients",
        |metrics| metrics.by(|meters| &meters.deliveries)),
    family("tailwater_delivered_bytes_total", (Kind::Counter, "By"), &[], "how many bytes they were, before TLS",
        |metrics| metrics.sum(|meters| &meters.delivered_bytes)),
    family("tailwater_batches_total", COUNTER, &[], "how many writes they took: deliveries ÷ batches is what batching saves",
        |metrics| metrics.sum(|meters| &meters.batches)),
    family("tailwater_outbox_bytes", BYTES, &[], "how much waits for slow clients",
        |metrics| metrics.sum(|meters| &meters.outbox_bytes)),
    family("tailwater_outbox_limit_bytes", BYTES, &[], "how much may",
        |metrics| one(metrics.limits.outboxes().most() as u64)),
    family("tailwater_slow_sessions", GAUGE, &[], "how many clients have something waiting for them",
        |metrics| metrics.sum(|meters| &meters.slow_sessions)),
    family("tailwater_catch_ups_total", COUNTER, &[], "how often was a client too slow for a durable channel, and reads on by itself",
        |metrics| metrics.sum(|meters| &meters.catch_ups)),
    family("tailwater_recoveries_total", COUNTER, &[("source", "`ring` (memory), `direct_get` (the stream), `refused` (not in full, or not at all)")], "from where are resumes answered",
        |metrics| metrics.by(|meters| &meters.recoveries)),
    family("tailwater_gaps_healed_total", COUNTER, &[], "how often did publications of a durable channel not arrive, and were read from the stream",
        |metrics| one(metrics.feed.gaps())),
    family("tailwater_lost_total", COUNTER, &[("reason", "the `reason` of `lost`")], "how many clients were told that publications are lost",
        Metrics::lost),
    family("tailwater_nats_connected", GAUGE, &[ROLE], "is NATS there (1) or not (0)",
        |metrics| metrics.links(|health| u64::from(health.is_connected()))),
    family("tailwater_nats_reconnects_total", COUNTER, &[ROLE], "how often was it gone and came back",
        |metrics| metrics.links(Health::reconnects)),
    family("tailwater_jetstream_request_seconds", SECONDS, &[("operation", "`barrier`, `heads`, `read`, `publish`")], "is JetStream slow",
        Metrics::jetstream),
    family("tailwater_delivery_delay_seconds", SECONDS, &[], "how long from when NATS stores a publication of a durable channel until all its subscribers on a worker have it; of what goes out together, the oldest",
        Metrics::delay),
    family("tailwater_ready", GAUGE, &[], "should new clients come (1), or does `/readyz` say why not (0)",
        |metrics| one(u64::from(metrics.readiness.obstacle().is_none()))),
    family("tailwater_draining", GAUGE, &[], "is the edge about to leave (1)",
        |metrics| one(u64::from(metrics.drain.has_begun()))),
    family("tailwater_drain_remaining_sessions", GAUGE, &[], "how many clients have not left yet, while it is",
        |metrics| one(if metrics.drain.has_begun() { metrics.drain.remaining() as u64 } else { 0 })),
    family("tailwater_build_info", GAUGE, &[("version", "of the edge")], "what runs; always 1",
        |_| vec![Series { labels: vec![env!("CARGO_PKG_VERSION")], value: Value::Number(1) }]),
];

impl Metrics {
    /// Every metric with what it says now, in the order of [`FAMILIES`].
    pub(crate) fn read(&self) -> impl Iterator<Item = (&'static Family, Vec<Series>)> {
        FAMILIES.iter().map(|family| (family, (family.read)(self)))
    }

    /// One number of all workers. Between two of them something may have moved, so that a gauge is never negative only
    /// in the sum.
    fn total(&self, counter: impl Fn(&Meters) -> &Counter) -> u64 {
        let each = self.meters.iter().map(|meters| counter(meters).get());
        each.fold(0, u64::wrapping_add)
    }

    fn sum(&self, counter: impl Fn(&Meters) -> &Counter) -> Vec<Series> {
        one(self.total(counter))
    }

    fn by<L: Label, const N: usize>(&self, counters: impl Fn(&Meters) -> &By<L, N>) -> Vec<Series> {
        let each = L::ALL.iter();
        each.map(|label| Series {
            labels: vec![label.name()],
            value: Value::Number(self.total(|meters| counters(meters).of(*label))),
        })
        .collect()
    }

    fn handshakes(&self) -> Vec<Series> {
        let (rate_limited, over_limit) = self.limits.refused();
        let each = Handshake::ALL.iter().map(|result| {
            let count = self.total(|meters| meters.handshakes.of(*result));
            let refused = match result {
                Handshake::RateLimited => rate_limited,
                Handshake::OverLimit => over_limit,
                _ => 0,
            };
            labelled(result.name(), count + refused)
        });
        each.collect()
    }

    /// Successes of every command, and the failures that there were.
    fn commands(&self) -> Vec<Series> {
        let mut counted: Vec<(&'static str, &'static str, u64)> = Vec::new();
        for (index, meters) in self.meters.iter().enumerate() {
            for (place, (command, result, count)) in meters.commands().enumerate() {
                if index == 0 {
                    counted.push((command, result, count));
                } else {
                    counted[place].2 += count;
                }
            }
        }
        let is_of_use = |(command, result, count): &(&str, &str, u64)| {
            *count > 0 || (*result == "ok" && *command != meters::UNKNOWN_COMMAND)
        };
        let counted = counted.into_iter().filter(is_of_use);
        let series = counted.map(|(command, result, count)| Series {
            labels: vec![command, result],
            value: Value::Number(count),
        });
        series.collect()
    }

    fn lost(&self) -> Vec<Series> {
        let reasons = meters::LOST_REASONS.iter().enumerate();
        let each = reasons.map(|(place, reason)| {
            labelled(reason, self.meters.iter().map(|meters| meters.lost(place)).sum())
        });
        each.collect()
    }

    fn links(&self, number: impl Fn(&Health) -> u64) -> Vec<Series> {
        let each = self.links.iter();
        each.map(|(role, health)| labelled(role, number(health)))
            .collect()
    }

    fn jetstream(&self) -> Vec<Series> {
        let operation = |name, histogram: fn(&JetStreamTimes) -> Measured| {
            let mut all = Measured::default();
            for (_, health) in &self.links {
                all.add(&histogram(health.jetstream()));
            }
            Series {
                labels: vec![name],
                value: Value::Histogram(Box::new(all)),
            }
        };
        vec![
            operation("barrier", |times| times.barrier.measured()),
            operation("heads", |times| times.heads.measured()),
            operation("read", |times| times.read.measured()),
            operation("publish", |times| times.publish.measured()),
        ]
    }

    fn delay(&self) -> Vec<Series> {
        let mut all = Measured::default();
        for meters in &self.meters {
            all.add(&meters.delivery_delay.measured());
        }
        vec![Series {
            labels: Vec::new(),
            value: Value::Histogram(Box::new(all)),
        }]
    }
}

fn one(number: u64) -> Vec<Series> {
    vec![Series {
        labels: Vec::new(),
        value: Value::Number(number),
    }]
}

fn labelled(label: &'static str, number: u64) -> Series {
    Series {
        labels: vec![label],
        value: Value::Number(number),
    }
}

/// Every metric as a markdown table: name, kind, labels, and the question that it answers. The README holds exactly
/// this.
pub fn reference() -> String {
    let mut table = String::from("| Metric | Kind | Labels | What it answers |\n| --- | --- | --- | --- |\n");
    for family in FAMILIES {
        let labels = family.labels.iter();
        let labels: Vec<String> = labels
            .map(|(name, values)| format!("`{name}`: {values}"))
            .collect();
        table.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            family.name,
            family.kind.name(),
            labels.join("; "),
            family.question
        ));
    }
    table
}
