//! `tailwater probe`: one publication's way, from NATS through an edge to a WebSocket. `helm test` runs it, and whoever
//! wants to know whether all of it works.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tailwater_broker::publish::publish_once;
use tailwater_broker::subject::SubjectPrefix;
use tailwater_edge::client::{Client, Trust};
use tailwater_edge::config::{Config, environment};
use tailwater_edge::nats::broker_config;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, Subscribe};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;

use super::options::{ConfigFile, TokenFile, print_line};

/// Publish on a channel over NATS and wait for it on a WebSocket: exit code 0 if it came.
#[derive(Debug, Args)]
pub(super) struct Probe {
    /// WebSocket address of the edge, such as ws://127.0.0.1:8080/ws
    url: String,
    /// Channel to publish on, without wildcards; its other subscribers get the publication too
    channel: String,
    /// Certificates (PEM) to trust with a wss:// address, instead of the system's
    #[arg(long = "ca", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long all of it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout_secs: u64,
    #[command(flatten)]
    token: TokenFile,
    #[command(flatten)]
    file: ConfigFile,
}

impl Probe {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let channel = Channel::new(&self.channel)?;
        if channel.is_wildcard() {
            bail!("`{channel}` is a pattern: name one channel to publish on");
        }
        let config = Config::load(self.file.path(), environment(), &[])?;
        let resolved = config.namespaces.resolve(&channel);
        let namespace = resolved.with_context(|| format!("channel `{channel}`"))?;
        let prefix = SubjectPrefix::new(namespace.subject_prefix.as_deref().unwrap_or_default());
        let subject = prefix.subject(&channel);
        let limit = Duration::from_secs(self.timeout_secs);
        let what = &mut "connect";
        let work = self.round_trip(&config, channel, subject.as_str(), what);
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done?,
            Err(_) => bail!("not within {} s: it came to `{what}`", self.timeout_secs),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Keeps in `step` how far it has come.
    async fn round_trip(
        &self,
        config: &Config,
        channel: Channel,
        subject: &str,
        step: &mut &'static str,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let trust = self.ca.clone().map_or(Trust::System, Trust::File);
        let token = self.token.read()?;
        let mut client = Client::connect_as(&self.url, None, &trust, token.as_ref()).await?;
        *step = "subscribe";
        let subscribe = Subscribe {
            channel,
            since: None,
            latest: false,
        };
        client.send(Some(1), Command::Subscribe(subscribe)).await?;
        loop {
            match client.next().await?.body {
                ServerBody::Reply(Reply::Subscribed(_)) => break,
                ServerBody::Push(Push::Error(error)) => bail!("{}: {}", error.code, error.message),
                _ => {}
            }
        }
        let subscribed = begun.elapsed();
        *step = "publish";
        let mark = format!("{{\"probe\":\"{:016x}\"}}", fastrand::u64(..));
        let published = Instant::now();
        let timeout = config.nats.connect_timeout * 2;
        publish_once(
            &broker_config(&config.nats)?,
            subject,
            mark.clone().into(),
            timeout,
        )
        .await
        .with_context(|| format!("cannot publish on `{subject}`"))?;
        *step = "receive";
        loop {
            match client.next().await?.body {
                ServerBody::Push(Push::Update(update)) if is(&update.payload, &mark) => break,
                ServerBody::Push(Push::Error(error)) => bail!("{}: {}", error.code, error.message),
                _ => {}
            }
        }
        print_line(&format!(
            "ok     subscribed after {} ms; connected to NATS, published and received in {} ms",
            subscribed.as_millis(),
            published.elapsed().as_millis()
        ))?;
        Ok(client.close().await?)
    }
}

fn is(payload: &Payload, mark: &str) -> bool {
    matches!(payload, Payload::Json(json) if json.get() == mark)
}
