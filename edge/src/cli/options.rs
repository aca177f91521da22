//! Options that several commands share, and how they become configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tailwater_edge::Server;
use tailwater_edge::config::{Config, ConfigErrors, Secret, SecretSource, environment};

/// Where the configuration is.
#[derive(Debug, Args, Clone, Default)]
pub(super) struct ConfigFile {
    /// Configuration file (TOML)
    #[arg(long, short, value_name = "FILE", env = "TAILWATER_CONFIG")]
    pub(super) config: Option<PathBuf>,
}

/// The common keys, as flags.
#[derive(Debug, Args, Clone, Default)]
pub(super) struct Overrides {
    /// Address of the public listener; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of the admin listener (/livez, /readyz)
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as `info,tailwater_edge=debug`
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// Threads that serve clients; 0 is one a core
    #[arg(long, value_name = "NUMBER")]
    workers: Option<String>,
}

impl Overrides {
    pub(super) fn flags(&self) -> Vec<(&'static str, String)> {
        let flags = [
            ("listen", &self.listen),
            ("admin.listen", &self.admin_listen),
            ("log.level", &self.log_level),
            ("edge.workers", &self.workers),
        ];
        flags
            .into_iter()
            .filter_map(|(key, value)| value.clone().map(|value| (key, value)))
            .collect()
    }
}

/// NATS by its URL, for commands that need no configuration file.
#[derive(Debug, Args, Clone, Default)]
pub(super) struct Nats {
    /// URL of a NATS server [default: nats://127.0.0.1:4222]
    #[arg(long = "nats", value_name = "URL", env = "NATS_URL")]
    url: Option<String>,
}

impl Nats {
    /// The configuration that this URL, the environment and the file give.
    pub(super) fn config(&self, file: &ConfigFile) -> Result<Config, ConfigErrors> {
        let flags: Vec<_> = self.url.iter().map(|url| ("nats.url", url.clone())).collect();
        Config::development(file.path(), environment(), &flags)
    }
}

impl ConfigFile {
    pub(super) fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Who a client is.
#[derive(Debug, Args, Clone, Default)]
pub(super) struct TokenFile {
    /// File with the token (JWT) to connect with, read again for each connection; else the variable TAILWATER_TOKEN
    #[arg(long = "token-file", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl TokenFile {
    /// The token as it is now.
    pub(super) fn read(&self) -> anyhow::Result<Option<Secret>> {
        match &self.path {
            Some(path) => {
                let token = SecretSource::File(path.clone()).read();
                Ok(Some(token.with_context(|| {
                    format!("cannot read the token in {}", path.display())
                })?))
            }
            None => Ok(std::env::var("TAILWATER_TOKEN").ok().map(Secret::new)),
        }
    }
}

/// What scripts read when a server is ready: one JSON line.
#[derive(Debug, serde::Serialize)]
pub(super) struct Ready {
    pub(super) http: String,
    pub(super) ws: String,
    pub(super) admin: String,
    pub(super) nats: String,
    pub(super) pid: u32,
    pub(super) nats_pid: Option<u32>,
}

impl Ready {
    /// The faces of a server whose WebSocket is at `path`.
    pub(super) fn new(server: &Server, path: &str, nats: &str, nats_pid: Option<u32>) -> Self {
        let ws = server.ws_url().to_owned();
        // `http` stands to `ws` as `https` to `wss`.
        let http = ws.trim_end_matches(path).replacen("ws", "http", 1);
        let admin = format!("http://{}", server.admin_addr());
        Self {
            http,
            ws,
            admin,
            nats: nats.to_owned(),
            pid: std::process::id(),
            nats_pid,
        }
    }

    /// Prints the line.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        print_line(&serde_json::to_string(self)?)
    }
}

/// Prints one line on standard output, at once.
pub(super) fn print_line(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
