//! What figures depend on and a reader cannot see: the machine, what else it does, and the versions.

use std::fs::read_to_string;

use serde::Serialize;

/// Where a report was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Of the last minute, before the first run.
    pub(crate) load_average: String,
    /// `net.ipv4.tcp_congestion_control`, which costs something a packet.
    pub(crate) congestion_control: String,
}

impl Machine {
    /// This one, now. What cannot be read is `unknown`.
    pub(crate) fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let read = |path| read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kibibytes = memory.and_then(|memory| memory.split(' ').next()?.parse::<u64>().ok());
        let kernel = rustix::system::uname();
        let word = |path| {
            read(path)
                .split_whitespace()
                .next()
                .map_or_else(unknown, str::to_owned)
        };
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kibibytes.unwrap_or_default() / 1024 / 1024,
            kernel: format!(
                "{} {}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy()
            ),
            load_average: word("/proc/loadavg"),
            congestion_control: word("/proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }
}
