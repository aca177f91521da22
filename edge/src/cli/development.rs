//! What `tailwater dev` and `tailwater token` share: a configuration that has an issuer. Where none is configured it is
//! a secret of this machine, made at random by whoever is first and kept in the state directory.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tailwater_broker::embedded::{self, EmbeddedError};
use tailwater_edge::config::{Config, environment};
use tailwater_edge::identity::mint;

/// The key of the configuration that the secret's file is given as; `dev` is the issuer's name.
const KEY: &str = "identity.issuer.dev.hmac_secret_file";

/// The configuration of `tailwater dev`, with an issuer.
pub(super) fn with_issuer(
    file: Option<&Path>,
    flags: &[(&str, String)],
    state_dir: Option<&Path>,
) -> anyhow::Result<Config> {
    let config = Config::development(file, environment(), flags)?;
    if !config.identity.issuers.is_empty() {
        return Ok(config);
    }
    let folder = match state_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => embedded::default_state_dir()?,
    };
    let path = secret_file(&folder).map_err(|source| EmbeddedError::StateDirectory {
        path: folder.clone(),
        source,
    })?;
    let mut flags = flags.to_vec();
    flags.push((KEY, path.to_string_lossy().into_owned()));
    Ok(Config::development(file, environment(), &flags)?)
}

/// The file with the secret, which is made if it is not there; nobody else may read it.
fn secret_file(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join("token-secret");
    if path.exists() {
        return Ok(path);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // It appears whole or not at all, so that nobody finds half of it.
    let part = folder.join(format!("token-secret.{}", std::process::id()));
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    writeln!(file, "{}", mint::random_secret()?)?;
    fs::rename(&part, &path)?;
    Ok(path)
}
