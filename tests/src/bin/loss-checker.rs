//! Runs the loss checker for as long as it is told to: `cargo run -p tailwater-tests --bin loss-checker -- --seconds 3600`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tailwater_tests::checker::{Checker, Options};

/// Publishes, subscribes and breaks things, and says what was lost
#[derive(Debug, Parser)]
struct Arguments {
    /// How long faults are injected
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Repeats the faults of a run; without it, new ones
    #[arg(long)]
    seed: Option<u64>,
    /// Clients
    #[arg(long, default_value_t = 200)]
    subscribers: usize,
    /// Publishers; every second one waits for acknowledgements
    #[arg(long, default_value_t = 8)]
    publishers: usize,
    /// Channels that they publish on
    #[arg(long, default_value_t = 20)]
    channels: usize,
    /// What they publish together
    #[arg(long, default_value_t = 60.0, value_name = "MESSAGES_PER_SECOND")]
    rate: f64,
    /// About how long after one fault the next one comes
    #[arg(long, default_value_t = 8.0, value_name = "SECONDS")]
    fault_every_secs: f64,
    /// Publications of a burst
    #[arg(long, default_value_t = 5000)]
    burst: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        time: Duration::from_secs(arguments.seconds),
        subscribers: arguments.subscribers,
        publishers: arguments.publishers,
        channels: arguments.channels.max(1),
        rate: arguments.rate.max(0.01),
        fault_every: Duration::from_secs_f64(arguments.fault_every_secs.max(0.1)),
        burst: arguments.burst,
        ..Options::default()
    };
    let options = Options {
        seed: arguments.seed.unwrap_or(options.seed),
        ..options
    };
    eprintln!("seed {}", options.seed);
    let report = Box::pin(Checker::run(options)).await;
    // Who has closed the pipe does not want to read it.
    let _ = writeln!(std::io::stdout(), "{report}");
    if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
