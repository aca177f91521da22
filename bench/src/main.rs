//! Load on servers, with every delivery checked: `tailwater-bench --help`.
//!
//! Every scenario starts what it measures, a real nats-server, our edge and the servers that it is compared with, as
//! processes of their own on the loopback. They take turns, so that a machine that is busy for a while disturbs all of them
//! alike. Each run is a line of JSON on standard output, the last line is the summary, and standard error has a table for
//! people. The exit code is 1 if anything of ours was lost without being announced, doubled or out of order, and 2 if
//! something could not be run; a target that is missed is said and is no failure, because what else the machine does
//! decides about that too.

mod audience;
mod client;
mod compare;
mod contender;
mod deployment;
mod dialect;
mod floor;
mod histogram;
mod ledger;
mod machine;
mod nats;
mod payload;
mod peer;
mod pin;
mod process;
mod publisher;
mod report;
mod results;
mod scenario;
mod search;
mod stage;
mod tailwater;
mod template;
mod tls;
mod trial;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::results::Broken;

/// Puts load on our edge and on others, checks every delivery, and reports what it cost.
///
/// Build what is measured first, from the root of the repository: `cargo build --release`. Figures of single runs differ by
/// 5 to 40 % on a machine that does other things; read the ratios and their spread. Standard output has a line of JSON a run
/// and one for the summary, standard error a table. The exit code is 1 if anything of ours was lost without being
/// announced, doubled or out of order, 2 if something could not be run.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Compare(compare::Compare),
    /// One channel, many subscribers, a steady rate: what a delivery costs
    Fanout(scenario::load::Steady),
    /// Many channels, ten subscribers each
    Many(scenario::load::Steady),
    /// Publications that come back to back
    Burst(scenario::load::Steady),
    Max(scenario::max::Max),
    Connect(scenario::connect::Connect),
    Idle(scenario::idle::Idle),
    Resume(scenario::resume::Resume),
    Slow(scenario::slow::Slow),
    Reader(scenario::reader::Reader),
    Peers(peer::check::Peers),
    /// One reader of `reader`, in a process of its own
    #[command(hide = true)]
    ReaderChild(scenario::reader::child::Child),
    /// The clients of one edge of `idle`, in a process of their own
    #[command(hide = true)]
    Crowd(scenario::idle::crowd::Member),
    #[command(hide = true)]
    Floor(floor::Floor),
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
            ExitCode::from(if error.is::<Broken>() { 1 } else { 2 })
        }
    }
}

fn run(scenario: Scenario) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work: Pin<Box<dyn Future<Output = anyhow::Result<()>>>> = match scenario {
        Scenario::Compare(compare) => Box::pin(compare.run()),
        Scenario::Fanout(steady) => Box::pin(steady.run("fanout", scenario::load::FANOUT)),
        Scenario::Many(steady) => Box::pin(steady.run("many", scenario::load::MANY)),
        Scenario::Burst(steady) => Box::pin(steady.run("burst", scenario::load::BURST)),
        Scenario::Max(max) => Box::pin(max.run()),
        Scenario::Connect(connect) => Box::pin(connect.run()),
        Scenario::Idle(idle) => Box::pin(idle.run()),
        Scenario::Resume(resume) => Box::pin(resume.run()),
        Scenario::Slow(slow) => Box::pin(slow.run()),
        Scenario::Crowd(member) => Box::pin(member.run()),
        Scenario::Peers(peers) => Box::pin(peers.run()),
        Scenario::Reader(reader) => Box::pin(reader.run()),
        Scenario::ReaderChild(child) => Box::pin(child.run()),
        Scenario::Floor(floor) => return floor.run(),
        Scenario::Supervise { .. } => return Ok(()),
    };
    // Who is interrupted leaves no server behind: they end when what stands for them is dropped.
    let work = async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            result = work => result,
            _ = terminate.recv() => anyhow::bail!("terminated"),
            _ = interrupt.recv() => anyhow::bail!("interrupted"),
        }
    };
    LocalSet::new().block_on(&runtime, work)
}
