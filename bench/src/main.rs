//! Load on an edge, with every delivery checked: `tailwater-bench --help`.
//!
//! Every scenario starts what it measures, a real nats-server and an edge, as processes of their own on the loopback, and
//! repeats what it compares in turns, so that a machine that is busy for a while disturbs both sides alike. Each run is a
//! line of JSON on standard output, the last line is the summary, and standard error has a table for people. The exit
//! code is 1 if anything was lost, doubled or out of order; a target that is missed is said and is no failure, because
//! what else the machine does decides about that too.

mod audience;
mod client;
mod deployment;
mod ledger;
mod nats;
mod process;
mod report;
mod scenario;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::task::LocalSet;

/// Puts load on an edge, checks every delivery, and reports what it cost.
///
/// Build what is measured first: `cargo build --release`. Figures of single runs differ by 5 to 40 % on a machine that
/// does other things; read the ratios and their spread. Standard output has a line of JSON a run and one for the summary,
/// standard error a table. The exit code is 1 if anything was lost, doubled or out of order.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Fanout(scenario::fanout::Fanout),
    Reader(scenario::reader::Reader),
    Reconnect(scenario::reconnect::Reconnect),
    Stalled(scenario::stalled::Stalled),
    /// One reader of `reader`, in a process of its own
    #[command(hide = true)]
    ReaderChild(scenario::reader::child::Child),
    /// Hold a nats-server on behalf of another process
    #[command(hide = true)]
    Supervise {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let scenario = match Arguments::parse().scenario {
        Scenario::Supervise { arguments } => {
            return tailwater_broker::embedded::supervise(arguments.into_iter());
        }
        scenario => scenario,
    };
    match run(scenario) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(format_args!("tailwater-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(scenario: Scenario) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work: Pin<Box<dyn Future<Output = anyhow::Result<()>>>> = match scenario {
        Scenario::Fanout(fanout) => Box::pin(fanout.run()),
        Scenario::Reader(reader) => Box::pin(reader.run()),
        Scenario::Reconnect(reconnect) => Box::pin(reconnect.run()),
        Scenario::Stalled(stalled) => Box::pin(stalled.run()),
        Scenario::ReaderChild(child) => Box::pin(child.run()),
        Scenario::Supervise { .. } => return Ok(()),
    };
    LocalSet::new().block_on(&runtime, work)
}
