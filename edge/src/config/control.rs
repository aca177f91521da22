//! Ending and changing sessions from outside: the `[control]` table, and who may use the admin listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::nats::{literal_subject, secret};
use super::secret::SecretSource;
use super::settings::Section;
use super::{AdminConfig, parse_address};

/// Orders over NATS, and revocations that outlive restarts.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// Whether this edge listens to orders over NATS and follows the bucket.
    pub enabled: bool,
    /// What stands before the verb in the subject of an order; begins with `_`, so that no channel reaches it.
    pub subject: String,
    /// The key-value bucket of revocations; nothing: they are kept in memory only.
    pub revocation_bucket: Option<Arc<str>>,
    /// How long a revocation is remembered.
    pub revocation_max_age: Duration,
    /// Servers that hold a copy of the bucket, if the edge makes it.
    pub revocation_replicas: u32,
    /// Whether the edge makes the bucket if it is missing.
    pub manage_bucket: bool,
}

/// Reads `[control]`.
pub(super) fn read(control: &mut Section<'_>) -> ControlConfig {
    let bucket = control.parse("revocation_bucket", parse_bucket);
    ControlConfig {
        enabled: control.boolean("enabled"),
        subject: control.parse("subject", parse_subject),
        revocation_bucket: (!bucket.is_empty()).then(|| bucket.into()),
        revocation_max_age: control.duration("revocation_max_age_secs"),
        revocation_replicas: control.small("revocation_replicas"),
        manage_bucket: control.boolean("manage_bucket"),
    }
}

/// Reads `[admin]`; `listen` is the public listener.
pub(super) fn read_admin(top: &mut Section<'_>, listen: SocketAddr) -> AdminConfig {
    let admin = AdminConfig {
        listen: top.parse("admin.listen", parse_address),
        token: read_token(top),
        open_metrics: top.boolean("admin.open_metrics"),
    };
    if listen.port() != 0 && admin.listen == listen {
        let key = if top.is_set("admin.listen") {
            "admin.listen"
        } else {
            "listen"
        };
        top.refuse(
            key,
            format!("is {listen}, and so both listeners are the same: give them different ports"),
        );
    }
    admin
}

fn read_token(top: &mut Section<'_>) -> Option<SecretSource> {
    /// Shorter ones can be guessed.
    const LEAST_BYTES: usize = 16;
    if top.is_set("admin.token") && top.is_set("admin.token_file") {
        top.refuse(
            "admin.token_file",
            "and `admin.token` say the same: keep one of them",
        );
    }
    let key = if top.is_set("admin.token") {
        "admin.token"
    } else {
        "admin.token_file"
    };
    let source = secret(top, "admin.token")?;
    let is_good = |byte: u8| byte.is_ascii_graphic();
    let is_token = source.read().is_ok_and(|token| {
        let token = token.reveal();
        token.len() >= LEAST_BYTES && token.bytes().all(is_good)
    });
    if !is_token {
        top.refuse(
            key,
            format!("must have {LEAST_BYTES} or more printable ASCII characters without spaces"),
        );
    }
    Some(source)
}

fn parse_subject(text: &str) -> Result<String, String> {
    if !text.starts_with('_') {
        return Err(format!(
            "is `{text}`: it must begin with `_`, because no channel can, so that no client reaches it"
        ));
    }
    literal_subject(text)
}

fn parse_bucket(text: &str) -> Result<String, String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if text.len() > 128 || !text.bytes().all(letter) {
        return Err(format!(
            "is `{text}`: use letters, digits, `_` and `-`, at most 128 of them, or nothing for no bucket"
        ));
    }
    Ok(text.to_owned())
}
