//! Find a nats-server that is new enough: the one that was named, one on `PATH`, the one in the cache directory, or else
//! have one installed.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::command::{self, Interrupt, RunError};
use super::error::EmbeddedError;
use super::install::{self, installed_path};

/// The oldest nats-server that answers batch direct gets, on which durable channels stand.
pub(super) const MINIMUM_VERSION: ServerVersion = ServerVersion {
    major: 2,
    minor: 11,
    patch: 0,
};

/// The name of the program.
const PROGRAM: &str = "nats-server";

/// `nats-server --version` needs milliseconds; the rest is for a machine that is busy.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// A version of nats-server. What stands behind a hyphen (`2.12.0-RC.1`) is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// 2 in 2.15.1.
    pub major: u32,
    /// 15 in 2.15.1.
    pub minor: u32,
    /// 1 in 2.15.1.
    pub patch: u32,
}

impl ServerVersion {
    /// Reads `2.15.1` or `v2.15.1-RC.2`, as INFO and `nats-server --version` write it.
    pub(super) fn parse(text: &str) -> Option<ServerVersion> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (numbers, _) = text.split_once(['-', '+']).unwrap_or((text, ""));
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        let version = ServerVersion {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
        };
        numbers.next().is_none().then_some(version)
    }

    /// Finds it in what `nats-server --version` prints: `nats-server: v2.15.1`.
    fn in_output(output: &str) -> Option<ServerVersion> {
        output
            .lines()
            .find_map(|line| ServerVersion::parse(line.strip_prefix("nats-server:")?.trim()))
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A nats-server that runs on this machine and is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsServerBinary {
    /// Where it is: an absolute path.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: ServerVersion,
}

impl NatsServerBinary {
    /// Runs the program at `path` to see whether it can be used.
    pub(super) fn try_at(path: &Path, interrupt: &Interrupt) -> Result<NatsServerBinary, Rejected> {
        let rejected = |reason: String| Rejected {
            path: path.to_owned(),
            reason,
        };
        let mut question = Command::new(path);
        question.arg("--version");
        let finished = command::run(question, VERSION_LIMIT, interrupt).map_err(|error| {
            rejected(match error {
                RunError::NotStarted(error) => format!("cannot be run ({error})"),
                RunError::TimedOut => format!("did not tell its version within {VERSION_LIMIT:?}"),
                RunError::Interrupted => "was not asked, the search was interrupted".to_owned(),
            })
        })?;
        if !finished.status.success() {
            return Err(rejected(format!(
                "does not tell its version ({})",
                finished.status
            )));
        }
        match ServerVersion::in_output(&finished.output) {
            None => Err(rejected(
                "does not answer --version as nats-server does".to_owned(),
            )),
            Some(version) if version < MINIMUM_VERSION => {
                Err(rejected(format!("is version {version}, too old")))
            }
            Some(version) => Ok(NatsServerBinary {
                path: path.to_owned(),
                version,
            }),
        }
    }
}

/// A program that was looked at and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it; goes behind the word `which`.
    pub reason: String,
}

impl Rejected {
    /// What was found and refused, for the end of a sentence; nothing for nothing.
    pub(super) fn list(rejected: &[Rejected]) -> String {
        if rejected.is_empty() {
            return String::new();
        }
        let each: Vec<String> = rejected
            .iter()
            .map(|one| format!("{}, which {}", one.path.display(), one.reason))
            .collect();
        format!(" (found {})", each.join("; "))
    }
}

/// Finds a nats-server of version 2.11 or newer, or installs the pinned one into `cache_dir`.
///
/// Looks at `$TAILWATER_NATS_SERVER`, along `PATH` and into `cache_dir`, in this order. An installation tells `progress`
/// a line at each step. Processes and threads may call this at once with the same `cache_dir`: one installs, the others
/// wait for it.
///
/// This blocks, for minutes where it downloads over a slow line; every step has a deadline.
///
/// # Errors
///
/// [`EmbeddedError::NamedServerUnusable`] and [`EmbeddedError::Unobtainable`].
pub fn locate(cache_dir: &Path, progress: &dyn Fn(&str)) -> Result<NatsServerBinary, EmbeddedError> {
    Search::from_environment(cache_dir).run(progress, &Interrupt::default())
}

/// Where to look.
pub(super) struct Search {
    named: Option<PathBuf>,
    path: OsString,
    cache_dir: PathBuf,
}

impl Search {
    pub(super) fn from_environment(cache_dir: &Path) -> Search {
        Search {
            named: env::var_os("TAILWATER_NATS_SERVER")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
            cache_dir: cache_dir.to_owned(),
        }
    }

    pub(super) fn run(
        &self,
        progress: &dyn Fn(&str),
        interrupt: &Interrupt,
    ) -> Result<NatsServerBinary, EmbeddedError> {
        if let Some(named) = &self.named {
            // nats-server is started from another directory, so that a relative path would miss it. An error: no such
            // directory; then running it tells more.
            let named = std::path::absolute(named).unwrap_or_else(|_| named.clone());
            return NatsServerBinary::try_at(&named, interrupt)
                .map_err(|rejected| EmbeddedError::NamedServerUnusable { rejected });
        }
        let mut rejected = Vec::new();
        // A relative entry of PATH would mean another program in each directory.
        let on_path = env::split_paths(&self.path)
            .filter(|entry| entry.is_absolute())
            .map(|entry| entry.join(PROGRAM));
        for candidate in on_path
            .chain([installed_path(&self.cache_dir)])
            .filter(|candidate| candidate.is_file())
        {
            match NatsServerBinary::try_at(&candidate, interrupt) {
                Ok(binary) => return Ok(binary),
                // The same file twice: an entry of PATH that stands there twice, or a link to another.
                Err(again) if rejected.contains(&again) => {}
                Err(unusable) => rejected.push(unusable),
            }
        }
        install::install(&self.cache_dir, progress, interrupt)
            .map_err(|cause| EmbeddedError::Unobtainable { rejected, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A program that answers as nats-server of that version does.
    fn write_server(directory: &Path, output: &str) -> PathBuf {
        let path = directory.join(PROGRAM);
        // Written by another process: what this one has open for writing, another thread's child may still hold when
        // it is to be run, and the system refuses that.
        let script = r#"mkdir -p "$1" && printf '#!/bin/sh\necho "%s"\n' "$3" >"$2" && chmod 755 "$2""#;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, "sh"])
            .args([directory, &path])
            .arg(output);
        assert!(shell.status().unwrap().success());
        path
    }

    fn search(
        named: Option<PathBuf>,
        path: &[PathBuf],
        cache_dir: &Path,
    ) -> Result<NatsServerBinary, EmbeddedError> {
        let path = env::join_paths(path).unwrap();
        Search {
            named,
            path,
            cache_dir: cache_dir.to_owned(),
        }
        .run(&|_| {}, &Interrupt::default())
    }

    #[test]
    fn versions_are_read_as_nats_server_writes_them() {
        let version = |major, minor, patch| Some(ServerVersion { major, minor, patch });
        assert_eq!(ServerVersion::parse("2.15.1"), version(2, 15, 1));
        assert_eq!(ServerVersion::parse("v2.12.0-RC.3"), version(2, 12, 0));
        assert_eq!(ServerVersion::parse("2.11.0+build"), version(2, 11, 0));
        assert_eq!(
            ServerVersion::in_output("nats-server: v2.9.10\n"),
            version(2, 9, 10)
        );
        assert_eq!(
            ServerVersion::in_output("warning: x\nnats-server: v2.15.1\n"),
            version(2, 15, 1)
        );
        for wrong in [
            "",
            "v",
            "2.15",
            "2.15.x",
            "2.15.1.4",
            "-2.1.1",
            "nats-server: v2.15.1",
        ] {
            assert_eq!(ServerVersion::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(ServerVersion::in_output("GNU bash, version 5.2"), None);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text| ServerVersion::parse(text).unwrap();
        assert!(version("2.9.10") < MINIMUM_VERSION && version("2.10.26") < MINIMUM_VERSION);
        assert!(version("2.11.0") >= MINIMUM_VERSION && version("3.0.0") > MINIMUM_VERSION);
        assert_eq!(MINIMUM_VERSION.to_string(), "2.11.0");
    }

    #[test]
    fn a_named_server_that_is_unusable_is_an_error_even_where_others_are_good() {
        let directory = tempfile::tempdir().unwrap();
        let good = write_server(&directory.path().join("good"), "nats-server: v2.15.1");
        let old = write_server(&directory.path().join("old"), "nats-server: v2.9.10");
        let path = [directory.path().join("good")];
        let text = search(Some(old), &path, directory.path())
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("is version 2.9.10, too old") && text.contains("TAILWATER_NATS_SERVER"),
            "{text}"
        );
        let text = search(Some(directory.path().join("none")), &path, directory.path())
            .unwrap_err()
            .to_string();
        assert!(text.contains("cannot be run"), "{text}");
        assert_eq!(
            search(Some(good.clone()), &[], directory.path()).unwrap().path,
            good
        );
    }

    #[test]
    fn a_file_without_execute_permission_is_named_as_such() {
        let directory = tempfile::tempdir().unwrap();
        let server = write_server(directory.path(), "nats-server: v2.15.1");
        fs::set_permissions(&server, fs::Permissions::from_mode(0o644)).unwrap();
        let text = search(Some(server), &[], directory.path())
            .unwrap_err()
            .to_string();
        assert!(text.contains("cannot be run (Permission denied"), "{text}");
    }

    #[test]
    fn an_old_server_on_path_is_passed_over_for_a_newer_one_further_on() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        write_server(&old, "nats-server: v2.9.10");
        let expected = write_server(&new, "nats-server: v2.12.3");
        let found = search(None, &[old, new], directory.path()).unwrap();
        assert_eq!((found.path, found.version.minor), (expected, 12));
    }

    #[test]
    fn the_cache_directory_is_looked_into_last() {
        let directory = tempfile::tempdir().unwrap();
        let cached = installed_path(directory.path());
        write_server(cached.parent().unwrap(), "nats-server: v2.15.1");
        assert_eq!(search(None, &[], directory.path()).unwrap().path, cached);
        let on_path = write_server(&directory.path().join("bin"), "nats-server: v2.11.0");
        assert_eq!(
            search(None, &[directory.path().join("bin")], directory.path())
                .unwrap()
                .path,
            on_path
        );
    }
}
