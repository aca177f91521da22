//! The command line of Tailwater.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
