//! Restarts three edges in turn under load and says what their clients noticed: `cargo run -p tailwater-tests --bin
//! rolling-restart`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tailwater_tests::rolling::{self, Options};

/// Restarts three edges behind a balancer in turn, and says what their clients noticed
#[derive(Debug, Parser)]
struct Arguments {
    /// Clients, each on one durable channel
    #[arg(long, default_value_t = 5000)]
    clients: usize,
    /// Channels; each gets a publication a second
    #[arg(long, default_value_t = 50)]
    channels: usize,
    /// How long an edge spreads the leave of its clients over
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    window: u32,
    /// How long an edge that leaves still takes clients
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    linger: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = Box::pin(rolling::run(Options {
        clients: arguments.clients,
        channels: arguments.channels.max(1),
        window_secs: arguments.window.max(1),
        linger_secs: arguments.linger,
    }))
    .await;
    // Who has closed the pipe does not want to read it.
    let _ = writeln!(std::io::stdout(), "{report}haste: {:.2}", report.haste());
    if report.is_clean() && report.haste() <= 1.5 && report.gap(0.99) < Duration::from_secs(2) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
