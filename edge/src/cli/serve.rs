//! `tailwater serve`: the edge in production.

use std::process::ExitCode;

use clap::Args;
use tailwater_edge::config::{Config, environment};
use tailwater_edge::{Server, telemetry};

use super::options::{ConfigFile, Overrides, Ready};
use super::signals::{Signals, hangup};

/// Run the edge in production.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    overrides: Overrides,
    /// URL of a NATS server; instead of `nats.url`
    #[arg(long = "nats", value_name = "URL")]
    nats: Option<String>,
    /// Print one JSON line on standard output once the listeners are open
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut flags = self.overrides.flags();
        flags.extend(self.nats.map(|url| ("nats.url", url)));
        let config = Config::load(self.file.path(), environment(), &flags)?;
        telemetry::start(&config.log).map_err(anyhow::Error::from_boxed)?;
        let (mut signals, mut hangup) = (Signals::listen()?, hangup()?);
        let path = config.websocket.path.clone();
        let nats = config
            .nats
            .servers
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let mut server = Server::start(config).await?;
        if self.json {
            Ready::new(&server, &path, &nats, None).print()?;
        }
        loop {
            tokio::select! {
                signal = signals.next() => break tracing::info!(signal, "stopping"),
                error = server.failed() => return Err(error.into()),
                _ = hangup.recv() => server.reload(),
            }
        }
        signals.stop(server).await
    }
}
