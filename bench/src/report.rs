//! What a scenario found.

use std::time::Duration;

use serde::Serialize;

/// Counts, delays and costs of one run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    /// From the moment a publication was due to its arrival, in microseconds.
    pub(crate) delay_us: Delays,
    /// User and system time of the server a delivery, in microseconds; absent without `--pid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_delivery: Option<f64>,
}

/// Quantiles of a delay.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Delays {
    p50: u128,
    p99: u128,
    max: u128,
}

impl Report {
    /// Whether everything arrived once and in order.
    pub(crate) fn is_complete(&self) -> bool {
        self.lost + self.doubled + self.out_of_order == 0
    }
}

impl Delays {
    /// The quantiles of `delays`, which this sorts.
    pub(crate) fn of(delays: &mut [Duration]) -> Self {
        delays.sort_unstable();
        let Some(last) = delays.len().checked_sub(1) else {
            return Self::default();
        };
        let at = |percent: usize| delays[last * percent / 100].as_micros();
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}
