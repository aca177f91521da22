//! The embedded nats-server of `tailwater dev`: that it lives and ends with its owner, whoever is killed, and that each
//! way in which it cannot be had says what to do.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tailwater_tests::binary;
use tailwater_tests::nats_process::send_signal;
use tailwater_tests::process::{is_alive, stands_still, stat};

/// Generous: a busy machine, or the first run that installs nats-server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `tailwater dev` with everything private.
struct Dev {
    child: Child,
    nats: SocketAddr,
    nats_pid: u32,
}

impl Dev {
    fn command(state_dir: &Path, nats_listen: &str) -> Command {
        let mut command = Command::new(binary());
        command.args([
            "dev",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--nats-listen",
            nats_listen,
            "--state-dir",
        ]);
        command.arg(state_dir).stdin(Stdio::null());
        command
    }

    /// Starts it and waits for the line that says that it is ready.
    fn start(state_dir: &Path, nats_listen: &str) -> Dev {
        let mut child = Dev::command(state_dir, nats_listen)
            .stdout(Stdio::piped())
            .spawn()
            .expect("tailwater runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("it is text");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("it is ready");
        let nats = ready["nats"]
            .as_str()
            .and_then(|url| url.strip_prefix("nats://"))
            .expect("it names NATS");
        let nats_pid = ready["nats_pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .expect("it names the process");
        Dev {
            child,
            nats: nats.parse().expect("an address"),
            nats_pid,
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// The nats-server that runs now: the one that was started last, if it answers.
    fn nats_pid_now(&self, state_dir: &Path) -> Option<u32> {
        let pid = fs::read_to_string(state_dir.join("nats-server/nats-server.lock"))
            .ok()?
            .parse()
            .ok()?;
        (answers(self.nats) && is_alive(pid)).then_some(pid)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            eventually("nats-server ends with its owner", || !is_alive(self.nats_pid));
        }
    }
}

/// Polls until it holds.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        #[expect(
            clippy::disallowed_methods,
            reason = "the pause between two looks at the condition"
        )]
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a nats-server with JetStream answers there.
fn answers(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else {
        return false;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a time above zero");
    let mut line = String::new();
    let read = BufReader::new(stream.take(65536)).read_line(&mut line);
    read.is_ok() && line.starts_with("INFO ") && line.contains("\"jetstream\":true")
}

fn parent(pid: u32) -> u32 {
    stat(pid, 4)
        .and_then(|parent| parent.parse().ok())
        .expect("it runs")
}

/// Runs `tailwater dev` where it cannot start, and returns what it says.
fn refusal(command: &mut Command) -> String {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tailwater runs");
    eventually("tailwater ends where it cannot start", || {
        child.try_wait().expect("it is ours").is_some()
    });
    assert!(!child.wait().expect("it has ended").success());
    let mut text = String::new();
    child
        .stderr
        .take()
        .expect("it is a pipe")
        .read_to_string(&mut text)
        .expect("it is text");
    text
}

/// A program that is written by another process, so that no thread of this one has it open when it is run.
fn write_program(directory: &Path, script: &str) -> PathBuf {
    let path = directory.join("nats-server");
    let write = r#"printf '%s\n' "$2" >"$1" && chmod 755 "$1""#;
    let status = Command::new("sh")
        .args(["-c", write, "sh"])
        .arg(&path)
        .arg(script)
        .status()
        .expect("sh runs");
    assert!(status.success());
    path
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn nats_server_ends_when_its_owner_is_killed() {
    let state = scratch();
    let mut dev = Dev::start(state.path(), "127.0.0.1:0");
    let supervisor = parent(dev.nats_pid);
    assert!(answers(dev.nats) && is_alive(dev.nats_pid));
    dev.kill();
    eventually("nats-server is gone", || !is_alive(dev.nats_pid));
    eventually("its supervisor is gone", || !is_alive(supervisor));
}

#[test]
fn nats_server_ends_before_an_owner_that_is_asked_to_end() {
    let state = scratch();
    let mut dev = Dev::start(state.path(), "127.0.0.1:0");
    send_signal(dev.child.id(), Signal::TERM);
    let status = dev.child.wait().expect("it ends");
    assert!(status.success() && !is_alive(dev.nats_pid), "{status}");
}

#[test]
fn a_key_press_in_the_terminal_reaches_the_owner_alone() {
    let state = scratch();
    let dev = Dev::start(state.path(), "127.0.0.1:0");
    let group = |pid| stat(pid, 5).expect("it runs");
    assert_ne!(group(dev.nats_pid), group(dev.child.id()));
    assert_ne!(group(parent(dev.nats_pid)), group(dev.child.id()));
}

#[test]
fn a_killed_nats_server_is_started_again_at_the_same_port() {
    let state = scratch();
    let dev = Dev::start(state.path(), "127.0.0.1:0");
    let mut killed = dev.nats_pid;
    for _ in 0..2 {
        send_signal(killed, Signal::KILL);
        eventually("another nats-server answers at the same port", || {
            dev.nats_pid_now(state.path()).is_some_and(|pid| pid != killed)
        });
        killed = dev.nats_pid_now(state.path()).expect("it answers");
    }
}

#[test]
fn a_killed_supervisor_leaves_no_second_nats_server() {
    let state = scratch();
    let dev = Dev::start(state.path(), "127.0.0.1:0");
    send_signal(parent(dev.nats_pid), Signal::KILL);
    eventually("the stray nats-server is gone", || !is_alive(dev.nats_pid));
    eventually("another nats-server answers at the same port", || {
        dev.nats_pid_now(state.path())
            .is_some_and(|pid| pid != dev.nats_pid)
    });
}

#[test]
fn after_owner_and_supervisor_were_killed_the_next_owner_takes_over() {
    let state = scratch();
    let mut first = Dev::start(state.path(), "127.0.0.1:0");
    let listen = first.nats.to_string();
    let supervisor = parent(first.nats_pid);
    // The owner stands still, so that it cannot start another supervisor between the two kills.
    send_signal(first.child.id(), Signal::STOP);
    eventually("the owner stands still", || stands_still(first.child.id()));
    send_signal(supervisor, Signal::KILL);
    first.kill();
    assert!(is_alive(first.nats_pid));
    let second = Dev::start(state.path(), &listen);
    assert!(!is_alive(first.nats_pid) && is_alive(second.nats_pid));
    assert_eq!(second.nats, first.nats);
}

#[test]
fn an_owner_that_was_killed_can_be_started_again_at_once_at_the_same_port() {
    let state = scratch();
    let mut dev = Dev::start(state.path(), "127.0.0.1:0");
    let listen = dev.nats.to_string();
    for _ in 0..3 {
        dev.kill();
        let next = Dev::start(state.path(), &listen);
        assert_eq!(next.nats, dev.nats);
        dev = next;
    }
}

#[test]
fn two_owners_of_one_state_directory_are_refused() {
    let state = scratch();
    let dev = Dev::start(state.path(), "127.0.0.1:0");
    let text = refusal(&mut Dev::command(state.path(), "127.0.0.1:0"));
    assert!(
        text.contains(&format!("in use by process {}", dev.child.id())),
        "{text}"
    );
    assert!(text.contains("--state-dir"), "{text}");
    assert!(is_alive(dev.nats_pid));
}

#[test]
fn a_taken_port_is_named() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = holder.local_addr().expect("it listens").to_string();
    let text = refusal(&mut Dev::command(scratch().path(), &address));
    assert!(
        text.contains(&format!("{address} is already in use")) && text.contains("--nats-listen"),
        "{text}"
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let directory = scratch();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("it can be written");
    // Below a file: the superuser, for whom no directory is read-only, cannot make this either.
    let text = refusal(&mut Dev::command(&file.join("state"), "127.0.0.1:0"));
    assert!(
        text.contains("cannot write to the state directory") && text.contains("--state-dir"),
        "{text}"
    );
}

#[test]
fn a_named_nats_server_that_is_too_old_is_refused() {
    let directory = scratch();
    let old = write_program(directory.path(), "#!/bin/sh\necho 'nats-server: v2.9.10'");
    let mut command = Dev::command(&directory.path().join("state"), "127.0.0.1:0");
    let text = refusal(command.env("TAILWATER_NATS_SERVER", &old));
    assert!(
        text.contains("version 2.9.10, too old") && text.contains("2.11"),
        "{text}"
    );
    assert!(
        text.contains(old.to_str().expect("it is text")) && text.contains("unset it"),
        "{text}"
    );
}

#[test]
fn a_nats_server_that_does_not_start_is_quoted() {
    let directory = scratch();
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'nats-server: v2.15.1' && exit\necho 'no space left' >&2\nexit 3";
    let broken = write_program(directory.path(), script);
    let mut command = Dev::command(&directory.path().join("state"), "127.0.0.1:0");
    let text = refusal(command.env("TAILWATER_NATS_SERVER", broken));
    assert!(
        text.contains("exit code 3") && text.contains("no space left") && text.contains("nats-server.log"),
        "{text}"
    );
}

/// A `PATH` and a cache directory on which nothing is.
fn bare_machine(directory: &Path) -> Command {
    let empty = directory.join("empty");
    fs::create_dir_all(&empty).expect("it can be made");
    let mut command = Dev::command(&directory.join("state"), "127.0.0.1:0");
    command
        .env_remove("TAILWATER_NATS_SERVER")
        .env("PATH", empty)
        .env("XDG_CACHE_HOME", directory.join("cache"));
    command
}

#[test]
fn without_nats_server_and_python_all_three_ways_are_told() {
    let directory = scratch();
    let text = refusal(&mut bare_machine(directory.path()));
    for part in [
        "python3, which is not on PATH",
        "TAILWATER_NATS_SERVER",
        "put one on PATH",
        "install python3",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn an_old_nats_server_on_path_is_mentioned_where_none_can_be_installed() {
    let directory = scratch();
    let mut command = bare_machine(directory.path());
    // By its full name, as this PATH leads nowhere else.
    write_program(
        &directory.path().join("empty"),
        "#!/bin/sh\necho 'nats-server: v2.9.10'",
    );
    let text = refusal(&mut command);
    assert!(
        text.contains("is version 2.9.10, too old") && text.contains("three ways"),
        "{text}"
    );
}

#[test]
fn a_cache_directory_that_cannot_be_written_is_named() {
    let directory = scratch();
    let mut command = bare_machine(directory.path());
    let text = refusal(command.env("XDG_CACHE_HOME", "/dev/null"));
    assert!(
        text.contains("cannot write to the cache directory /dev/null/tailwater"),
        "{text}"
    );
    assert!(text.contains("set XDG_CACHE_HOME"), "{text}");
}

#[test]
fn an_index_that_cannot_be_reached_ends_the_installation_without_telling_credentials() {
    let directory = scratch();
    let mut command = bare_machine(directory.path());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let own_server = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|entry| entry.join("nats-server").is_file());
    if own_server {
        // Nothing would be installed on this machine.
        return;
    }
    command
        .env("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple")
        .env_remove("PIP_FIND_LINKS");
    let text = refusal(&mut command);
    assert!(
        text.contains("check the network") && text.contains("three ways"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}
