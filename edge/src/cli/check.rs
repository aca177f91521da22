//! `tailwater check`: reads a configuration and looks at its NATS side, and reports every mistake at once.

use std::process::ExitCode;

use clap::Args;
use tailwater_broker::check::{self, OLDEST_SERVER};
use tailwater_edge::config::{Config, environment};
use tailwater_edge::nats::broker_config;

use super::options::{ConfigFile, print_line};

/// Check a configuration and the NATS side of it.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Read the configuration only, do not connect to NATS
    #[arg(long)]
    offline: bool,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(self.file.path(), environment(), &[])?;
        print_line(&format!(
            "ok     configuration: {} namespaces",
            config.namespaces.iter().count()
        ))?;
        if self.offline {
            return Ok(ExitCode::SUCCESS);
        }
        let subjects = subjects(&config);
        let timeout = config.nats.connect_timeout * 2;
        let report = check::check(&broker_config(&config.nats)?, &subjects, timeout).await?;
        let mut mistakes = 0;
        if report.new_enough {
            print_line(&format!("ok     NATS: server {}", report.version))?;
        } else {
            mistakes += 1;
            let (major, minor) = OLDEST_SERVER;
            let version = &report.version;
            print_line(&format!(
                "error  NATS: server {version} is too old: {major}.{minor} or newer is needed"
            ))?;
        }
        if !report.may_use_inbox {
            mistakes += 1;
            let prefix = &config.nats.inbox_prefix;
            print_line(&format!(
                "error  NATS: the edge's user may not both publish and subscribe to `{prefix}.>`: \
                 allow it in its permissions, or set `nats.inbox_prefix` to what they allow"
            ))?;
        }
        for subject in &subjects {
            if report.refused.contains(subject) {
                mistakes += 1;
                print_line(&format!(
                    "error  NATS: the edge's user may not subscribe to `{subject}`: allow it in its permissions"
                ))?;
            } else {
                print_line(&format!("ok     NATS: may subscribe to `{subject}`"))?;
            }
        }
        Ok(if mistakes == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// The NATS subjects that the namespaces name.
fn subjects(config: &Config) -> Vec<String> {
    let mut subjects = Vec::new();
    for namespace in config.namespaces.iter() {
        for pattern in &namespace.channels {
            subjects.push(match &namespace.subject_prefix {
                Some(prefix) => format!("{prefix}.{pattern}"),
                None => pattern.to_string(),
            });
        }
    }
    subjects
}
