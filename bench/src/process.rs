//! What a process has used, as Linux tells, and what this one may use.

use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The kernel's clock tick in `/proc`, on every Linux that there is: `getconf CLK_TCK`.
const TICKS_PER_SECOND: u32 = 100;

/// Files that this process needs beside its connections.
const OTHER_FILES: u64 = 64;

/// User and system time of a process so far (`proc(5)`, fields 14 and 15 of `stat`).
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in parentheses may hold anything; what follows does not.
    let (_, fields) = stat.rsplit_once(')').context("the process has no name")?;
    let mut times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    let (user, system) = times
        .next()
        .zip(times.next())
        .context("the process has no times")?;
    Ok(Duration::from_secs(1) * (user? + system?) / TICKS_PER_SECOND)
}

/// User and system time of this process so far, to the nanosecond.
pub(crate) fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Memory of a process that is in RAM, in bytes (`proc(5)`, `VmRSS` of `status`).
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = kibibytes.context("the process has no memory")?.parse()?;
    Ok(kibibytes * 1024)
}

/// Raises the limit of open files as far as it goes.
///
/// # Errors
/// If that is not enough for so many connections.
pub(crate) fn make_room_for(connections: usize) -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    let files = limit.current.unwrap_or(u64::MAX);
    anyhow::ensure!(
        files >= connections as u64 + OTHER_FILES,
        "{connections} connections need more than the {files} files that a process may open: raise `ulimit -Hn`"
    );
    Ok(())
}
