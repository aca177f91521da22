//! TLS on the public listener: the `[tls]` table. What its files hold is judged by `tls/files.rs`.

mod files;
mod validity;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use self::files::{Contents, Material};
pub(crate) use self::validity::{Standing, Validity};
use super::settings::Section;

/// What the public listener proves itself with, and what it asks of clients. `Debug` shows the files, never what is in
/// them.
#[derive(Clone)]
pub struct TlsConfig {
    /// Where everything stands.
    pub files: TlsFiles,
    /// Pause between two looks at the files.
    pub reload_interval: Duration,
    /// What the files held when the configuration was read.
    pub(crate) material: Material,
}

/// The files of `[tls]`, all in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate with its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificates of clients; nothing: none is asked for.
    pub client_auth: Option<ClientAuth>,
}

/// Which certificates of clients are accepted.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// The authorities that sign them.
    pub authorities: PathBuf,
    /// Whether a client without one is refused. A wrong one is in any case.
    pub is_required: bool,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TlsConfig")
            .field("files", &self.files)
            .field("reload_interval", &self.reload_interval)
            .finish_non_exhaustive()
    }
}

/// Reads `[tls]`; without it the listener speaks plain HTTP.
pub(super) fn read(tls: &mut Section<'_>) -> Option<TlsConfig> {
    for (one, other) in [
        ("certificate", "key"),
        ("key", "certificate"),
        ("client_ca", "certificate"),
    ] {
        if tls.is_set(one) && !tls.is_set(other) {
            tls.refuse(one, format!("needs `{}` beside it", tls.path(other)));
        }
    }
    let client_auth = read_client_auth(tls);
    let files = TlsFiles {
        certificate: tls.file("certificate")?,
        key: tls.file("key")?,
        client_auth,
    };
    match Contents::read(&files).material(&files) {
        Ok(material) => Some(TlsConfig {
            files,
            reload_interval: tls.duration("reload_secs"),
            material,
        }),
        Err(mistakes) => {
            for mistake in mistakes {
                tls.refuse(mistake.setting, mistake.message);
            }
            None
        }
    }
}

fn read_client_auth(tls: &mut Section<'_>) -> Option<ClientAuth> {
    let word = tls.text("client_auth");
    let authorities = tls.file("client_ca");
    let is_required = match word.as_deref() {
        Some("required") => true,
        Some("optional") => false,
        _ => {
            if authorities.is_some() && !tls.is_wrong("client_auth") {
                let other = tls.path("client_auth");
                tls.refuse(
                    "client_ca",
                    format!("does nothing while `{other}` is `none`: set that to `optional` or `required`"),
                );
            }
            return None;
        }
    };
    if !tls.is_set("client_ca") {
        let other = tls.path("client_ca");
        tls.refuse(
            "client_auth",
            format!("needs `{other}`: the authorities (PEM) that sign the certificates of clients"),
        );
    }
    Some(ClientAuth {
        authorities: authorities?,
        is_required,
    })
}
