//! The parts of a report: what each measures, with whom, and for how long.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use crate::contender::{Contender, Server, Variant};
use crate::deployment::Kind;
use crate::results::{Figure, Results};
use crate::scenario::slow::Plan;
use crate::scenario::{connect, idle, load, max, slow};
use crate::stage::Stage;
use crate::tailwater::Codec;
use crate::trial::Load;

/// Length of a run in a report, so that all of it takes less than 40 minutes.
const SECONDS: f64 = 3.0;

/// How thorough a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Full,
    /// To see that everything works.
    Quick,
}

/// A part of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cell {
    /// One channel, 1,000 sockets
    Fanout,
    /// One channel, 10,000 sockets
    #[value(name = "fanout-10k")]
    #[serde(rename = "fanout-10k")]
    Fanout10k,
    /// 10,000 sockets on 1,000 channels
    Many,
    /// 64 publications back to back
    Burst,
    /// The highest rate, half of it and twice as much
    Max,
    /// Our server's other ways: durable, MessagePack, TLS
    Ways,
    /// Memory of a connection
    Idle,
    /// CPU of a handshake
    Connect,
    /// A tenth stops reading
    Slow,
}

/// Our server with TLS.
pub(super) const WSS: Variant = Variant {
    tls: true,
    ..Variant::PLAIN
};

/// Our server's durable channels.
pub(super) const DURABLE: Variant = Variant {
    kind: Kind::Durable,
    ..Variant::PLAIN
};

/// Our server with MessagePack.
const MSGPACK: Variant = Variant {
    codec: Codec::Msgpack,
    ..Variant::PLAIN
};

impl Cell {
    pub(crate) const ALL: [Self; 9] = [
        Self::Fanout,
        Self::Fanout10k,
        Self::Many,
        Self::Burst,
        Self::Max,
        Self::Ways,
        Self::Idle,
        Self::Connect,
        Self::Slow,
    ];

    /// Its heading on the page.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Fanout => "One channel, 1,000 sockets, 50 publications of 128 B a second",
            Self::Fanout10k => "One channel, 10,000 sockets, 5 publications of 128 B a second",
            Self::Many => "10,000 sockets on 1,000 channels, 5,000 publications of 128 B a second",
            Self::Burst => "64 publications of 128 B back to back, 1,000 sockets, 5 times a second",
            Self::Max => "Highest rate at 1,000 sockets and 128 B: p99 below 100 ms, nothing lost",
            Self::Ways => "Our server's ways: 1,000 sockets, 50 publications of 128 B a second",
            Self::Idle => "Subscribed and idle: 19,000 sockets on one process",
            Self::Connect => "10,000 handshakes and subscriptions, 200 at a time",
            Self::Slow => "200 sockets, a tenth stops reading, 4 KiB 200 times a second",
        }
    }

    /// The figure that servers are compared by.
    pub(super) fn compared(self) -> Figure {
        match self {
            Self::Max => Figure::DeliveriesPerSecond,
            Self::Idle => Figure::BytesPerConnection,
            Self::Connect => Figure::ServerUsPerConnection,
            Self::Slow => Figure::KernelBytesPerStalled,
            _ => Figure::ServerUsPerDelivery,
        }
    }

    /// The figures that the page shows.
    pub(super) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Max => &[
                Figure::DeliveriesPerSecond,
                Figure::ServerUsPerDelivery,
                Figure::ServerCores,
                Figure::ClientCores,
                Figure::DelayP99Ms,
                Figure::HalfP99Ms,
                Figure::PastDeliveriesPerSecond,
                Figure::PastDelayP99Ms,
                Figure::PastLostPercent,
                Figure::PastAnnouncedPercent,
            ],
            Self::Idle => &[
                Figure::Connections,
                Figure::BytesPerConnection,
                Figure::KernelBytesPerConnection,
            ],
            Self::Connect => &[Figure::ServerUsPerConnection, Figure::ConnectionsPerSecond],
            Self::Slow => &[
                Figure::KernelBytesPerStalled,
                Figure::BytesPerStalled,
                Figure::DelayP99Ms,
                Figure::StalledClosed,
                Figure::StalledLostPercent,
            ],
            _ => &[
                Figure::ServerUsPerDelivery,
                Figure::DelayP50Ms,
                Figure::DelayP99Ms,
                Figure::ReadsPerDelivery,
                Figure::NatsUsPerDelivery,
            ],
        }
    }

    /// Ours in its plain way, the peers that are wanted, and ours in other ways.
    fn contenders(self, servers: &[Server]) -> Vec<Contender> {
        let mut contenders: Vec<Contender> = servers.iter().copied().map(Contender::plain).collect();
        let ways: &[Variant] = match self {
            Self::Ways => {
                contenders.retain(Contender::is_ours);
                &[DURABLE, MSGPACK, WSS]
            }
            Self::Idle | Self::Connect => &[WSS],
            Self::Slow => &[DURABLE],
            _ => &[],
        };
        if servers.contains(&Server::Tailwater) {
            contenders.extend(ways.iter().copied().map(Contender::ours));
        }
        contenders
    }

    /// Lets all servers take turns.
    pub(super) async fn measure(
        self,
        stage: &Stage,
        servers: &[Server],
        extent: Extent,
    ) -> anyhow::Result<Results> {
        let name = self.to_string();
        let contenders = self.contenders(servers);
        let quick = extent == Extent::Quick;
        let repeats = |full| if quick { 1 } else { full };
        let shortened = |load: Load| Load {
            clients: if quick { load.clients / 5 } else { load.clients },
            seconds: if quick { 0.5 } else { load.seconds.min(SECONDS) },
            ..load
        };
        let steady =
            async |load: Load| load::measure(stage, &name, &contenders, shortened(load), repeats(5)).await;
        match self {
            Self::Fanout | Self::Ways => steady(load::FANOUT).await,
            Self::Fanout10k => {
                let load = Load {
                    clients: 10_000,
                    rate: 5.0,
                    ..load::FANOUT
                };
                steady(load).await
            }
            Self::Many => steady(load::MANY).await,
            Self::Burst => steady(load::BURST).await,
            Self::Max => {
                let step = shortened(max::STEP);
                max::measure(stage, &contenders, step, max::START, repeats(3)).await
            }
            Self::Idle => {
                let clients = if quick { 1000 } else { idle::CLIENTS };
                idle::measure(stage, &contenders, clients, repeats(1)).await
            }
            Self::Connect => {
                let clients = if quick { 1000 } else { connect::CLIENTS };
                connect::measure(stage, &contenders, clients, connect::AT_ONCE, repeats(5)).await
            }
            Self::Slow => {
                let plan = Plan {
                    mebibytes: if quick { 2 } else { 8 },
                    rate: if quick { 1000 } else { 200 },
                    ..slow::PLAN
                };
                slow::measure(stage, &contenders, plan, repeats(1)).await
            }
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        out.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
