//! The time of day as tokens, orders and clients write it: seconds since 1970, and RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The latest second that RFC 3339 can write: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

/// Seconds since 1970; 0 on a clock that is before.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Seconds since 1970 as RFC 3339, UTC, with milliseconds.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_millis(time).to_string()
}

/// A time in RFC 3339 in seconds since 1970; nothing if it is none, or before.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}
