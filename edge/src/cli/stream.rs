//! `tailwater stream`: what operators do to the streams behind durable channels.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use tailwater_broker::bucket;
use tailwater_broker::epoch::{self, Renewed};
use tailwater_broker::stream::provide;
use tailwater_edge::config::{Config, environment};
use tailwater_edge::control::bucket_spec;
use tailwater_edge::nats::broker_config;
use tailwater_edge::streams::specs;

use super::check::report_finding;
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
    /// Create the streams of the configuration, or change what can be changed without loss, as the edge does at its start
    /// where `manage = true`; and make the bucket of revocations
    Provision(Provision),
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

#[derive(Debug, Args)]
struct Provision {
    #[command(flatten)]
    file: ConfigFile,
}

impl Stream {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Provision(provision) => provision.run().await,
            Command::NewEpoch(new_epoch) => new_epoch.run().await,
        }
    }
}

impl Provision {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(self.file.path(), environment(), &[])?;
        let specs = specs(&config.streams);
        let nats = broker_config(&config.nats)?;
        let domain = config.nats.jetstream_domain.as_deref();
        let count = u32::try_from(specs.len()).unwrap_or(u32::MAX);
        let timeout = config.nats.connect_timeout * 2 + JETSTREAM_TIMEOUT.saturating_mul(count);
        let mut mistakes = 0;
        for (stream, findings) in provide(&nats, domain, &specs, timeout).await? {
            for finding in findings {
                mistakes += report_finding(&format!("stream {stream}"), &finding)?;
            }
        }
        if let Some(bucket) = bucket_spec(&config.control).filter(|_| config.control.enabled) {
            let timeout = config.nats.connect_timeout * 2 + JETSTREAM_TIMEOUT;
            let finding = bucket::provide(&nats, domain, &bucket, timeout).await;
            mistakes += report_finding(&format!("bucket {}", bucket.name), &finding)?;
        }
        Ok(match mistakes {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

impl NewEpoch {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, file } = self;
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
