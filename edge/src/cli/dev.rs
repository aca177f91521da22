//! `tailwater dev`: everything on one machine, with a real nats-server.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tailwater_broker::embedded::{self, Embedded, EmbeddedConfig};
use tailwater_edge::config::{Config, ServerUrl};
use tailwater_edge::{EdgeError, Server, demo, telemetry};

use super::development;
use super::options::{ConfigFile, Overrides, Ready, print_line};
use super::signals::Signals;

/// How long the edge may take to connect to the nats-server that has just started.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Run everything on this machine.
#[derive(Debug, Args)]
pub(super) struct Dev {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    overrides: Overrides,
    /// Address of the embedded nats-server; port 0 takes any free one [default: 127.0.0.1:4222, or any
    /// free port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    nats_listen: Option<SocketAddr>,
    /// Where the embedded nats-server keeps its data [default: the user's state directory]
    #[arg(long, value_name = "FOLDER", env = "TAILWATER_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Do not run the demo service
    #[arg(long)]
    no_demo: bool,
    /// Print one JSON line on standard output once everything is ready, and nothing else there
    #[arg(long)]
    json: bool,
}

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let state_dir = self.state_dir.as_deref();
        let config = development::with_issuer(self.file.path(), &self.overrides.flags(), state_dir)?;
        telemetry::start(&config.log).map_err(anyhow::Error::from_boxed)?;
        let mut signals = Signals::listen()?;
        let embedded = tokio::select! {
            started = self.start_nats() => started?,
            _ = signals.next() => return Ok(ExitCode::FAILURE),
        };
        let served = self.serve(config, &embedded, &mut signals).await;
        embedded.stop().await;
        served
    }

    async fn start_nats(&self) -> anyhow::Result<Embedded> {
        let state_dir = match &self.state_dir {
            Some(state_dir) => state_dir.clone(),
            None => embedded::default_state_dir()?,
        };
        let config = EmbeddedConfig {
            supervisor: vec![std::env::current_exe()?.into(), "supervise".into()],
            listen: self.nats_listen,
            state_dir,
            cache_dir: embedded::default_cache_dir()?,
        };
        let progress = |line: &str| {
            let _ = writeln!(std::io::stderr(), "{line}");
        };
        Ok(Embedded::start(config, &progress).await?)
    }

    async fn serve(
        &self,
        mut config: Config,
        embedded: &Embedded,
        signals: &mut Signals,
    ) -> anyhow::Result<ExitCode> {
        config.nats.servers = vec![ServerUrl::parse(embedded.url()).map_err(anyhow::Error::msg)?];
        let path = config.websocket.path.clone();
        let mut server = Server::start(config).await?;
        let (demo_wanted, publisher) = (!self.no_demo, server.publisher().clone());
        let running = async {
            if server.connected(CONNECT_TIMEOUT).await {
                self.announce(&server, &path, embedded)?;
            } else {
                tracing::warn!(
                    admin = %server.admin_addr(),
                    "not ready yet: `/readyz` of the admin listener says why; see also the log of NATS in the state directory"
                );
            }
            Ok::<EdgeError, anyhow::Error>(server.failed().await)
        };
        let demo = async {
            if demo_wanted {
                demo::run(publisher).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            failed = running => return Err(failed?.into()),
            () = demo => {}
            signal = signals.next() => tracing::info!(signal, "stopping"),
        }
        signals.stop(server).await
    }

    fn announce(&self, server: &Server, path: &str, embedded: &Embedded) -> anyhow::Result<()> {
        let nats = embedded.url();
        let ready = Ready::new(server, path, nats, Some(embedded.pid()));
        if self.json {
            return ready.print();
        }
        let Ready { http, ws, admin, .. } = &ready;
        print_line(&format!(
            "
  Tailwater {version} is running.

    Console     {http}/
    Demo        {http}/demo
    WebSocket   {ws}
    NATS        {nats}   (publish here, with any NATS client)
    Admin       {admin}/readyz

  Three things to try:

    1. Open {http}/demo and watch deployments run, without polling.
    2. Open {http}/#channels=deployments, then in another terminal:
         {program} pub deployments '{{\"id\":7,\"state\":\"live\"}}'{option}
       or with NATS's own client:
         nats pub -s {nats} deployments '{{\"id\":7,\"state\":\"live\"}}'
    3. Follow every deployment here:
         {program} sub {ws} 'deployments.*.status'

  Ctrl-C ends all of it.
",
            version = env!("CARGO_PKG_VERSION"),
            program = program(),
            option = if nats.ends_with(":4222") {
                String::new()
            } else {
                format!(" --nats {nats}")
            },
        ))
    }
}

/// How this program was called, so that what we print can be typed.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "tailwater".to_owned())
}
