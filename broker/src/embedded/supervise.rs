//! The body of the hidden command that stands between this process and nats-server, so that nats-server ends with us
//! even where we are killed: its standard input is a pipe of which we hold the other end, and the system closes that end
//! with us. Leaves restarting to the owner of the pipe.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// How long nats-server may take to end after it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Held while the number of nats-server is in use for a signal, and from its end on.
static REAPING: Mutex<()> = Mutex::new(());

/// How long the lock may be held by others.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The exit code when nats-server could not be started; why stands on standard error.
const NOT_STARTED: u8 = 125;

/// What is added to the number of the signal that ended nats-server, as shells do.
const SIGNAL_OFFSET: i32 = 128;

/// What an exit status of [`supervise()`] says of nats-server.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) if code == i32::from(NOT_STARTED) => "it could not be run".to_owned(),
        (Some(code), _) if code > SIGNAL_OFFSET => format!("it was ended by signal {}", code - SIGNAL_OFFSET),
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("its supervisor was ended by signal {signal}"),
        (None, None) => format!("its supervisor ended ({status})"),
    }
}

/// Starts nats-server and ends it when standard input ends. The program of which
/// [`EmbeddedConfig::supervisor`](super::EmbeddedConfig::supervisor) is the start calls this with its further arguments:
/// the lock file of the store, the path of nats-server, and nats-server's arguments.
///
/// Prints `{"pid": …}` of nats-server on standard output, and returns when nats-server has ended, with its exit code, or
/// 128 and the number of the signal. The process is to end with that code at once: a thread may still wait for standard
/// input. Needs no runtime, and must be called before any is started.
///
/// The lock is held by this process and by nats-server, which inherits it: no second nats-server can be started on a
/// store as long as one is alive, whoever else was killed.
pub fn supervise(args: impl Iterator<Item = OsString>) -> ExitCode {
    match run(args) {
        Ok(code) => code,
        Err(reason) => {
            // Goes into nats-server's log file, of which the owner shows the end.
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn run(mut args: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let (Some(lock_path), Some(program)) = (args.next(), args.next()) else {
        return Err("this command is started by tailwater itself".to_owned());
    };
    let mut lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| format!("cannot open {}: {error}", lock_path.display()))?;
    take(&lock).map_err(|error| format!("cannot lock {}: {error}", lock_path.display()))?;

    let held_by_server = lock
        .try_clone()
        .map_err(|error| format!("cannot share the lock: {error}"))?;
    let mut child = Command::new(&program)
        .args(args)
        .stdin(held_by_server)
        .stdout(io::stderr())
        // Its own group, so that a script that starts nats-server ends together with it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let pid = Pid::from_child(&child);
    // For the next owner, should both this process and its owner be killed.
    let written = lock
        .set_len(0)
        .and_then(|()| lock.write_all(pid.to_string().as_bytes()));
    let told = writeln!(io::stdout(), "{{\"pid\": {pid}}}").and_then(|()| io::stdout().flush());
    if let Err(error) = written.and(told) {
        let _ = child.kill().and_then(|()| child.wait());
        return Err(format!("cannot tell the process id of nats-server: {error}"));
    }

    thread::spawn(move || end_with_standard_input(pid));
    let code = wait_unreaped(pid);
    // Never unlocked again: from here on the number may become another process's.
    std::mem::forget(REAPING.lock());
    let _ = child.wait();
    code
}

/// Takes the lock. It may be held for a moment by our owner, who has looked whether it is free.
fn take(lock: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5))
            }
            result => return result,
        }
    }
}

/// Waits for the end of standard input, then ends nats-server.
fn end_with_standard_input(pid: Pid) {
    let mut nothing = [0; 64];
    loop {
        match io::stdin().read(&mut nothing) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
        }
    }
    signal(pid, Signal::TERM);
    thread::sleep(GRACE);
    signal(pid, Signal::KILL);
}

/// Signals nats-server and what it has started, unless it has ended.
fn signal(pid: Pid, signal: Signal) {
    let _not_reaped = REAPING.lock();
    let _ = kill_process_group(pid, signal);
}

/// Waits for the end of nats-server and leaves it a zombie, so that its number stays its own.
fn wait_unreaped(pid: Pid) -> Result<ExitCode, String> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => {
                let code = status
                    .exit_status()
                    .or_else(|| status.terminating_signal().map(|signal| SIGNAL_OFFSET + signal))
                    .and_then(|code| u8::try_from(code).ok());
                return Ok(ExitCode::from(code.unwrap_or(u8::MAX)));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("cannot wait for nats-server: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_who_ended_and_how() {
        let exited = |code: i32| describe(ExitStatus::from_raw(code << 8));
        assert_eq!(exited(1), "it ended with exit code 1");
        assert_eq!(exited(137), "it was ended by signal 9");
        assert_eq!(exited(125), "it could not be run");
        assert_eq!(
            describe(ExitStatus::from_raw(9)),
            "its supervisor was ended by signal 9"
        );
    }
}
