//! The state directory: what lies where, who owns it, and what nats-server writes there.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::error::EmbeddedError;

/// nats-server's configuration; paths and addresses are arguments, which need no quoting. The log is at most two files of
/// a megabyte: the present one and the one before.
const SERVER_CONFIG: &str = "\
# Written by tailwater at each start: what you change here is lost.
logfile_size_limit: 1000000
logfile_max_num: 2
";

/// How long an owner that is just ending may hold the directory.
const OWNER_PATIENCE: Duration = Duration::from_millis(500);

/// How much of the log an error shows.
const TAIL_BYTES: u64 = 4 * 1024;
const TAIL_LINES: usize = 12;

/// The directory with the JetStream store, owned by this process as long as this value lives.
pub(super) struct StateDirectory {
    root: PathBuf,
    /// Holds the lock.
    _owner: File,
}

impl StateDirectory {
    /// Makes the directory where it is missing, and takes it. Blocks, half a second at most.
    pub(super) fn open(directory: &Path) -> Result<StateDirectory, EmbeddedError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| EmbeddedError::StateDirectory { path, source }
        };
        // nats-server and its supervisor work in another current directory.
        let directory = std::path::absolute(directory).map_err(failed(directory))?;
        let root = directory.join("nats-server");
        let ports = root.join("ports");
        // Messages may be private.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&ports)
            .map_err(failed(&directory))?;
        let path = directory.join("tailwater.lock");
        let owner = own(&path, &directory)?;
        let state = StateDirectory { root, _owner: owner };
        fs::write(state.config(), SERVER_CONFIG).map_err(failed(&state.config()))?;
        Ok(state)
    }

    /// nats-server's own part of it.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn config(&self) -> PathBuf {
        self.root.join("nats-server.conf")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("nats-server.log")
    }

    /// Where nats-server writes the addresses that it listens on.
    pub(super) fn ports(&self) -> PathBuf {
        self.root.join("ports")
    }

    /// The lock file of the store, see [`supervise`](super::supervise()); holds the process id of nats-server.
    pub(super) fn server_lock(&self) -> PathBuf {
        self.root.join("nats-server.lock")
    }

    /// Removes the ports files of servers that were killed.
    pub(super) fn clear_ports(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.ports())? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// The port that nats-server says it listens on; `None` as long as it has not.
    pub(super) fn listening_port(&self) -> Option<u16> {
        let entries = fs::read_dir(self.ports()).ok()?.flatten();
        // Found while it is being written, a file does not parse.
        entries
            .filter_map(|entry| parse_ports(&fs::read(entry.path()).ok()?))
            .next()
    }

    /// The process that holds the store, or has held it last.
    pub(super) fn server_pid(&self) -> Option<u32> {
        read_pid(&self.server_lock())
    }

    /// Whether no nats-server is alive on the store.
    pub(super) fn server_has_ended(&self) -> bool {
        // For writing: network file systems lock no file for one that may only read it.
        match File::options().write(true).open(self.server_lock()) {
            Ok(file) => file.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// The log, for writing behind what it holds, and its present length.
    pub(super) fn open_log(&self) -> io::Result<(File, u64)> {
        let file = File::options().create(true).append(true).open(self.log())?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// The last lines that were written into the log since it was `from` bytes long.
    pub(super) fn log_tail(&self, from: u64) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.log())?;
            let length = file.metadata()?.len();
            // Shorter than before: nats-server has begun a new one.
            let from = if length < from { 0 } else { from };
            file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
            let mut tail = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(tail)
        };
        let tail = read().unwrap_or_default();
        let tail = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// Takes the lock of the directory and writes the number of this process into it.
fn own(path: &Path, directory: &Path) -> Result<File, EmbeddedError> {
    let failed = |source| EmbeddedError::StateDirectory {
        path: path.to_owned(),
        source,
    };
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let deadline = Instant::now() + OWNER_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(EmbeddedError::StateInUse {
                    path: directory.to_owned(),
                    pid: read_pid(path),
                });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
        }
    }
    file.set_len(0)
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

fn read_pid(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Reads `{"nats": ["nats://127.0.0.1:4222"]}`: the port of the first address.
fn parse_ports(content: &[u8]) -> Option<u16> {
    #[derive(Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }
    let ports: Ports = serde_json::from_slice(content).ok()?;
    let (_, port) = ports.nats.first()?.rsplit_once(':')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_a_ports_file() {
        assert_eq!(
            parse_ports(br#"{"nats":["nats://127.0.0.1:43655"],"monitoring":[]}"#),
            Some(43655)
        );
        assert_eq!(
            parse_ports(br#"{"nats":["nats://[::1]:4222","nats://[fe80::1]:4222"]}"#),
            Some(4222)
        );
        for wrong in [
            "",
            "{\"nats\":[\"nats://127",
            "{}",
            r#"{"nats":[]}"#,
            r#"{"nats":["nats://x:70000"]}"#,
        ] {
            assert_eq!(parse_ports(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_state_directory_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateDirectory::open(directory.path()).unwrap();
        match StateDirectory::open(directory.path()) {
            Err(EmbeddedError::StateInUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("two owners"),
        }
        drop(first);
        assert!(StateDirectory::open(directory.path()).is_ok());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let text = StateDirectory::open(&file.join("state"))
            .err()
            .unwrap()
            .to_string();
        assert!(
            text.contains("file/state") && text.contains("--state-dir"),
            "{text}"
        );
    }

    #[test]
    fn the_tail_of_the_log_holds_the_end_of_this_start_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        let (mut log, from) = state.open_log().unwrap();
        assert_eq!((from, state.log_tail(from).as_str()), (0, ""));
        writeln!(log, "an earlier start").unwrap();
        let (mut log, from) = state.open_log().unwrap();
        writeln!(log, "one\n\ntwo").unwrap();
        assert_eq!(state.log_tail(from), "one\ntwo");
        for line in 0..2000 {
            writeln!(log, "line {line}").unwrap();
        }
        let tail = state.log_tail(from);
        assert!(
            tail.ends_with("line 1998\nline 1999") && tail.lines().count() == TAIL_LINES,
            "{tail}"
        );
        fs::write(state.log(), "after a rotation\n").unwrap();
        assert_eq!(state.log_tail(from + 5000), "after a rotation");
    }

    #[test]
    fn the_end_of_a_server_shows_in_its_lock() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        assert!(state.server_has_ended());
        fs::write(state.server_lock(), "4711").unwrap();
        assert!(state.server_has_ended() && state.server_pid() == Some(4711));
        let held = File::open(state.server_lock()).unwrap();
        held.try_lock().unwrap();
        assert!(!state.server_has_ended());
    }
}
