//! Logs: one line an event on standard error, for people or as JSON. And what is sent to a collector of OpenTelemetry:
//! `collector` is one request to it, `push` sends metrics, `traces` makes spans and sends them.

pub(crate) mod collector;
pub(crate) mod push;
pub(crate) mod traces;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the process.
///
/// # Errors
/// If the level is no filter, or logging has been started before.
pub fn start(config: &LogConfig) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // The NATS library repeats what we log; who wants its own lines names it in the filter.
    let filter = EnvFilter::try_new(format!("async_nats=warn,{}", config.level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_timer(SystemTime);
    match config.format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
}
