//! `tailwater token`: mints a token for development. Prints the token alone, so that a shell can put it where it is
//! wanted.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use tailwater_edge::config::{Config, IdentityConfig, IssuerConfig};
use tailwater_edge::identity::mint::Signer;
use tailwater_edge::identity::{TokenError, accepts};

use super::development;
use super::options::{ConfigFile, print_line};

/// Mint a token for development, and print it: signed with the secret that the configuration shares with an issuer
/// (without a configuration that of `tailwater dev`), or with a private key.
#[derive(Debug, Args)]
pub(super) struct Token {
    #[command(flatten)]
    file: ConfigFile,
    /// Table of the configuration whose `iss`, audience and secret are used; needed if there are several
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Private key (PEM) to sign with, instead of the secret
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Name of the key (`kid`), as in the key set of the issuer
    #[arg(long, value_name = "NAME")]
    key_id: Option<String>,
    /// Whose token it is (`sub`)
    #[arg(long, value_name = "USER")]
    sub: Option<String>,
    /// How long it is valid, such as 90s, 15m or 30days
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// What its bearer may subscribe to, such as 'deployments.>'; repeat for more
    #[arg(long, value_name = "PATTERN")]
    subscribe: Vec<String>,
    /// What its bearer may publish on; repeat for more
    #[arg(long, value_name = "PATTERN")]
    publish: Vec<String>,
    /// What its bearer may ask by `request`; repeat for more
    #[arg(long, value_name = "PATTERN")]
    request: Vec<String>,
    /// Its bearer is a service: it may publish where clients may not, on what `--publish` names
    #[arg(long, requires = "publish")]
    service: bool,
    /// What the server subscribes its bearer to; repeat for more
    #[arg(long, value_name = "CHANNEL")]
    channel: Vec<String>,
    /// Another claim; the value is JSON, or text if it is none; repeat for more
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_claim)]
    claim: Vec<(String, Value)>,
    /// Where `tailwater dev` keeps its state, and with it its secret [default: the user's state directory]
    #[arg(long, value_name = "FOLDER", env = "TAILWATER_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl Token {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = development::with_issuer(self.file.path(), &[], self.state_dir.as_deref())?;
        let issuer = choose(&config.identity, self.issuer.as_deref())?;
        let signer = match &self.key_file {
            None => Signer::from_issuer(issuer)
                .map_err(|error| anyhow::anyhow!("{error}; for a private key there is `--key-file`"))?,
            Some(path) => {
                let content =
                    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                Signer::from_private_pem(&content)
                    .map_err(|error| anyhow::anyhow!("{} {error}", path.display()))?
            }
        };
        let claims = self.claims(issuer)?;
        let token = signer
            .sign(&claims, self.key_id.as_deref())
            .map_err(anyhow::Error::msg)?;
        if let Err(error) = accepts(&config.identity, &token).await {
            warn(&config, &error);
        }
        print_line(&token)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What it is to say; `--claim` goes over all else.
    fn claims(&self, issuer: &IssuerConfig) -> anyhow::Result<Map<String, Value>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        if let Some(name) = &issuer.issuer {
            put("iss", json!(name));
        }
        if let Some(audience) = issuer.audience.first() {
            put("aud", json!(audience));
        }
        if let Some(user) = &self.sub {
            put("sub", json!(user));
        }
        put("iat", json!(now));
        put("exp", json!(now.saturating_add(self.expires.as_secs())));
        let grants = [
            ("subscribe", &self.subscribe),
            ("publish", &self.publish),
            ("request", &self.request),
            ("channels", &self.channel),
        ];
        let given = grants.into_iter().filter(|(_, patterns)| !patterns.is_empty());
        let mut grants: Map<String, Value> = given
            .map(|(name, patterns)| (name.to_owned(), json!(patterns)))
            .collect();
        if self.service {
            grants.insert("service".to_owned(), json!(true));
        }
        if !grants.is_empty() {
            put("tailwater", Value::Object(grants));
        }
        claims.extend(self.claim.iter().cloned());
        Ok(claims)
    }
}

fn choose<'c>(config: &'c IdentityConfig, name: Option<&str>) -> anyhow::Result<&'c IssuerConfig> {
    let names: Vec<&str> = config.issuers.iter().map(|issuer| &*issuer.name).collect();
    match (name, config.issuers.as_slice()) {
        (None, [issuer]) => Ok(issuer),
        (None, _) => bail!(
            "there are several issuers: choose one with `--issuer` ({})",
            names.join(", ")
        ),
        (Some(name), issuers) => {
            let found = issuers.iter().find(|issuer| &*issuer.name == name);
            found.with_context(|| format!("there is no issuer `{name}`: there is {}", names.join(", ")))
        }
    }
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            Ok((name.to_owned(), value))
        }
        _ => Err("write NAME=VALUE, such as tenant=acme or level=3".to_owned()),
    }
}

/// A token that is refused may be what is wanted, so it is printed all the same.
fn warn(config: &Config, error: &TokenError) {
    let lived = config.identity.max_token_bytes;
    let hint = match error {
        TokenError::TooLong { .. } => format!(" (`identity.max_token_bytes` is {lived})"),
        _ => String::new(),
    };
    let _ = writeln!(
        std::io::stderr(),
        "tailwater: an edge with this configuration would refuse it: {error}{hint}"
    );
}
