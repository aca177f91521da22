//! `tailwater stream`: what operators do to the streams behind durable channels.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use tailwater_broker::epoch::{self, Renewed};
use tailwater_edge::config::{Config, environment};
use tailwater_edge::nats::broker_config;

use super::options::{ConfigFile, print_line};

/// What JetStream may take beside the connection.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(10);

/// Look after the streams behind durable channels.
#[derive(Debug, Args)]
pub(super) struct Stream {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give a stream another epoch, after it was restored from a backup: clients that come back are told that
    /// publications may be missing, instead of going on where other ones stand now
    NewEpoch(NewEpoch),
}

#[derive(Debug, Args)]
struct NewEpoch {
    /// The stream, one of the configuration
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    file: ConfigFile,
}

impl Stream {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Command::NewEpoch(NewEpoch { name, file }) = self.command;
        let config = Config::load(file.path(), environment(), &[])?;
        let mut names = config.streams.iter().map(|stream| &*stream.name);
        if !names.any(|known| known == name) {
            let names: Vec<_> = config.streams.iter().map(|stream| &*stream.name).collect();
            let known = match names.is_empty() {
                true => "none".to_owned(),
                false => names.join(", "),
            };
            bail!("the configuration has no stream `{name}`: it has {known}");
        }
        let nats = broker_config(&config.nats)?;
        let domain = config.nats.jetstream_domain.as_deref();
        let timeout = config.nats.connect_timeout * 2 + JETSTREAM_TIMEOUT;
        let Renewed { old, new } = epoch::renew(&nats, domain, &name, timeout).await?;
        print_line(&format!("old epoch: {old}\nnew epoch: {new}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
