//! Where the keys of an issuer are: exactly one source, which what is accepted must fit.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;

use super::{KeySource, KeyUrl};
use crate::client::Trust;
use crate::config::error::Place;
use crate::config::nats::readable;
use crate::config::secret::{Secret, SecretSource};
use crate::config::settings::Section;
use crate::identity::{jwks, keys::Key};

const SOURCES: [&str; 6] = [
    "hmac_secret",
    "hmac_secret_file",
    "public_key_file",
    "jwks_file",
    "jwks_url",
    "oidc_issuer",
];

/// Reads the one source of keys that is given; reports none, several, and one that is of no use.
pub(super) fn read(section: &mut Section<'_>, algorithms: &[(Algorithm, Place)]) -> Option<KeySource> {
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| section.is_set(key)).collect();
    let [source] = given[..] else {
        match given.split_first() {
            None => section.refuse(
                "jwks_url",
                format!("is missing: give one source of keys, which are {}", list()),
            ),
            Some((first, others)) => {
                let first = section.path(first);
                for other in others {
                    section.refuse(
                        other,
                        format!("and `{first}` are two sources of keys: keep one of them"),
                    );
                }
            }
        }
        return None;
    };
    let is_fetched = ["jwks_url", "oidc_issuer"].contains(&source);
    if section.is_set("ca_file") && !is_fetched {
        section.refuse(
            "ca_file",
            "is for keys that are fetched: remove it, or set `jwks_url` or `oidc_issuer`",
        );
    }
    let authorities = is_fetched.then(|| readable(section, "ca_file"));
    let trust = match authorities.flatten() {
        Some(path) => trust_file(section, path)?,
        None => Trust::System,
    };
    let (found, keys) = match source {
        "hmac_secret" | "hmac_secret_file" => {
            let secret = read_secret(section, source)?;
            let key = secret
                .read()
                .map_err(|error| format!("cannot be read: {error}"))
                .and_then(|secret| Key::from_secret(secret.reveal()));
            (KeySource::Secret(secret), key.map(|key| vec![key]))
        }
        "public_key_file" => {
            let path = readable(section, source)?;
            let key = read_file(&path, Key::from_public_pem);
            (KeySource::PublicKey(path), key.map(|key| vec![key]))
        }
        "jwks_file" => {
            let path = readable(section, source)?;
            let keys = read_file(&path, |content| jwks::parse(content).map(|set| set.keys));
            (KeySource::JwksFile(path), keys)
        }
        "jwks_url" => {
            let url = section.parse_optional(source, KeyUrl::parse)?;
            check_fetched(section, algorithms);
            return Some(KeySource::JwksUrl { url, trust });
        }
        _ => {
            let issuer = section.parse_optional(source, |text| match text.contains('?') {
                true => Err(format!("is `{text}`: the address of an issuer has no `?`")),
                false => KeyUrl::parse(text),
            })?;
            check_fetched(section, algorithms);
            return Some(KeySource::OpenId { issuer, trust });
        }
    };
    match keys {
        Ok(keys) => {
            check_known(section, source, &keys, algorithms);
            Some(found)
        }
        Err(error) => {
            section.refuse(source, error);
            None
        }
    }
}

fn list() -> String {
    let (last, others) = SOURCES.split_last().unwrap_or((&"", &[]));
    let others: Vec<String> = others.iter().map(|key| format!("`{key}`")).collect();
    format!("{} and `{last}`", others.join(", "))
}

/// The error is the rest of a sentence that begins with the key.
fn read_file<T>(path: &PathBuf, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, String> {
    let content = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
    content
        .and_then(|content| parse(&content))
        .map_err(|error| format!("is `{}`, which {error}", path.display()))
}

fn read_secret(section: &mut Section<'_>, source: &str) -> Option<SecretSource> {
    if source == "hmac_secret" {
        return Some(SecretSource::Given(Secret::new(section.text(source)?)));
    }
    readable(section, source).map(SecretSource::File)
}

fn trust_file(section: &mut Section<'_>, path: PathBuf) -> Option<Trust> {
    let trust = Trust::File(path.clone());
    match trust.config() {
        Ok(_) => Some(trust),
        Err(error) => {
            section.refuse("ca_file", format!("is `{}`, of no use: {error}", path.display()));
            None
        }
    }
}

/// What can be known of keys that are fetched: no secret is among them.
fn check_fetched(section: &mut Section<'_>, algorithms: &[(Algorithm, Place)]) {
    for (algorithm, place) in algorithms {
        if algorithm.family() == jsonwebtoken::AlgorithmFamily::Hmac {
            section.refuse_at(
                place,
                "algorithms",
                format!(
                    "holds `{algorithm:?}`, which needs a secret, and what is fetched is none: remove it"
                ),
            );
        }
    }
}

/// Each signature that is to be accepted must be one that some key can do.
fn check_known(section: &mut Section<'_>, source: &str, keys: &[Key], algorithms: &[(Algorithm, Place)]) {
    for (algorithm, place) in algorithms {
        if keys.iter().any(|key| key.can(*algorithm)) {
            continue;
        }
        let source = section.path(source);
        let able: Vec<String> = keys
            .iter()
            .flat_map(Key::algorithms)
            .map(|able| format!("`{able:?}`"))
            .collect();
        let hint = match algorithm {
            Algorithm::HS384 if source.contains("hmac") => " (it needs a secret of 48 bytes)",
            Algorithm::HS512 if source.contains("hmac") => " (it needs a secret of 64 bytes)",
            _ => "",
        };
        section.refuse_at(
            place,
            "algorithms",
            format!(
                "holds `{algorithm:?}`, which `{source}` cannot do{hint}: it can do {}",
                able.join(", ")
            ),
        );
    }
}
