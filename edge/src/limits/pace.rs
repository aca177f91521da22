//! How fast one session may ask, in commands and in bytes.
//!
//! Who is over is not refused: nothing more is read from it until it is within its rate again, so TCP itself slows the
//! client down. Who goes on like that for `limits.grace_secs` is closed. A session keeps three numbers for it, and
//! nothing runs for one that is silent.

use std::cell::Cell;
use std::time::Duration;

use super::rate::Rate;

/// How fast sessions may ask.
#[derive(Debug)]
pub(crate) struct Paces {
    pub(crate) commands: Option<Rate>,
    pub(crate) bytes: Option<Rate>,
    /// How long a client may go on asking for more.
    pub(crate) grace: Duration,
}

/// What is to be done about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on.
    Go,
    /// Nothing may be read or done for this long.
    Wait(Duration),
    /// It has gone on for too long. After this time it would be well within its rates.
    End { retry_after: Duration },
}

/// What one session has asked for. Times are nanoseconds of the process's clock.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    commands_paid_at: Cell<u64>,
    bytes_paid_at: Cell<u64>,
    /// Since when the client has always asked for more than it may; 0: it has not.
    over_since: Cell<u64>,
}

impl Pace {
    /// A command came, or another message.
    pub(crate) fn took_command(&self, paces: &Paces, now: u64) {
        take(&self.commands_paid_at, paces.commands, now, 1);
    }

    /// So many bytes came.
    pub(crate) fn took_bytes(&self, paces: &Paces, now: u64, count: usize) {
        take(&self.bytes_paid_at, paces.bytes, now, count);
    }

    /// What is to be done before the next command, or the next read.
    pub(crate) fn step(&self, paces: &Paces, now: u64) -> Step {
        let longest = |time: fn(Rate, u64, u64) -> Duration| {
            let time = |rate: Option<Rate>, paid_at: &Cell<u64>| {
                rate.map_or(Duration::ZERO, |rate| time(rate, paid_at.get(), now))
            };
            time(paces.commands, &self.commands_paid_at).max(time(paces.bytes, &self.bytes_paid_at))
        };
        let (wait, recovery) = (longest(Rate::wait), longest(Rate::recovery));
        if recovery.is_zero() {
            self.over_since.set(0);
        }
        if wait.is_zero() {
            return Step::Go;
        }
        if self.over_since.get() == 0 {
            self.over_since.set(now.max(1));
        }
        let over_for = Duration::from_nanos(now.saturating_sub(self.over_since.get()));
        if over_for < paces.grace {
            Step::Wait(wait)
        } else {
            Step::End {
                retry_after: recovery,
            }
        }
    }
}

fn take(paid_at: &Cell<u64>, rate: Option<Rate>, now: u64, count: usize) {
    if let Some(rate) = rate {
        paid_at.set(rate.taken(paid_at.get(), now, count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn paces() -> Paces {
        let burst = Duration::from_secs(5);
        Paces {
            commands: Rate::new(100, burst),
            bytes: Rate::new(1000, burst),
            grace: Duration::from_secs(10),
        }
    }

    /// Asks as fast as it is let for `seconds`, and says how many commands that were, or that it was ended.
    fn flood(pace: &Pace, paces: &Paces, from: u64, seconds: u64) -> Result<u32, u64> {
        let (mut now, mut commands) = (from, 0);
        while now < from + seconds * SECOND {
            match pace.step(paces, now) {
                Step::Go => {
                    pace.took_command(paces, now);
                    commands += 1;
                }
                // Timers are late, and it is of no use to the client.
                Step::Wait(wait) => now += u64::try_from(wait.as_nanos()).unwrap() + SECOND / 1000,
                Step::End { .. } => return Err((now - from) / SECOND),
            }
        }
        Ok(commands)
    }

    #[test]
    fn a_flood_is_slowed_to_the_rate_and_ended_after_the_grace() {
        let (pace, paces) = (Pace::default(), paces());
        let commands = flood(&pace, &paces, SECOND, 9).unwrap();
        assert!((1250..=1410).contains(&commands), "{commands}");
        assert_eq!(flood(&pace, &paces, 10 * SECOND, 9), Err(1));
        let ended = pace.step(&paces, 11 * SECOND);
        assert!(
            matches!(ended, Step::End { retry_after } if retry_after >= Duration::from_secs(2)),
            "{ended:?}"
        );
    }

    #[test]
    fn who_pauses_before_the_grace_is_over_may_begin_anew() {
        let (pace, paces) = (Pace::default(), paces());
        for round in 0..20 {
            let from = (1 + round * 12) * SECOND;
            assert!(flood(&pace, &paces, from, 9).is_ok(), "round {round}");
        }
    }

    #[test]
    fn bytes_count_as_commands_do_and_no_limit_is_none() {
        let (pace, paces) = (Pace::default(), paces());
        pace.took_bytes(&paces, SECOND, 7000);
        assert_eq!(
            pace.step(&paces, SECOND),
            Step::Wait(Duration::from_nanos(2 * SECOND + 1))
        );
        assert_eq!(pace.step(&paces, 4 * SECOND), Step::Go);
        let free = Paces {
            commands: None,
            bytes: None,
            ..paces
        };
        assert!(flood(&pace, &free, SECOND, 0).is_ok());
        assert_eq!(pace.step(&free, SECOND), Step::Go);
    }
}
