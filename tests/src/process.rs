//! The `tailwater` command in a process of its own, as an operator runs it; and what the system tells of processes.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::edge::leaving_at_once;
use crate::nats_process::send_signal;
use crate::{binary, soon};

/// The command with nothing of this machine's environment that would change what it does.
fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy().starts_with("TAILWATER_");
        if ours && name != "TAILWATER_NATS_SERVER" || name == "NATS_URL" {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A running `tailwater`; killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: NamedTempFile,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let stderr = NamedTempFile::new().expect("a temporary file");
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(stderr.reopen().expect("a temporary file"))
            .spawn()
            .expect("tailwater runs");
        let stdout = child.stdout.take().expect("it is a pipe");
        Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            stderr,
        }
    }

    /// Starts `tailwater dev --json` on free ports with its state in this folder, and waits for the line that
    /// says that it is ready.
    ///
    /// # Panics
    /// If it does not come that far.
    pub async fn dev(state: &Path) -> (Self, Ready) {
        let free = "127.0.0.1:0";
        let arguments = [
            "dev",
            "--json",
            "--listen",
            free,
            "--nats-listen",
            free,
            "--state-dir",
        ];
        let arguments = arguments.iter().map(OsStr::new).chain([state.as_os_str()]);
        let mut process = Self::start(arguments);
        let ready = process.ready().await;
        (process, ready)
    }

    /// Starts `tailwater serve --json` on free ports with this configuration and NATS, and waits for the
    /// line that says where it listens. It ends at once when it is asked to, unless the configuration says how it drains.
    ///
    /// # Panics
    /// If it does not come that far.
    pub async fn serve(nats: &str, config: &str) -> (Self, Ready) {
        let file = config_file(&leaving_at_once(config));
        let path = file.path().to_str().expect("text");
        let free = "127.0.0.1:0";
        let mut process = Self::start([
            "serve",
            "--json",
            "--config",
            path,
            "--listen",
            free,
            "--admin-listen",
            free,
            "--nats",
            nats,
        ]);
        let ready = process.ready().await;
        (process, ready)
    }

    /// The next line of standard output; nothing at its end.
    ///
    /// # Panics
    /// If it takes too long.
    pub async fn line(&mut self) -> Option<String> {
        let line = soon("a line of output", self.stdout.next_line()).await;
        line.expect("it is text")
    }

    /// Reads the line of `--json`.
    ///
    /// # Panics
    /// If it is not that.
    pub async fn ready(&mut self) -> Ready {
        let Some(line) = self.line().await else {
            panic!("it ended: {}", self.stderr());
        };
        Ready(serde_json::from_str(&line).expect("JSON"))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id().expect("it runs"), signal);
    }

    /// Whether it has not ended.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it takes too long.
    pub async fn end(&mut self) -> ExitStatus {
        soon("the end of the process", self.ended()).await
    }

    /// Waits for its end, however long that takes: the caller knows.
    ///
    /// # Panics
    /// If the system does not tell.
    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.expect("it is ours")
    }

    /// What it has written on standard error so far.
    ///
    /// # Panics
    /// If that cannot be read.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr.path()).expect("it is text")
    }
}

/// What `--json` says.
#[derive(Debug)]
pub struct Ready(pub serde_json::Value);

impl Ready {
    /// One of its texts.
    ///
    /// # Panics
    /// If it has no such text.
    pub fn text(&self, key: &str) -> &str {
        match self.0[key].as_str() {
            Some(text) => text,
            None => panic!("no `{key}` in {}", self.0),
        }
    }

    /// What the process holds in memory (`VmRSS`), in bytes.
    ///
    /// # Panics
    /// If it has ended.
    pub fn memory(&self) -> u64 {
        let pid = &self.0["pid"];
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.expect("a line for it").trim().trim_end_matches(" kB");
        kibibytes.parse::<u64>().expect("a number") * 1024
    }

    /// The address in one of its URLs.
    ///
    /// # Panics
    /// If it has no such URL.
    pub fn address(&self, key: &str) -> std::net::SocketAddr {
        let url = self.text(key);
        let (_, rest) = url.split_once("://").expect("a URL");
        let authority = rest.split('/').next().expect("a host");
        authority.parse().expect("an address")
    }
}

/// What a command that has ended said.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

/// It failed with this code and nothing but one line, which has all of these in it.
///
/// # Panics
/// If that is not so.
#[track_caller]
pub fn failed_with(finished: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    assert!(finished.stderr.starts_with("tailwater: "), "{}", finished.stderr);
    for part in parts {
        assert!(
            finished.stderr.contains(part),
            "{part:?} is missing: {}",
            finished.stderr
        );
    }
}

/// Runs a command to its end with nothing on standard input.
///
/// # Panics
/// If it does not end in time.
pub async fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Finished {
    run_with_input(arguments, b"").await
}

/// Runs a command to its end with this on standard input.
///
/// # Panics
/// If it does not end in time.
pub async fn run_with_input<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Finished {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tailwater runs");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    // Who does not read its input may have ended already.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let output = soon("the end of the command", child.wait_with_output())
        .await
        .expect("it is ours");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    Finished {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A field of `/proc/<pid>/stat`, counted as in proc(5); none once the process is gone.
pub fn stat(pid: u32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(field - 3).map(str::to_owned)
}

/// Whether a process runs or stands still. A zombie counts as dead: where the init process is a poor one, orphans stay
/// zombies.
pub fn is_alive(pid: u32) -> bool {
    stat(pid, 3).is_some_and(|state| state != "Z" && state != "X")
}

/// Whether every thread of a process stands still: a signal to stop takes a moment.
pub fn stands_still(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks.flatten().all(|task| {
        let id = task.file_name().to_str().and_then(|id| id.parse().ok());
        id.and_then(|id| stat(id, 3)).as_deref() == Some("T")
    })
}

/// A configuration in a file; gone when it is dropped.
///
/// # Panics
/// If it cannot be written.
pub fn config_file(text: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile()
        .expect("a temporary file");
    file.write_all(text.as_bytes())
        .expect("a temporary file takes text");
    file
}
