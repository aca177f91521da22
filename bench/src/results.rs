//! What a scenario found: each run's figures, and from them medians, ratios and their spread.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::contender::Contender;
use crate::ledger::Counts;
use crate::report::{self, Spread, Table, ratio};
use crate::stage::Stage;

/// What can be measured. The order is that of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    ServerUsPerDelivery,
    ServerUsPerConnection,
    ServerCores,
    /// Of the generator: near 1 it may be the limit, not the server.
    ClientCores,
    DeliveriesPerSecond,
    ConnectionsPerSecond,
    Seconds,
    DelayP50Ms,
    DelayP99Ms,
    DelayMaxMs,
    ReadsPerDelivery,
    NatsUsPerDelivery,
    ClientUsPerDelivery,
    PublisherLateMs,
    Connections,
    BytesPerConnection,
    KernelBytesPerConnection,
    KernelBytesPerStalled,
    BytesPerStalled,
    /// Kept in the process until those who stalled had read everything.
    BytesPerStalledToTheEnd,
    StalledClosed,
    StalledLostPercent,
    RequestsPerChannel,
    NatsCpuSeconds,
    /// Of the highest rate: p99 at half of it.
    HalfP99Ms,
    /// What happens at twice the highest rate.
    PastDeliveriesPerSecond,
    PastLostPercent,
    PastAnnouncedPercent,
    PastDelayP99Ms,
}

impl Figure {
    /// The head of its column, with its unit.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::ServerUsPerDelivery => "server µs/delivery",
            Self::ServerUsPerConnection => "server µs/connection",
            Self::ServerCores => "server cores",
            Self::ClientCores => "client cores",
            Self::DeliveriesPerSecond => "deliveries/s",
            Self::ConnectionsPerSecond => "connections/s",
            Self::Seconds => "seconds",
            Self::DelayP50Ms => "p50 ms",
            Self::DelayP99Ms => "p99 ms",
            Self::DelayMaxMs => "max ms",
            Self::ReadsPerDelivery => "reads/delivery",
            Self::NatsUsPerDelivery => "NATS µs/delivery",
            Self::ClientUsPerDelivery => "client µs/delivery",
            Self::PublisherLateMs => "publisher late ms",
            Self::Connections => "connections",
            Self::BytesPerConnection => "B/connection",
            Self::KernelBytesPerConnection => "kernel B/connection, both ends",
            Self::KernelBytesPerStalled => "kernel B/stalled",
            Self::BytesPerStalled => "process B/stalled",
            Self::BytesPerStalledToTheEnd => "process B/stalled, to the end",
            Self::StalledClosed => "stalled and closed",
            Self::StalledLostPercent => "lost by stalled %",
            Self::RequestsPerChannel => "requests/channel",
            Self::NatsCpuSeconds => "NATS CPU s",
            Self::HalfP99Ms => "p99 ms at half",
            Self::PastDeliveriesPerSecond => "deliveries/s past it",
            Self::PastLostPercent => "lost past it %",
            Self::PastAnnouncedPercent => "announced past it %",
            Self::PastDelayP99Ms => "p99 ms past it",
        }
    }
}

/// Our server has lost, doubled or disordered publications.
#[derive(Debug, thiserror::Error)]
#[error("{place}: deliveries are missing, doubled or out of order: {counts:?}")]
pub(crate) struct Broken {
    place: String,
    counts: Counts,
}

impl Broken {
    /// # Errors
    /// This, unless all is `well`.
    pub(crate) fn unless(well: bool, place: impl FnOnce() -> String, counts: Counts) -> anyhow::Result<()> {
        if well {
            return Ok(());
        }
        let place = place();
        Err(Self { place, counts }.into())
    }
}

/// The figures of one run.
pub(crate) type Figures = BTreeMap<Figure, f64>;

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) scenario: String,
    pub(crate) server: String,
    pub(crate) repeat: usize,
    #[serde(flatten)]
    pub(crate) figures: Figures,
    pub(crate) counts: Counts,
    /// What is missing, doubled or out of order is a failure of this program.
    #[serde(skip)]
    pub(crate) must_be_honest: bool,
}

/// All runs of one scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) scenario: String,
    pub(crate) samples: Vec<Sample>,
    /// Servers that could not be measured, and why.
    pub(crate) failures: BTreeMap<String, String>,
}

impl Results {
    /// Lets the contenders take turns: one run of each a repeat, and each repeat another one first.
    ///
    /// # Errors
    /// [`Broken`]. Who fails otherwise is left out from there on.
    pub(crate) async fn of(
        stage: &Stage,
        scenario: &str,
        contenders: &[Contender],
        repeats: usize,
        mut once: impl AsyncFnMut(&Contender, usize) -> anyhow::Result<(Figures, Counts)>,
    ) -> anyhow::Result<Self> {
        let mut results = Self {
            scenario: scenario.to_owned(),
            samples: Vec::new(),
            failures: BTreeMap::new(),
        };
        let mut order: Vec<&Contender> = contenders.iter().filter(|one| stage.takes_part(one)).collect();
        for repeat in 1..=repeats {
            for contender in &order {
                let server = contender.label();
                if results.failures.contains_key(&server) {
                    continue;
                }
                let (figures, counts) = match once(contender, repeat).await {
                    Ok(found) => found,
                    Err(error) if error.is::<Broken>() => return Err(error),
                    Err(error) => {
                        report::say(format_args!("{scenario}: {server} failed: {error:#}"));
                        results.failures.insert(server, format!("{error:#}"));
                        continue;
                    }
                };
                let sample = Sample {
                    scenario: scenario.to_owned(),
                    server,
                    repeat,
                    figures,
                    counts,
                    must_be_honest: contender.is_ours(),
                };
                report::json(&sample)?;
                results.samples.push(sample);
            }
            if !order.is_empty() {
                order.rotate_left(1);
            }
        }
        Ok(results)
    }

    /// The servers, in the order of their first runs.
    pub(crate) fn servers(&self) -> Vec<&str> {
        let mut servers: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if !servers.contains(&sample.server.as_str()) {
                servers.push(&sample.server);
            }
        }
        servers
    }

    /// A server's figure over all runs.
    pub(crate) fn spread(&self, server: &str, figure: Figure) -> Spread {
        Spread::of(
            self.of_server(server)
                .filter_map(|sample| sample.figures.get(&figure).copied()),
        )
    }

    /// A figure of a server divided by that of another, repeat by repeat.
    pub(crate) fn ratio(&self, server: &str, base: &str, figure: Figure) -> Spread {
        let pairs = self.of_server(server).filter_map(|sample| {
            let mut others = self.of_server(base);
            let other = others.find(|other| other.repeat == sample.repeat)?;
            Some(ratio(*sample.figures.get(&figure)?, *other.figures.get(&figure)?))
        });
        Spread::of(pairs)
    }

    fn of_server(&self, server: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.server == server)
    }

    /// What a server's clients have come to, all runs together.
    pub(crate) fn counts(&self, server: &str) -> Counts {
        let mut counts = Counts::default();
        self.of_server(server).for_each(|sample| counts += sample.counts);
        counts
    }

    /// A row for each server: its figures, and `compared` in relation to that of the base: the floor where there is one,
    /// else the first. All figures, or these.
    pub(crate) fn table(&self, compared: Figure, shown: Option<&[Figure]>) -> Table {
        let servers = self.servers();
        let base = servers
            .iter()
            .find(|server| **server == "floor")
            .or(servers.first());
        let all = self
            .samples
            .iter()
            .flat_map(|sample| sample.figures.keys().copied());
        let mut found: Vec<Figure> = shown.map_or_else(|| all.collect(), <[Figure]>::to_vec);
        if shown.is_none() {
            found.sort_unstable();
            found.dedup();
        }
        let versus = base.map(|base| format!("to {base}"));
        let mut heading = vec!["server"];
        heading.extend(versus.as_deref());
        heading.extend(found.iter().map(|figure| figure.heading()));
        heading.push("lost/doubled/disordered");
        let mut table = Table::new(&heading);
        for server in &servers {
            let mut cells = vec![(*server).to_owned()];
            cells.extend(base.map(|base| self.ratio(server, base, compared).to_string()));
            cells.extend(
                found
                    .iter()
                    .map(|figure| self.spread(server, *figure).to_string()),
            );
            let counts = self.counts(server);
            cells.push(format!(
                "{}/{}/{}",
                counts.lost, counts.doubled, counts.out_of_order
            ));
            table.cells(cells);
        }
        table
    }

    /// Prints the table and the line of JSON that sums it up.
    pub(crate) fn conclude(&self, compared: Figure) -> anyhow::Result<()> {
        report::say(format_args!("{}\n{}", self.scenario, self.table(compared, None)));
        let summary: BTreeMap<&str, BTreeMap<Figure, Spread>> = self
            .servers()
            .into_iter()
            .map(|server| {
                let figures = self.of_server(server).flat_map(|sample| sample.figures.keys());
                let spreads = figures.map(|figure| (*figure, self.spread(server, *figure)));
                (server, spreads.collect())
            })
            .collect();
        report::json(&serde_json::json!({
            "scenario": self.scenario, "summary": true, "servers": summary,
        }))?;
        self.verdict()?;
        if let Some((server, reason)) = self.failures.iter().next() {
            anyhow::bail!("{}: {server} failed: {reason}", self.scenario);
        }
        Ok(())
    }

    /// # Errors
    /// [`Broken`] if anything of ours was lost without being announced, doubled or out of order.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        for sample in self.samples.iter().filter(|sample| sample.must_be_honest) {
            let run = || format!("{}, {}, run {}", self.scenario, sample.server, sample.repeat);
            Broken::unless(sample.counts.is_honest(), run, sample.counts)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(found: &[(&str, usize, f64)]) -> Results {
        let sample = |(server, repeat, value): &(&str, usize, f64)| Sample {
            scenario: "fanout".to_owned(),
            server: (*server).to_owned(),
            repeat: *repeat,
            figures: Figures::from([(Figure::ServerUsPerDelivery, *value)]),
            counts: Counts::default(),
            must_be_honest: true,
        };
        Results {
            scenario: "fanout".to_owned(),
            samples: found.iter().map(sample).collect(),
            failures: BTreeMap::new(),
        }
    }

    #[test]
    fn ratios_are_of_runs_in_the_same_turn() {
        // The second turn was slow for both.
        let results = results(&[
            ("ours", 1, 6.0),
            ("floor", 1, 5.0),
            ("floor", 2, 10.0),
            ("ours", 2, 11.0),
        ]);
        let ratio = results.ratio("ours", "floor", Figure::ServerUsPerDelivery);
        assert_eq!((ratio.min, ratio.max), (1.1, 1.2));
        assert!(
            results
                .ratio("ours", "uws", Figure::ServerUsPerDelivery)
                .median
                .is_nan()
        );
        let table = results.table(Figure::ServerUsPerDelivery, None).to_string();
        assert!(
            table.contains("to floor") && table.contains("1.15 [1.10..1.20]"),
            "{table}"
        );
    }

    #[test]
    fn loss_of_ours_is_a_failure_and_loss_of_a_peer_is_a_figure() {
        let mut results = results(&[("ours", 1, 6.0)]);
        assert!(results.verdict().is_ok());
        results.samples[0].counts.lost = 1;
        assert!(results.verdict().unwrap_err().is::<Broken>());
        results.samples[0].must_be_honest = false;
        assert!(results.verdict().is_ok());
    }
}
