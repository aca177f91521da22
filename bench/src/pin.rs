//! Which core runs what: the server under test has the first core for itself, and everything else, the generator, the
//! publisher and nats-server, has the others. Then neither takes time from the other, and the server's CPU time is its own.
//!
//! A process inherits the affinity of the thread that starts it (`sched_setaffinity(2)`), so it is enough to change that
//! of this thread around the start.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::process::{Child, Command};

/// Starts a program on one core, or where this thread may run.
///
/// # Errors
/// If this process may not use the core, or the program does not start.
pub(crate) fn spawn_on(core: Option<usize>, command: &mut Command) -> io::Result<Child> {
    let Some(core) = core else {
        return command.spawn();
    };
    let ours = sched_getaffinity(None)?;
    sched_setaffinity(None, &set(core..=core))?;
    let child = command.spawn();
    sched_setaffinity(None, &ours)?;
    child
}

/// Takes this thread, and all that it starts from now on, off the first core that it may use; says which that is.
/// Nothing where there is only one.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn leave_the_first_core() -> io::Result<Option<usize>> {
    let all = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
    let (Some(first), Some(next)) = (cores.next(), cores.next()) else {
        return Ok(None);
    };
    sched_setaffinity(None, &set(std::iter::once(next).chain(cores)))?;
    Ok(Some(first))
}

fn set(cores: impl IntoIterator<Item = usize>) -> CpuSet {
    let mut set = CpuSet::new();
    cores.into_iter().for_each(|core| set.set(core));
    set
}
