//! When the process leaves and who leaves when: one value for all workers, the operators and the server. What a worker does
//! about it is in `worker/leaving.rs`.
//!
//! A drain begins once. New clients are still taken for `drain.linger`, since balancers notice late; behind that lies the
//! window, over which clients leave, and behind the window `drain.timeout` for what waits for those who are left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::config::DrainConfig;

/// How long after its time a client that obeys may still be there.
const SLACK: Duration = Duration::from_secs(1);

/// The drain of this process; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: DrainConfig,
    schedule: watch::Sender<Option<Schedule>>,
    /// The process ends when the drain is over.
    is_last: watch::Sender<bool>,
    /// Places in the window that were given out.
    places: AtomicU32,
    sessions: AtomicUsize,
}

/// The times of a drain that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// No new client is taken from here on, and the window begins.
    pub(crate) closed: Instant,
    /// The end of the window.
    end: Instant,
    /// Who is still there then is cut off.
    pub(crate) cut_off: Instant,
}

/// When one client is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: Instant,
    /// What the client is told, counted from now. Nothing where there is no window, or none any more: to tell all of them
    /// the same time would bring them all at once; without one they come back with back-off.
    pub(crate) hint: Option<Duration>,
}

impl Drain {
    pub(crate) fn new(config: &DrainConfig) -> Self {
        Self(Arc::new(Shared {
            config: config.clone(),
            schedule: watch::Sender::new(None),
            is_last: watch::Sender::new(false),
            places: AtomicU32::new(0),
            sessions: AtomicUsize::new(0),
        }))
    }

    /// Begins, if it has not begun; says whether it did.
    pub(crate) fn begin(&self) -> bool {
        let DrainConfig { linger, window, .. } = &self.0.config;
        let begins = self.0.schedule.send_if_modified(|schedule| {
            let begins = schedule.is_none();
            if begins {
                *schedule = Some(Schedule::new(&self.0.config, Instant::now()));
            }
            begins
        });
        if begins {
            tracing::info!(sessions = self.remaining(), ?linger, ?window, "the edge drains");
        }
        begins
    }

    /// The process ends when the drain is over, which begins if it has not.
    pub(crate) fn begin_last(&self) {
        self.begin();
        self.0.is_last.send_replace(true);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.schedule().is_some()
    }

    pub(crate) fn schedule(&self) -> Option<Schedule> {
        *self.0.schedule.borrow()
    }

    /// Waits until it begins.
    pub(crate) async fn begun(&self) -> Schedule {
        let mut receiver = self.0.schedule.subscribe();
        let schedule = receiver.wait_for(Option::is_some).await;
        // The sender is our own.
        schedule
            .ok()
            .and_then(|schedule| *schedule)
            .expect("it has begun")
    }

    /// Waits until no new client is taken any more.
    pub(crate) async fn closed(&self) {
        let schedule = self.begun().await;
        sleep_until(schedule.closed).await;
    }

    pub(crate) fn is_last(&self) -> bool {
        *self.0.is_last.borrow()
    }

    /// Waits until the process is to end.
    pub(crate) async fn last(&self) {
        let mut receiver = self.0.is_last.subscribe();
        let _ = receiver.wait_for(|is_last| *is_last).await;
    }

    /// The next place of the window. However many were given out, all workers together, they are spread evenly: the
    /// largest distance between two neighbours is twice the smallest (the van der Corput sequence). Nothing before the
    /// drain begins.
    pub(crate) fn place(&self) -> Option<Place> {
        let schedule = self.schedule()?;
        let index = self.0.places.fetch_add(1, Ordering::Relaxed);
        Some(schedule.place(index, Instant::now()))
    }

    /// How long after its time a client may still be there: it has been told, and may be about to leave.
    pub(crate) fn slack(&self) -> Duration {
        match self.0.config.window.is_zero() {
            true => Duration::ZERO,
            false => SLACK.min(self.0.config.timeout / 2),
        }
    }

    /// A session has come.
    pub(crate) fn enter(&self) {
        self.0.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// A session has left.
    pub(crate) fn leave(&self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sessions that have not left, whether a drain has begun or not.
    pub(crate) fn remaining(&self) -> usize {
        self.0.sessions.load(Ordering::Relaxed)
    }
}

impl Schedule {
    fn new(config: &DrainConfig, begun: Instant) -> Self {
        let closed = begun + config.linger;
        let end = closed + config.window;
        Self {
            closed,
            end,
            cut_off: end + config.timeout,
        }
    }

    /// The place of this index for a client that comes or is there `now`.
    fn place(&self, index: u32, now: Instant) -> Place {
        let from = now.max(self.closed);
        let window = self.end.saturating_duration_since(from);
        let at = from + window.mul_f64(f64::from(index.reverse_bits()) / (f64::from(u32::MAX) + 1.0));
        let hint = (!window.is_zero()).then(|| at.saturating_duration_since(now));
        Place { at, hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(begun: Instant) -> Schedule {
        let seconds = Duration::from_secs;
        let config = DrainConfig {
            linger: seconds(5),
            window: seconds(30),
            timeout: seconds(10),
        };
        Schedule::new(&config, begun)
    }

    #[test]
    fn however_many_clients_there_are_every_part_of_the_window_has_its_share() {
        let begun = Instant::now();
        let schedule = schedule(begun);
        for count in [1, 3, 100, 1000, 4999] {
            let places: Vec<_> = (0..count).map(|index| schedule.place(index, begun)).collect();
            let mut seconds = [0_u32; 30];
            for place in &places {
                let hint = place.hint.expect("there is a window");
                assert_eq!(place.at, begun + hint);
                seconds[usize::try_from(hint.as_secs())
                    .unwrap()
                    .checked_sub(5)
                    .expect("after the linger")] += 1;
            }
            for clients in seconds {
                assert!(clients.abs_diff(count / 30) <= 4, "{count}: {seconds:?}");
            }
            let mut times: Vec<_> = places.iter().map(|place| place.at).collect();
            times.sort();
            let gaps = || times.windows(2).map(|pair| pair[1] - pair[0]);
            if let (Some(smallest), Some(largest)) = (gaps().min(), gaps().max()) {
                assert!(
                    largest <= smallest * 2 + Duration::from_micros(1),
                    "{smallest:?} {largest:?}"
                );
            }
        }
    }

    #[test]
    fn who_comes_late_leaves_within_what_is_left_of_the_window() {
        let begun = Instant::now();
        let schedule = schedule(begun);
        let after = |seconds| begun + Duration::from_secs(seconds);
        for index in 0..100 {
            let place = schedule.place(index, after(20));
            assert!((after(20)..after(35)).contains(&place.at), "{place:?}");
            assert_eq!(place.hint, Some(place.at - after(20)));
        }
        let now = after(40);
        assert_eq!(schedule.place(1, now), Place { at: now, hint: None });
    }

    #[test]
    fn without_a_window_nobody_is_told_a_time_and_all_leave_when_the_door_closes() {
        let config = DrainConfig {
            linger: Duration::from_secs(5),
            window: Duration::ZERO,
            timeout: Duration::from_secs(10),
        };
        let begun = Instant::now();
        let place = Schedule::new(&config, begun).place(7, begun);
        assert_eq!((place.at, place.hint), (begun + config.linger, None));
    }

    #[test]
    fn a_drain_begins_once() {
        let config = DrainConfig {
            linger: Duration::ZERO,
            window: Duration::ZERO,
            timeout: Duration::ZERO,
        };
        let drain = Drain::new(&config);
        assert_eq!(drain.place(), None);
        assert!(drain.begin() && !drain.begin());
        assert!(drain.has_begun() && !drain.is_last());
        let cut_off = drain.schedule().unwrap().cut_off;
        drain.begin_last();
        assert!(drain.is_last());
        assert_eq!(drain.schedule().unwrap().cut_off, cut_off);
    }
}
