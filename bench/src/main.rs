//! Load on an edge, with every delivery checked: `tailwater-bench fanout --help`.

mod process;
mod report;
mod scenario;

use std::io::Write;

use clap::{Parser, Subcommand};

/// Puts load on an edge, checks every delivery, and reports what it cost.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One channel, many subscribers, a steady rate of publications
    Fanout(scenario::fanout::Fanout),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = match Arguments::parse().scenario {
        Scenario::Fanout(fanout) => runtime.block_on(fanout.run())?,
    };
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
    anyhow::ensure!(
        report.is_complete(),
        "deliveries are missing, doubled or out of order"
    );
    Ok(())
}
