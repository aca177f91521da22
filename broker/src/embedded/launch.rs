//! One life of nats-server: start it through the supervisor, wait until it serves, see it end. Leaves the decision to
//! start it again to [`Embedded`](super::Embedded).

use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::error::{EmbeddedError, StartFailure};
use super::find::{MINIMUM_VERSION, NatsServerBinary, ServerVersion};
use super::state::StateDirectory;
use super::supervise::{GRACE, describe};

/// A new server is ready within milliseconds; one with a large store reads it first.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How long one connection attempt may take to bring INFO.
const INFO_LIMIT: Duration = Duration::from_secs(5);

/// How often a starting or ending server is looked at.
const TICK: Duration = Duration::from_millis(5);

/// INFO grows with the cluster, of which there is none here.
const INFO_BYTES: u64 = 64 * 1024;

/// All that a start needs.
pub(super) struct Launcher {
    pub(super) binary: NatsServerBinary,
    pub(super) state: StateDirectory,
    /// See [`EmbeddedConfig::supervisor`](super::EmbeddedConfig::supervisor).
    pub(super) supervisor: Vec<OsString>,
    pub(super) address: IpAddr,
    /// The supervisor's standard input; it ends when the owner of the other end does.
    pub(super) lifeline: PipeReader,
}

/// A nats-server that serves.
pub(super) struct Server {
    supervisor: Child,
    pub(super) pid: u32,
    pub(super) port: u16,
}

impl Server {
    /// Waits for its end and says how it ended. Cancel-safe.
    pub(super) async fn ended(&mut self) -> String {
        self.supervisor
            .wait()
            .await
            .map_or_else(|error| error.to_string(), describe)
    }
}

/// What the supervisor prints.
#[derive(Deserialize)]
struct Announcement {
    pid: u32,
}

/// What is read of the server's first line.
#[derive(Deserialize)]
struct Info {
    version: String,
    #[serde(default)]
    jetstream: bool,
}

impl Launcher {
    /// Starts nats-server on `port` (0: any that is free) and returns when it serves.
    ///
    /// Dropped before that, it leaves a server that ends with the lifeline.
    pub(super) async fn launch(&self, port: u16) -> Result<Server, EmbeddedError> {
        let unwritable = |path: PathBuf| move |source| EmbeddedError::StateDirectory { path, source };
        self.state.clear_ports().map_err(unwritable(self.state.ports()))?;
        let (log, log_start) = self.state.open_log().map_err(unwritable(self.state.log()))?;
        let program = self.supervisor.first().cloned().unwrap_or_default();
        let unsupervised = |source| EmbeddedError::Supervisor {
            program: program.clone().into(),
            source,
        };
        let mut supervisor = Command::new(&program)
            .args(self.supervisor.iter().skip(1))
            .arg(self.state.server_lock())
            .arg(&self.binary.path)
            .args(self.server_arguments(port))
            .current_dir(self.state.root())
            .stdin(self.lifeline.try_clone().map_err(unsupervised)?)
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in a terminal goes to the group in front, which is ours: we decide when nats-server ends.
            .process_group(0)
            .spawn()
            .map_err(unsupervised)?;

        let mut pid = None;
        let failure = match timeout(READY_LIMIT, self.until_ready(&mut supervisor, &mut pid)).await {
            Ok(Ok((pid, port))) => {
                return Ok(Server {
                    supervisor,
                    pid,
                    port,
                });
            }
            Ok(Err(failure)) => failure,
            Err(_) => StartFailure::Silent(READY_LIMIT),
        };
        let tail = self.state.log_tail(log_start);
        end(&mut supervisor, pid).await;
        Err(if tail.contains("address already in use") {
            EmbeddedError::PortTaken {
                address: SocketAddr::new(self.address, port),
            }
        } else {
            EmbeddedError::DidNotStart {
                reason: failure,
                log: self.state.log(),
                tail,
            }
        })
    }

    fn server_arguments(&self, port: u16) -> Vec<OsString> {
        let port = if port == 0 {
            "-1".to_owned()
        } else {
            port.to_string()
        };
        let mut arguments: Vec<OsString> = vec!["-c".into(), self.state.config().into()];
        arguments.extend([
            "-a".into(),
            self.address.to_string().into(),
            "-p".into(),
            port.into(),
        ]);
        arguments.extend(["-js".into(), "-sd".into(), self.state.root().into()]);
        arguments.extend(["-l".into(), self.state.log().into()]);
        arguments.extend(["--ports_file_dir".into(), self.state.ports().into()]);
        arguments
    }

    /// The process id and the port of nats-server, as soon as it serves. `pid` is told as soon as it is known.
    async fn until_ready(
        &self,
        supervisor: &mut Child,
        pid: &mut Option<u32>,
    ) -> Result<(u32, u16), StartFailure> {
        let announced = match supervisor.stdout.take() {
            Some(stdout) => announcement(stdout).await,
            None => None,
        };
        let Some(Announcement { pid: announced }) = announced else {
            return Err(ended(supervisor.wait().await));
        };
        *pid = Some(announced);
        loop {
            if let Some(status) = supervisor.try_wait().transpose() {
                return Err(ended(status));
            }
            if let Some(port) = self.state.listening_port()
                && let Ok(Ok(info)) = timeout(INFO_LIMIT, read_info(self.reachable(port))).await
            {
                check(&info)?;
                return Ok((announced, port));
            }
            sleep(TICK).await;
        }
    }

    /// Where this machine reaches a server that listens on `port`.
    pub(super) fn reachable(&self, port: u16) -> SocketAddr {
        let address = match self.address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        SocketAddr::new(address, port)
    }
}

/// Ends a nats-server that is alive on the store without its owner: we own the store now, so its owner or its supervisor
/// was killed. At most twice the grace time.
pub(super) async fn clear_stray(state: &StateDirectory) -> Result<(), EmbeddedError> {
    let began = Instant::now();
    let mut asked = false;
    loop {
        if state.server_has_ended() {
            return Ok(());
        }
        let pid = state.server_pid();
        let patient = began.elapsed() < GRACE;
        if began.elapsed() > GRACE * 2 {
            return Err(EmbeddedError::StateInUse {
                path: state.root().to_owned(),
                pid,
            });
        }
        // The number may have become another process's: looked up directly before it is used.
        if let Some(pid) = pid.filter(|pid| (!asked || !patient) && is_our_server(*pid, &state.config())) {
            if !asked {
                warn!(pid, "ending a nats-server that was left without its owner");
            }
            asked = true;
            signal_group(pid, if patient { Signal::TERM } else { Signal::KILL });
        }
        sleep(TICK).await;
    }
}

/// Ends a nats-server that did not start, and its supervisor with it.
async fn end(supervisor: &mut Child, pid: Option<u32>) {
    if let Ok(None) = supervisor.try_wait() {
        // The supervisor lives, and as long as it does the number stays nats-server's.
        if let Some(pid) = pid {
            signal_group(pid, Signal::TERM);
            if timeout(GRACE, supervisor.wait()).await.is_err() {
                signal_group(pid, Signal::KILL);
            }
        } else {
            let _ = supervisor.start_kill();
        }
        let _ = timeout(GRACE, supervisor.wait()).await;
    }
}

/// Signals the process and its group; an error means that it has just ended.
fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// Whether the process is a nats-server that was started with this configuration file.
#[cfg(target_os = "linux")]
fn is_our_server(pid: u32, config: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == config.as_os_str().as_bytes())
}

/// Whether the process is a nats-server that was started with this configuration file.
#[cfg(not(target_os = "linux"))]
fn is_our_server(pid: u32, config: &Path) -> bool {
    use super::command::{Interrupt, run};
    let mut question = std::process::Command::new("ps");
    question.args(["-ww", "-o", "command=", "-p", &pid.to_string()]);
    let answer = run(question, Duration::from_secs(2), &Interrupt::default());
    answer.is_ok_and(|finished| finished.output.contains(&*config.to_string_lossy()))
}

/// What the supervisor says first; `None` if it ends without a word.
async fn announcement(stdout: ChildStdout) -> Option<Announcement> {
    let mut line = String::new();
    BufReader::new(stdout.take(1024))
        .read_line(&mut line)
        .await
        .ok()?;
    serde_json::from_str(&line).ok()
}

fn ended(status: io::Result<ExitStatus>) -> StartFailure {
    StartFailure::Ended(status.map_or_else(|error| error.to_string(), describe))
}

/// Connects and reads the server's first line.
async fn read_info(address: SocketAddr) -> io::Result<Info> {
    let mut line = Vec::new();
    BufReader::new(TcpStream::connect(address).await?.take(INFO_BYTES))
        .read_until(b'\n', &mut line)
        .await?;
    parse_info(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_info(line: &[u8]) -> Option<Info> {
    serde_json::from_slice(line.strip_prefix(b"INFO ")?).ok()
}

/// Whether the server that answers is what is needed.
fn check(info: &Info) -> Result<(), StartFailure> {
    match ServerVersion::parse(&info.version) {
        Some(version) if version >= MINIMUM_VERSION && info.jetstream => Ok(()),
        Some(version) if version >= MINIMUM_VERSION => {
            Err(StartFailure::Unfit("serves without JetStream".to_owned()))
        }
        _ => Err(StartFailure::Unfit(format!(
            "says that it is version {}",
            info.version
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_server_is_understood() {
        let line = b"INFO {\"server_id\":\"N\",\"version\":\"2.15.1\",\"port\":4222,\"jetstream\":true} \r\n";
        assert!(check(&parse_info(line).unwrap()).is_ok());
        assert!(parse_info(b"HTTP/1.1 400 Bad Request\r\n").is_none());
        assert!(parse_info(b"").is_none());
    }

    #[test]
    fn a_server_that_is_old_or_has_no_jetstream_is_unfit() {
        let refused = |line: &[u8]| check(&parse_info(line).unwrap()).unwrap_err().to_string();
        assert_eq!(
            refused(b"INFO {\"version\":\"2.15.1\"}\r\n"),
            "it serves without JetStream"
        );
        assert_eq!(
            refused(b"INFO {\"version\":\"2.9.10\",\"jetstream\":true}"),
            "it says that it is version 2.9.10"
        );
    }

    #[test]
    fn only_a_process_with_our_configuration_is_ours() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let is_ours = |config| is_our_server(child.id(), Path::new(config));
        // For a moment after its start a process has no arguments yet.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_ours("600") && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let ours = ["600", "60", "/state/nats-server.conf"].map(is_ours);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ours, [true, false, false]);
    }
}
