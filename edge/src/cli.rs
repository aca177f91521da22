//! Arguments, and which command they mean. Every command ends with an exit code: 0 all well, 1 it
//! failed, 2 the arguments or the configuration are wrong.

mod check;
mod dev;
mod development;
mod options;
mod probe;
mod publish;
mod serve;
mod signals;
mod stream;
mod subscribe;
mod token;

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tailwater_edge::config::ConfigErrors;

/// Real-time gateway: services publish on NATS, browsers subscribe over WebSockets.
#[derive(Debug, Parser)]
#[command(name = "tailwater", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    dev: dev::Dev,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: a real nats-server, the edge, the console, a demo (the default)
    Dev(dev::Dev),
    /// Run the edge in production
    Serve(serve::Serve),
    /// Check a configuration and the NATS side of it, and report every mistake
    Check(check::Check),
    /// Mint a token for development
    Token(token::Token),
    /// Look after the streams behind durable channels
    Stream(stream::Stream),
    /// Subscribe to channels of an edge and print what arrives
    Sub(subscribe::Sub),
    /// Publish on a NATS subject
    Pub(publish::Pub),
    /// Publish on a channel over NATS and wait for it on a WebSocket
    Probe(probe::Probe),
    /// Hold a nats-server on behalf of another process
    #[command(hide = true)]
    Supervise {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command.unwrap_or(Command::Dev(arguments.dev)) {
        Command::Dev(dev) => block_on(dev.run()),
        Command::Serve(serve) => block_on(serve.run()),
        Command::Check(check) => block_on(check.run()),
        Command::Token(token) => block_on(token.run()),
        Command::Stream(stream) => block_on(stream.run()),
        Command::Sub(sub) => block_on(sub.run()),
        Command::Pub(publish) => block_on(publish.run()),
        Command::Probe(probe) => block_on(probe.run()),
        Command::Supervise { arguments } => {
            return tailwater_broker::embedded::supervise(arguments.into_iter());
        }
    };
    match result {
        Ok(code) => code,
        // Whoever read our output has enough, as in `tailwater sub … | head -1`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(if error.is::<ConfigErrors>() { 2 } else { 1 })
        }
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command);
    // A blocking step that hangs, such as a download, must not hold the end up.
    runtime.shutdown_background();
    result
}

/// Whether nobody reads standard output any more; a broken connection is wrapped in an error of its own.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let direct = error.downcast_ref::<std::io::Error>();
    direct.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// One message with all its causes, on standard error.
fn complain(error: &anyhow::Error) {
    let mut line = String::from("tailwater: ");
    let mut last = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // A cause that its parent has already quoted adds nothing.
        if !last.contains(&text) {
            if !last.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
        last = text;
    }
    let _ = writeln!(std::io::stderr(), "{line}");
}
