//! The whole report in one command: every target of the project with what was measured and the figures of the peers in the
//! same run, as a page, a plot and JSON.

mod cell;
mod page;
mod plot;
mod targets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::cell::{Cell, Extent};
use crate::contender::Server;
use crate::machine::Machine;
use crate::report;
use crate::results::{Broken, Results};
use crate::stage::{LeftOut, Stage, StageOptions};

/// Measure everything, and write RESULTS.md, results.svg and results.json
#[derive(Debug, Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    stage: StageOptions,
    /// Servers that take part [default: all]
    #[arg(long = "server", value_name = "NAME")]
    servers: Vec<Server>,
    /// Only these cells of the report, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Cell>,
    /// Short runs and few of them: shows that everything works, and nothing else
    #[arg(long)]
    quick: bool,
    /// Where the report is written [default: bench for a whole report, target/bench else]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// A report: what was run where, and what came out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// RFC 3339, UTC.
    pub(crate) date: String,
    pub(crate) command: String,
    /// Runs were too short to quote.
    pub(crate) quick: bool,
    pub(crate) minutes: f64,
    pub(crate) machine: Machine,
    /// Of everything that took part.
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) cells: BTreeMap<Cell, Results>,
    /// Cells that could not be measured, and why.
    pub(crate) failures: BTreeMap<Cell, String>,
}

impl Compare {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let machine = Machine::here();
        let whole = self.only.is_empty() && self.servers.is_empty() && !self.quick;
        let folder = self
            .out
            .unwrap_or_else(|| PathBuf::from(if whole { "bench" } else { "target/bench" }));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot write to {}", folder.display()))?;
        let servers = if self.servers.is_empty() {
            Server::value_variants().to_vec()
        } else {
            self.servers
        };
        let wanted = if self.only.is_empty() {
            Cell::ALL.to_vec()
        } else {
            self.only
        };
        let extent = if self.quick { Extent::Quick } else { Extent::Full };
        let stage = Stage::set(&self.stage, &servers).await?;
        let mut report = Report {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: command(),
            quick: self.quick,
            minutes: 0.0,
            machine,
            versions: stage.all_versions().await?,
            left_out: stage.left_out().to_vec(),
            cells: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        let mut broken = None;
        for cell in wanted {
            report::say(format_args!("== {cell} ({:.0} s)", begin.elapsed().as_secs_f64()));
            match cell.measure(&stage, &servers, extent).await {
                Ok(results) => {
                    report::say(results.table(cell.compared(), None));
                    broken = broken.or(results.verdict().err());
                    report.cells.insert(cell, results);
                }
                Err(error) => {
                    report::say(format_args!("{cell} is left out: {error:#}"));
                    report.failures.insert(cell, format!("{error:#}"));
                    broken = broken.or(Some(error).filter(|error| error.is::<Broken>()));
                }
            }
        }
        stage.end().await;
        report.minutes = begin.elapsed().as_secs_f64() / 60.0;
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("RESULTS.md", page::render(&report))?;
        write("results.svg", plot::render(&report))?;
        write("results.json", serde_json::to_string_pretty(&report)? + "\n")?;
        report::say(format_args!(
            "{}\nwritten to {}",
            targets::table(&targets::rows(&report)),
            folder.display()
        ));
        broken.map_or(Ok(()), Err)
    }
}

/// How a reader repeats this.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "cargo run --release -p tailwater-bench -- {}",
        arguments.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Counts;
    use crate::results::{Figure, Figures, Sample};

    /// A report with these figures, one run each.
    pub(super) fn report(found: &[(Cell, &str, Figure, f64)]) -> Report {
        let mut cells: BTreeMap<Cell, Results> = BTreeMap::new();
        for (cell, server, figure, value) in found {
            let results = cells.entry(*cell).or_insert_with(|| Results {
                scenario: cell.to_string(),
                samples: Vec::new(),
                failures: BTreeMap::new(),
            });
            let same = results.samples.iter_mut().find(|sample| sample.server == *server);
            if let Some(sample) = same {
                sample.figures.insert(*figure, *value);
            } else {
                results.samples.push(Sample {
                    scenario: cell.to_string(),
                    server: (*server).to_owned(),
                    repeat: 1,
                    figures: Figures::from([(*figure, *value)]),
                    counts: Counts::default(),
                    must_be_honest: true,
                });
            }
        }
        Report {
            date: "2026-11-22T00:00:00Z".to_owned(),
            command: "bench compare".to_owned(),
            quick: false,
            minutes: 1.0,
            machine: Machine {
                processor: "a processor".to_owned(),
                cores: 2,
                memory_gib: 24,
                kernel: "Linux 6".to_owned(),
                load_average: "0.10".to_owned(),
                congestion_control: "bbr".to_owned(),
            },
            versions: Vec::new(),
            left_out: Vec::new(),
            cells,
            failures: BTreeMap::new(),
        }
    }
}
