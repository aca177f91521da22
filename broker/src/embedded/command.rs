//! Run a program to its end, with a deadline. Leaves what its output means to the caller.

use std::io::{self, PipeReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

/// How often a silent program is looked after.
const TICK: Duration = Duration::from_millis(20);

/// How much of the output is kept: its end.
const KEPT_BYTES: usize = 64 * 1024;

/// Tells blocking steps that nobody waits for them any more.
#[derive(Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Interrupts when it is dropped.
    pub(super) fn on_drop(&self) -> InterruptOnDrop {
        InterruptOnDrop(self.clone())
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of [`Interrupt::on_drop`].
pub(super) struct InterruptOnDrop(Interrupt);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A program that has ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    /// Standard output and standard error, as they came, without credentials.
    pub(super) output: String,
}

/// A program that did not end by itself.
#[derive(Debug)]
pub(super) enum RunError {
    NotStarted(io::Error),
    TimedOut,
    Interrupted,
}

/// Runs `command` to its end, at most for `limit`; then it is killed together with all that it started.
///
/// It gets a process group of its own and no standard input.
pub(super) fn run(
    mut command: Command,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Finished, RunError> {
    let deadline = Instant::now() + limit;
    let (mut reader, writer) = io::pipe().map_err(RunError::NotStarted)?;
    let twin = writer.try_clone().map_err(RunError::NotStarted)?;
    command
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(twin)
        .process_group(0);
    let mut child = command.spawn().map_err(RunError::NotStarted)?;
    // It holds our copies of the pipe's writing end, which would keep it open.
    drop(command);

    let mut output = Vec::new();
    let mut open = true;
    loop {
        // Asked before the pipe is read: what an ended program wrote is then all there.
        let ended = child.try_wait().map_err(RunError::NotStarted)?;
        let patience = if ended.is_some() { Duration::ZERO } else { TICK };
        let progress = open && read_some(&mut reader, patience, &mut output, &mut open);
        if let Some(status) = ended
            && !progress
        {
            return Ok(Finished {
                status,
                output: redact(&String::from_utf8_lossy(&output)),
            });
        }
        let failure = if interrupt.is_set() {
            RunError::Interrupted
        } else if Instant::now() >= deadline {
            RunError::TimedOut
        } else {
            if !open {
                std::thread::sleep(Duration::from_millis(1));
            }
            continue;
        };
        kill(&mut child);
        return Err(failure);
    }
}

/// Reads once, if something comes within `patience`. False if nothing came, or the pipe has ended.
fn read_some(reader: &mut PipeReader, patience: Duration, output: &mut Vec<u8>, open: &mut bool) -> bool {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: patience.subsec_nanos().into(),
    };
    if !matches!(
        poll(&mut [PollFd::new(&*reader, PollFlags::IN)], Some(&timeout)),
        Ok(1..)
    ) {
        return false;
    }
    let mut buffer = [0; 8 * 1024];
    let count = reader.read(&mut buffer).unwrap_or(0);
    *open = count > 0;
    output.extend_from_slice(&buffer[..count]);
    if output.len() > 2 * KEPT_BYTES {
        output.drain(..output.len() - KEPT_BYTES);
    }
    *open
}

/// Kills the program and its group, and takes its status so that no zombie stays.
fn kill(child: &mut Child) {
    // Not waited for yet, so the number still is this program's. An error means that it has ended.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// The last `lines` lines that say something, as one line.
pub(super) fn last_lines(output: &str, lines: usize) -> String {
    let kept: Vec<&str> = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let kept = &kept[kept.len().saturating_sub(lines)..];
    kept.iter()
        .map(|line| line.chars().take(300).collect())
        .collect::<Vec<String>>()
        .join(" | ")
}

/// The text with the user part of every URL struck out: index and proxy URLs carry passwords and tokens.
///
/// Rather too much than too little: a password may hold a slash that should have been escaped.
fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, authority) = rest.split_at(start + 3);
        redacted.push_str(before);
        let end = authority
            .find(|c: char| c.is_whitespace() || "'\"<>".contains(c))
            .unwrap_or(authority.len());
        rest = match authority[..end].rfind('@') {
            Some(at) => {
                redacted.push_str("***");
                &authority[at..]
            }
            None => authority,
        };
    }
    redacted + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_outputs_and_the_status_are_told() {
        let finished = run(
            shell("echo one; echo two >&2; exit 3"),
            Duration::from_secs(30),
            &Interrupt::default(),
        )
        .unwrap();
        assert_eq!(
            (finished.status.code(), finished.output.as_str()),
            (Some(3), "one\ntwo\n")
        );
    }

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo line-$i-of-many; i=$((i+1)); done";
        let finished = run(shell(script), Duration::from_secs(60), &Interrupt::default()).unwrap();
        assert!(finished.output.ends_with("line-19999-of-many\n") && finished.output.len() <= 2 * KEPT_BYTES);
    }

    #[test]
    fn a_program_that_hangs_is_given_up_with_what_it_started() {
        let began = Instant::now();
        let failure = run(
            shell("sleep 600 & sleep 600"),
            Duration::from_millis(50),
            &Interrupt::default(),
        );
        assert!(matches!(failure, Err(RunError::TimedOut)));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_child_left_behind_does_not_hold_the_caller() {
        let began = Instant::now();
        let finished = run(
            shell("sleep 60 & echo done"),
            Duration::from_secs(50),
            &Interrupt::default(),
        )
        .unwrap();
        assert_eq!(finished.output, "done\n");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn an_interrupt_ends_the_program() {
        let interrupt = Interrupt::default();
        drop(interrupt.on_drop());
        assert!(matches!(
            run(shell("sleep 600"), Duration::from_secs(60), &interrupt),
            Err(RunError::Interrupted)
        ));
    }

    #[test]
    fn a_missing_program_is_not_found() {
        let failure = run(
            Command::new("/nowhere/at-all"),
            Duration::from_secs(1),
            &Interrupt::default(),
        );
        assert!(
            matches!(failure, Err(RunError::NotStarted(error)) if error.kind() == io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn credentials_in_urls_are_struck_out() {
        for (text, expected) in [
            (
                "Looking in https://user:p@ss@index.example/simple, ok",
                "Looking in https://***@index.example/simple, ok",
            ),
            (
                "proxy 'http://token@proxy:3128' and a@b.example",
                "proxy 'http://***@proxy:3128' and a@b.example",
            ),
            (
                "https://user:a/b?c#d@host/x https://t@h",
                "https://***@host/x https://***@h",
            ),
            (
                "https://index.example/simple/ a@b",
                "https://index.example/simple/ a@b",
            ),
            ("nothing here", "nothing here"),
            ("://@", "://***@"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn the_last_lines_are_the_ones_that_say_something() {
        assert_eq!(last_lines("a\n\n b \nc\n\n", 2), "b | c");
        assert_eq!(last_lines("", 2), "");
    }
}
