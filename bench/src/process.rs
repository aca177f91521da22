//! What a process has used, as Linux tells.

use std::time::Duration;

use anyhow::Context;

/// The kernel's clock tick in `/proc`, on every Linux that there is: `getconf CLK_TCK`.
const TICKS_PER_SECOND: u32 = 100;

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
