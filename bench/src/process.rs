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

/// What the kernel keeps for this process and all others, in bytes: its slabs, most of which are sockets while tens of
/// thousands are open (`proc(5)`, `Slab` of `meminfo`).
pub(crate) fn slab_bytes() -> anyhow::Result<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let line = memory.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = kibibytes.context("the kernel does not say")?.parse()?;
    Ok(kibibytes * 1024)
}

/// What the kernel holds in the send queues of the connections of a local port, in bytes: sent and not acknowledged, or
/// not sent (`/proc/net/tcp`, `tx_queue`); so many of the largest together.
pub(crate) fn largest_send_queues(port: u16, connections: usize) -> u64 {
    // Servers that listen on both have their connections in the table of IPv6.
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let mut queues: Vec<u64> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().filter_map(|line| send_queue(line, port)))
        .collect();
    queues.sort_unstable_by(|a, b| b.cmp(a));
    queues.iter().take(connections).sum()
}

/// The send queue that a line of `/proc/net/tcp` tells of, if it is about an established connection of this port.
fn send_queue(line: &str, port: u16) -> Option<u64> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_whitespace().skip(1);
    let (_, local) = fields.next()?.rsplit_once(':')?;
    let (_peer, state, queues) = (fields.next()?, fields.next()?, fields.next()?);
    let queue = queues.split(':').next()?;
    let ours = u16::from_str_radix(local, 16).ok()? == port && state == ESTABLISHED;
    u64::from_str_radix(queue, 16).ok().filter(|_| ours)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn send_queues_are_those_of_established_connections_of_the_port() {
        let line =
            "  3: 0100007F:1F90 0100007F:C350 01 0001A2B0:00000000 01:00000014 00000000 0 0 7 2 0 20 4";
        assert_eq!(send_queue(line, 8080), Some(0x1a2b0));
        assert_eq!(send_queue(line, 8081), None);
        assert_eq!(send_queue(&line.replace(" 01 0001", " 0A 0001"), 8080), None);
        assert_eq!(
            send_queue("  sl  local_address rem_address   st tx_queue", 8080),
            None
        );
    }
}
