//! Pings, and the end of clients that do not answer them. One timer a worker, none a session; it also sees to slow clients
//! (`shedding`).
//!
//! Each second it is the turn of every session whose key falls on it, so that the pings of a worker
//! spread over the interval. Any byte from a client counts as its answer.

use std::rc::Rc;
use std::time::Duration;

use tailwater_protocol::close::CloseCode;
use tokio::time::MissedTickBehavior;

use super::{End, Session, shedding};
use crate::time;
use crate::worker::Worker;

/// How often a session is looked at for whether its client reads and its token is valid, in seconds.
const STALL_CHECK: usize = 2;

/// Runs for as long as the worker does.
pub(crate) async fn run(worker: Rc<Worker>) {
    let settings = &worker.config().websocket;
    let interval = seconds(settings.ping_interval).max(2);
    let patience = seconds(settings.pong_timeout).min(interval - 1).max(1);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for turn in 0.. {
        second.tick().await;
        shedding::shed(&worker);
        let now = time::now();
        each(&worker, turn, STALL_CHECK, |session| {
            session.expect_progress(worker.config().outbox.stall_timeout);
            session.come_due(now, worker.config().identity.grace);
        });
        each(
            &worker,
            turn + interval - patience,
            interval,
            Session::expect_pong,
        );
        each(&worker, turn, interval, Session::ping);
    }
}

fn seconds(duration: Duration) -> usize {
    usize::try_from(duration.as_secs()).unwrap_or(usize::MAX)
}

/// Every session whose turn it is.
fn each(worker: &Worker, turn: usize, interval: usize, act: impl Fn(&Session)) {
    let sessions = worker.sessions().borrow();
    let keys = (turn % interval..sessions.capacity()).step_by(interval);
    for session in keys.filter_map(|key| sessions.get(key)) {
        act(session);
    }
}

impl Session {
    fn ping(&self) {
        // Who reads events cannot answer: TCP itself notices that it is gone.
        self.awaiting_pong.set(!self.encoding.is_events());
        self.push_message(self.encoding.ping());
    }

    /// A client that takes nothing of what waits for it is gone, or as good as gone.
    fn expect_progress(&self, timeout: Duration) {
        if self
            .stalled_since
            .get()
            .is_some_and(|since| since.elapsed() >= timeout)
        {
            self.end(End::Cut(CloseCode::Stalled, CloseCode::Stalled.reason()));
        }
    }

    fn expect_pong(&self) {
        // A ping behind a backlog has not been read; whether anything is, is looked at apart.
        let reads_nothing = self.stalled_since.get().is_some();
        if self.awaiting_pong.get() && !self.waiting_for_nats.get() && !reads_nothing {
            self.end(End::Cut(CloseCode::PingTimeout, CloseCode::PingTimeout.reason()));
        }
    }
}
