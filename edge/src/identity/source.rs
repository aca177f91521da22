//! Reads or fetches the keys of an issuer, once.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::fetch::{self, MAX_BYTES};
use super::jwks::{self, KeySet};
use super::keys::Key;
use crate::client::Trust;
use crate::config::{IdentityConfig, IssuerConfig, KeySource, KeyUrl, SecretSource};

/// How long keys may take to come.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Why there are no keys: a sentence for operators, which holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct LoadError(String);

impl LoadError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// What `tailwater check` tells of one issuer.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Its name in the configuration.
    pub issuer: Arc<str>,
    /// How many keys can be used and how many not, or why there are none.
    pub keys: Result<(usize, usize), String>,
}

/// Reads or fetches the keys of every issuer, all at the same time, within a few seconds.
pub async fn inspect(config: &IdentityConfig) -> Vec<Inspected> {
    let one = |issuer: &IssuerConfig| {
        let issuer = issuer.clone();
        async move {
            let keys = load(&issuer, DEADLINE).await;
            Inspected {
                issuer: issuer.name,
                keys: keys
                    .map(|set| (set.keys.len(), set.skipped))
                    .map_err(|error| error.to_string()),
            }
        }
    };
    futures_util::future::join_all(config.issuers.iter().map(one)).await
}

/// The keys of an issuer as they are now, without those that none of its algorithms fits.
pub(super) async fn load(issuer: &IssuerConfig, deadline: Duration) -> Result<KeySet, LoadError> {
    let loaded = tokio::time::timeout(deadline, read(&issuer.keys)).await;
    let mut set = loaded.map_err(|_| LoadError::new(format!("no keys came within {deadline:?}")))??;
    let before = set.keys.len();
    let fit = set
        .keys
        .into_iter()
        .filter_map(|key| key.restricted(&issuer.algorithms));
    set.keys = fit.collect();
    set.skipped += before - set.keys.len();
    if set.keys.is_empty() {
        return Err(LoadError::new(
            "there are keys, but none for the configured `algorithms`",
        ));
    }
    Ok(set)
}

async fn read(source: &KeySource) -> Result<KeySet, LoadError> {
    match source {
        KeySource::Secret(SecretSource::Given(secret)) => {
            let key = Key::from_secret(secret.reveal());
            key.map(alone)
                .map_err(|error| LoadError::new(format!("the secret {error}")))
        }
        KeySource::Secret(SecretSource::File(path)) => {
            from_file(path, |content| {
                let text = std::str::from_utf8(content).map_err(|_| "is not UTF-8 text".to_owned())?;
                Key::from_secret(text.trim_end_matches(['\r', '\n'])).map(alone)
            })
            .await
        }
        KeySource::PublicKey(path) => {
            from_file(path, |content| Key::from_public_pem(content).map(alone)).await
        }
        KeySource::JwksFile(path) => from_file(path, jwks::parse).await,
        KeySource::JwksUrl { url, trust } => from_url(url, trust).await,
        KeySource::OpenId { issuer, trust } => from_url(&discover(issuer, trust).await?, trust).await,
    }
}

fn alone(key: Key) -> KeySet {
    KeySet {
        keys: vec![key],
        skipped: 0,
    }
}

async fn from_file(
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<KeySet, String>,
) -> Result<KeySet, LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::new(format!("`{}` {error}", path.display()));
    let owned = path.to_owned();
    let content = tokio::task::spawn_blocking(move || read_bounded(owned))
        .await
        .map_err(io::Error::other)
        .and_then(|content| content)
        .map_err(|error| failed(&format!("cannot be read: {error}")))?;
    parse(&content).map_err(|error| failed(&error))
}

fn read_bounded(path: PathBuf) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut content)?;
    if content.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(content)
}

async fn from_url(url: &KeyUrl, trust: &Trust) -> Result<KeySet, LoadError> {
    let content = fetch::get(url, trust).await?;
    jwks::parse(&content).map_err(|error| LoadError::new(format!("what is at {url} {error}")))
}

/// Where an OpenID Connect issuer has its keys (OpenID Connect Discovery 1.0 section 4.3, which asks for the comparison).
async fn discover(issuer: &KeyUrl, trust: &Trust) -> Result<KeyUrl, LoadError> {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        jwks_uri: String,
    }
    let url = issuer.discovery();
    let content = fetch::get(&url, trust).await?;
    let document: Document = serde_json::from_slice(&content).map_err(|_| {
        LoadError::new(format!(
            "what is at {url} is no discovery document with `issuer` and `jwks_uri`"
        ))
    })?;
    if document.issuer != issuer.as_str() {
        return Err(LoadError::new(format!(
            "the `issuer` in {url} is another one: `oidc_issuer` must be written exactly as it is there"
        )));
    }
    KeyUrl::parse(&document.jwks_uri)
        .map_err(|error| LoadError::new(format!("the `jwks_uri` in {url} {error}")))
}
