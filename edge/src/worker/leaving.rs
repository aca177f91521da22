//! One worker's part of a drain: tells each session when to leave, closes those that do not, and cuts off what takes too
//! long. Until then everybody is served as ever.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tailwater_protocol::close::CloseCode;
use tailwater_protocol::push::Push;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use super::Worker;
use crate::session::{End, Session};

/// What clients read that are told no time.
const STOPPING: &str = "the server is stopping: reconnect with back-off";

/// How often it is looked who is due.
const TICK: Duration = Duration::from_millis(50);

/// Sessions told in one turn.
const TURN: usize = 256;

/// Who is to be closed when: the time, the session's key among those of the worker, its id.
pub(super) type Departures = BinaryHeap<Reverse<(Instant, usize, u64)>>;

/// Waits for the drain, carries it out, and returns when the process may end.
pub(super) async fn run(worker: &Worker) {
    let drain = worker.drain();
    let schedule = drain.begun().await;
    // In one step, so that each session is told by who is first to see it: this walk, or its own beginning.
    let mut here = Vec::new();
    worker.departures.replace(Some(Departures::new()));
    for (key, session) in &*worker.sessions.borrow() {
        if session.is_serving() {
            here.push((key, session.clone()));
        }
    }
    for turn in here.chunks(TURN) {
        for (key, session) in turn {
            see_off(worker, session, *key);
        }
        tokio::task::yield_now().await;
    }
    drop(here);
    let everybody_leaves = async {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            close_due(worker, now);
            let is_empty = worker.sessions.borrow().is_empty();
            if is_empty && now >= schedule.closed && drain.is_last() {
                return;
            }
            tokio::select! {
                _ = tick.tick() => {}
                () = worker.empty.notified() => {}
            }
        }
    };
    if timeout_at(schedule.cut_off, everybody_leaves).await.is_err() {
        let count = worker.sessions.borrow().len();
        if count > 0 {
            tracing::warn!(count, "sessions did not leave in time and were cut off");
        }
    }
    drain.last().await;
}

/// A session begins to be served. Who comes while the process leaves is told so.
pub(super) fn greet(worker: &Worker, session: &Session, key: usize) {
    session.serve();
    let leaves = worker.departures.borrow().is_some();
    if leaves {
        see_off(worker, session, key);
    }
}

/// Tells a session when to leave, and notes when it is closed if it does not.
fn see_off(worker: &Worker, session: &Session, key: usize) {
    let Some(place) = worker.drain().place() else {
        return;
    };
    match place.hint {
        _ if session.is_ending() => return,
        Some(hint) => tell(session, hint),
        None if place.at <= Instant::now() => return dismiss(session),
        None => {}
    }
    // Who reads events does not leave by itself.
    let slack = match session.encoding().is_events() {
        true => Duration::ZERO,
        false => worker.drain().slack(),
    };
    if let Some(departures) = &mut *worker.departures.borrow_mut() {
        departures.push(Reverse((place.at + slack, key, session.id())));
    }
}

/// The session of a poll ends with its answer, which says when to ask again.
pub(crate) fn see_off_poll(worker: &Worker, session: &Session) {
    match worker.drain().place().and_then(|place| place.hint) {
        Some(hint) => tell(session, hint),
        None => dismiss(session),
    }
}

fn tell(session: &Session, hint: Duration) {
    let reconnect_after_ms = u32::try_from(hint.as_millis()).unwrap_or(u32::MAX);
    let push = Push::Drain { reconnect_after_ms };
    session.push_message(session.encoding().encode(&push.into()));
}

fn dismiss(session: &Session) {
    session.end(End::Close(CloseCode::Drain, STOPPING));
}

/// Closes the sessions whose time has come.
fn close_due(worker: &Worker, now: Instant) {
    let reason = match worker.config().drain.window.is_zero() {
        true => STOPPING,
        false => CloseCode::Drain.reason(),
    };
    let mut departures = worker.departures.borrow_mut();
    let Some(departures) = &mut *departures else {
        return;
    };
    while let Some(Reverse((at, key, id))) = departures.peek().copied()
        && at <= now
    {
        departures.pop();
        let sessions = worker.sessions.borrow();
        // Another one may have its key by now.
        if let Some(session) = sessions.get(key).filter(|session| session.id() == id) {
            session.end(End::Close(CloseCode::Drain, reason));
        }
    }
}
