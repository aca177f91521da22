//! Waiting for a condition with a deadline, instead of sleeping for a guess.

use std::time::{Duration, Instant};

use crate::DEADLINE;

/// Tries `condition` every few milliseconds until it gives something.
///
/// # Panics
/// If it gives nothing within [`DEADLINE`].
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while begin.elapsed() < DEADLINE {
        if let Some(value) = condition().await {
            return value;
        }
        tick.tick().await;
    }
    panic!("{what}: not within {DEADLINE:?}");
}
