//! Attacks an edge in every way that it has a limit for, beside honest clients, and says what those noticed:
//! `cargo run -p tailwater-tests --bin hostile-clients`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum as _};
use tailwater_tests::hostile::{self, attack::Attack};

/// Attacks an edge beside honest clients, and says what those noticed
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How long each attack takes
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only these attacks, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<Attack>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one attack and measures nothing
    Attack {
        attack: Attack,
        /// WebSocket address of the edge
        url: String,
        seconds: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Attack { attack, url, seconds }) = arguments.command {
        let address: Option<SocketAddr> = url
            .strip_prefix("ws://")
            .and_then(|rest| rest.split('/').next()?.parse().ok());
        let Some(address) = address else {
            eprintln!("`{url}` is no address such as ws://127.0.0.1:8080/ws");
            return ExitCode::from(2);
        };
        attack.run(address, Duration::from_secs(seconds)).await;
        return ExitCode::SUCCESS;
    }
    let attacks = if arguments.only.is_empty() {
        Attack::value_variants()
    } else {
        &arguments.only
    };
    let program = std::env::current_exe().expect("the system knows this program");
    let time = Duration::from_secs(arguments.seconds.max(1));
    let verdicts = Box::pin(hostile::run(attacks, time, &program)).await;
    let mut well = true;
    for verdict in &verdicts {
        let _ = writeln!(std::io::stdout(), "{verdict}");
        well &= verdict.is_well();
    }
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
