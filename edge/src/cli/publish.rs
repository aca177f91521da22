//! `tailwater pub`: a NATS publish, for people without a NATS client.

use std::io::Read;
use std::process::ExitCode;

use clap::Args;
use tailwater_broker::publish::publish_once;
use tailwater_edge::nats::broker_config;

use super::options::{ConfigFile, Nats};

/// Publish on a NATS subject.
#[derive(Debug, Args)]
pub(super) struct Pub {
    /// The subject, such as `deployments.42`
    subject: String,
    /// What to publish; `-` reads it from standard input
    data: String,
    #[command(flatten)]
    nats: Nats,
    #[command(flatten)]
    file: ConfigFile,
}

impl Pub {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.nats.config(&self.file)?;
        anyhow::ensure!(
            is_subject(&self.subject),
            "`{}` is no subject to publish on: write tokens with dots between them, without spaces and wildcards",
            self.subject
        );
        let payload = match self.data.as_str() {
            "-" => {
                let mut input = Vec::new();
                std::io::stdin().lock().read_to_end(&mut input)?;
                input
            }
            data => data.as_bytes().to_vec(),
        };
        let timeout = config.nats.connect_timeout * 2;
        publish_once(
            &broker_config(&config.nats)?,
            &self.subject,
            payload.into(),
            timeout,
        )
        .await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What NATS lets anyone publish on.
fn is_subject(subject: &str) -> bool {
    let token =
        |token: &str| !token.is_empty() && !token.chars().any(|c| c.is_whitespace() || c.is_control());
    subject
        .split('.')
        .all(|part| token(part) && part != "*" && part != ">")
}

#[cfg(test)]
mod tests {
    use super::is_subject;

    #[test]
    fn a_subject_to_publish_on_has_no_wildcards_spaces_or_empty_tokens() {
        for good in ["a", "deployments.42", "a.b*c", "_INBOX.x"] {
            assert!(is_subject(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\r\nPUB b 0"] {
            assert!(!is_subject(bad), "{bad}");
        }
    }
}
