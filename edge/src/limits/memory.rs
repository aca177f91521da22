//! What waits in all outboxes of the process, and what one of them may hold of it.
//!
//! The rule is one line: no outbox may be larger than what is still free (dynamic thresholds, as shared-memory switches
//! have them: Choudhury and Hahne, 1998). So `n` clients that do not read hold an equal share each, one more share stays
//! free for whoever comes next, and the largest outbox is the first that has to give something up. Every outbox learns of
//! it when something is added to it, and once a second if memory is short.
//!
//! Counted are the bytes of messages, those of a batch that several sessions share once for each. That is more than what
//! they take, except that a message of a session's own costs up to two hundred bytes beside its own.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::meters::{Meters, Short};

/// What every outbox may hold, whatever the others do; the least that `outbox.max_bytes` may be.
pub(crate) const OWN_BYTES: usize = 4096;

/// A worker tells the others what it has added or taken away in steps of this size, or less if there is little in all.
const STEP_BYTES: usize = 64 * 1024;

/// The least that is taken of a machine's memory unless the configuration says otherwise.
const LEAST_BYTES: usize = 64 * 1024 * 1024;

/// The memory of all outboxes.
#[derive(Debug)]
pub(crate) struct Capacity {
    used: AtomicUsize,
    most: usize,
    step: usize,
}

impl Capacity {
    /// So many bytes; 0: a quarter of what the process may have, at least 64 MiB.
    pub(crate) fn new(configured: usize) -> Self {
        let most = match configured {
            0 => (system_bytes().unwrap_or(0) / 4).max(LEAST_BYTES),
            configured => configured,
        };
        Self {
            used: AtomicUsize::new(0),
            most,
            step: STEP_BYTES.min(most / 64),
        }
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// As far as the workers have told.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The same, as one worker sees it: no atomic operation for most of what it counts.
#[derive(Debug)]
pub(crate) struct Memory {
    capacity: Arc<Capacity>,
    /// What the others have not been told.
    added: Cell<usize>,
    taken: Cell<usize>,
    meters: Arc<Meters>,
    /// What sessions did not take at once of what they were offered, since somebody looked.
    short: Cell<Short>,
}

impl Memory {
    /// What this worker sees of `capacity`, and counts in `meters`.
    pub(crate) fn new(capacity: Arc<Capacity>, meters: Arc<Meters>) -> Self {
        Self {
            capacity,
            added: Cell::new(0),
            taken: Cell::new(0),
            meters,
            short: Cell::default(),
        }
    }

    /// What the worker counts.
    #[inline]
    pub(crate) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What sessions did not take at once of what they were offered since this was asked last.
    #[inline]
    pub(crate) fn take_short(&self) -> Short {
        self.short.take()
    }

    /// A session did not take this at once.
    pub(crate) fn add_short(&self, short: Short) {
        self.short.set(self.short.get().and(short));
    }

    /// What nobody uses, in bytes.
    pub(crate) fn free(&self) -> usize {
        self.capacity.most.saturating_sub(self.used())
    }

    /// Whether more is used than there is.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.used() > self.capacity.most
    }

    fn used(&self) -> usize {
        (self.capacity.used() + self.added.get()).saturating_sub(self.taken.get())
    }

    fn add(&self, bytes: usize) {
        self.added.set(self.added.get() + bytes);
        self.meters.outbox_bytes.add(bytes as u64);
        self.tell();
    }

    fn take(&self, bytes: usize) {
        self.taken.set(self.taken.get() + bytes);
        self.meters.outbox_bytes.take(bytes as u64);
        self.tell();
    }

    fn tell(&self) {
        let (added, taken) = (self.added.get(), self.taken.get());
        if added.abs_diff(taken) < self.capacity.step {
            return;
        }
        // What this worker takes away it has told before, or tells here: the sum never goes below zero.
        self.capacity.used.fetch_add(added, Ordering::Relaxed);
        self.capacity.used.fetch_sub(taken, Ordering::Relaxed);
        self.added.set(0);
        self.taken.set(0);
    }
}

/// The bytes of one outbox, counted among those of all until it is dropped. By default they count for nobody else.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    bytes: usize,
    memory: Option<Rc<Memory>>,
}

impl Counted {
    pub(crate) fn new(memory: Rc<Memory>) -> Self {
        Self {
            bytes: 0,
            memory: Some(memory),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the worker sees; nothing where they count for nobody else.
    #[inline]
    pub(crate) fn memory(&self) -> Option<&Rc<Memory>> {
        self.memory.as_ref()
    }

    /// `limit`, or less if there is not as much memory any more.
    pub(crate) fn allowance(&self, limit: usize) -> usize {
        match &self.memory {
            Some(memory) => limit.min(memory.free().max(OWN_BYTES)),
            None => limit,
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, bytes: usize) {
        let was_empty = self.bytes == 0;
        self.bytes += bytes;
        if let Some(memory) = &self.memory {
            memory.add(bytes);
            if was_empty && bytes > 0 {
                memory.meters.slow_sessions.add(1);
            }
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if let Some(memory) = &self.memory {
            memory.take(bytes);
            if self.bytes == 0 && bytes > 0 {
                memory.meters.slow_sessions.take(1);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.take(self.bytes);
    }
}

/// The memory that this process may have: that of its control group (versions 2 and 1), or of the machine. Nothing if
/// none of that can be read.
fn system_bytes() -> Option<usize> {
    const CONTROL_GROUPS: [&str; 2] = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let group = |path| std::fs::read_to_string(path).ok()?.trim().parse().ok();
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_bytes(&text));
    CONTROL_GROUPS.into_iter().filter_map(group).chain(machine).min()
}

/// The machine's memory by `/proc/meminfo` (`proc_meminfo(5)`), which counts in units of 1,024 bytes.
fn total_bytes(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outboxes_share_what_there_is_and_one_share_stays_free() {
        let capacity = Arc::new(Capacity::new(1_000_000));
        let memory = Rc::new(Memory::new(capacity.clone(), Arc::default()));
        let mut greedy: Vec<_> = (0..9).map(|_| Counted::new(memory.clone())).collect();
        for _ in 0..1_000 {
            for outbox in &mut greedy {
                let allowed = outbox.allowance(usize::MAX);
                if outbox.bytes() + 1_000 <= allowed {
                    outbox.add(1_000);
                } else {
                    outbox.take(outbox.bytes().saturating_sub(allowed));
                }
            }
        }
        for outbox in &greedy {
            let share = outbox.bytes();
            assert!((90_000..=110_000).contains(&share), "{share}");
        }
        assert!(memory.free() >= 90_000, "{}", memory.free());
        drop(greedy);
        assert_eq!(memory.free(), 1_000_000);
        assert!(capacity.used() < capacity.step);
    }

    #[test]
    fn workers_know_of_each_other() {
        let capacity = Arc::new(Capacity::new(1_000_000));
        let other = capacity.clone();
        std::thread::spawn(move || {
            std::mem::forget({
                let mut outbox = Counted::new(Rc::new(Memory::new(other, Arc::default())));
                outbox.add(990_000);
                outbox
            })
        })
        .join()
        .unwrap();
        let mut outbox = Counted::new(Rc::new(Memory::new(capacity, Arc::default())));
        assert_eq!(outbox.allowance(500_000), 10_000);
        outbox.add(20_000);
        assert_eq!(outbox.allowance(500_000), OWN_BYTES);
        assert_eq!(outbox.allowance(1), 1);
        assert_eq!(Counted::default().allowance(500_000), 500_000);
    }

    #[test]
    fn the_machine_says_how_much_memory_it_has() {
        assert_eq!(
            total_bytes("MemTotal:       16384256 kB\nMemFree: 1 kB\n"),
            Some(16_384_256 * 1024)
        );
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        assert!(Capacity::new(0).most() >= LEAST_BYTES);
    }
}
