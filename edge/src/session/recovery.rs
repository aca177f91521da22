//! Gives the client of a durable channel what it lacks, until it is in step: after a join with a cursor, after a gap,
//! and while it reads too slowly for the live feed. All three are the same: read on from a cursor, at the client's own
//! pace, from the ring or the stream. Memory for a slow client is bounded by [`STORED_BYTES`], whatever it lacks.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tailwater_broker::BrokerError;
use tailwater_broker::feed::{Interest, InterestId};
use tailwater_broker::history::{Chunk, Cursor, Origin};
use tailwater_protocol::channel::Channel;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::position::Offset;
use tailwater_protocol::push::{Lost, LostReason, Push};
use tokio::time::{Instant, sleep_until};

use super::behind::{Behind, Rest};
use super::commands::room;
use super::delivery::STORED_BYTES;
use super::{Session, Subscription};
use crate::hub::{Seat, position};
use crate::metrics::meters::{Label as _, Recovery};
use crate::outbox::Outbox;
use crate::worker::Worker;

/// The pause after a read that failed; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two reads.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The part of a session's task that reads on for it; nothing while every subscription is in step.
pub(super) struct CatchUp<'a> {
    session: &'a Rc<Session>,
    worker: &'a Rc<Worker>,
    running: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl<'a> CatchUp<'a> {
    pub(super) fn new(session: &'a Rc<Session>, worker: &'a Rc<Worker>) -> Self {
        Self {
            session,
            worker,
            running: None,
        }
    }

    /// Goes on as far as it can.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) {
        while self.running.is_some() || self.session.behind.get() {
            let running = self
                .running
                .get_or_insert_with(|| Box::pin(catch_up(self.session.clone(), self.worker.clone())));
            match running.as_mut().poll(context) {
                Poll::Ready(()) => self.running = None,
                Poll::Pending => return,
            }
        }
    }
}

/// A subscription that is behind.
struct Task {
    interest: Arc<Interest>,
    encoding: Encoding,
    seat: Seat,
    cursor: Cursor,
    /// The life of the stream that the cursor belongs to.
    life: u32,
    origin: Origin,
}

impl Task {
    fn of(session: &Session, held: &Subscription, behind: &Behind) -> Self {
        Self {
            interest: held.membership.interest().clone(),
            encoding: held.membership.encoding(),
            seat: held.seat,
            cursor: behind.cursor,
            life: held.life,
            origin: if session.reads_stream_alone(&held.channel) {
                Origin::Stream
            } else {
                Origin::Any
            },
        }
    }
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It was of use, or nobody wants it any more.
    Some,
    /// Its first frame does not fit beside what waits.
    NoRoom,
}

/// Which subscription to read on for.
enum Next {
    /// This one.
    Read(Task),
    /// None before this time: the reads of all that are behind have just failed.
    Rest(Instant),
    /// None is behind.
    Level,
}

/// Reads on for every subscription that is behind, in turns, until none is.
async fn catch_up(session: Rc<Session>, worker: Rc<Worker>) {
    let mut turn = 0;
    loop {
        let Some(task) = next_task(&session, turn).await else {
            session.behind.set(false);
            return;
        };
        // What waits is enough for the client; half of it is read on for while the other is written.
        room(&session, STORED_BYTES / 2, Outbox::kept_bytes).await;
        if session.is_ending() {
            session.behind.set(false);
            return;
        }
        match next_chunk(&session, &worker, &task).await {
            Ok(chunk) => {
                if session.take(&worker, &task, &chunk) == Taken::NoRoom {
                    // A frame that never fits beside others goes alone, before others take its place.
                    room(&session, 1, Outbox::kept_bytes).await;
                    continue;
                }
            }
            Err(error) => {
                tracing::debug!(session_id = session.id, channel = %task.interest.channel(), %error, "cannot read on yet");
                session.put_off(&task);
            }
        }
        turn += 1;
        tokio::task::yield_now().await;
    }
}

/// The next subscription to read on for, once there is one that does not rest; nothing if none is behind.
async fn next_task(session: &Session, turn: usize) -> Option<Task> {
    let mut pause = pin!(sleep_until(Instant::now()));
    // Looks again whenever the session is woken: another subscription may have fallen behind meanwhile.
    poll_fn(|context| {
        loop {
            match session.next_behind(turn, Instant::now()) {
                Next::Read(task) => return Poll::Ready(Some(task)),
                Next::Level => return Poll::Ready(None),
                Next::Rest(until) => {
                    pause.as_mut().reset(until);
                    ready!(pause.as_mut().poll(context));
                }
            }
        }
    })
    .await
}

async fn next_chunk(session: &Session, worker: &Worker, task: &Task) -> Result<Chunk, BrokerError> {
    let (interest, encoding) = (&*task.interest, task.encoding);
    if let Some(chunk) = worker
        .history()
        .recent(interest, encoding, task.cursor, task.origin)
    {
        return Ok(chunk);
    }
    session.asks_stream(interest.id());
    let tip = worker.hub().borrow().tip((interest.id(), encoding)).unwrap_or(0);
    worker
        .history()
        .read(interest, encoding, task.cursor, tip, task.origin)
        .await
}

impl Session {
    /// The next subscription that is behind and does not rest, another one each turn.
    fn next_behind(&self, turn: usize, now: Instant) -> Next {
        let subscriptions = self.subscriptions.borrow();
        let behind = subscriptions
            .iter()
            .filter_map(|held| Some((held, held.behind.as_ref()?)));
        let count = behind.clone().count();
        let mut soonest = None::<Instant>;
        for (held, behind) in behind.cycle().skip(turn % count.max(1)).take(count) {
            let rests = behind.rest.map(|rest| rest.until).filter(|until| *until > now);
            let Some(until) = rests else {
                return Next::Read(Task::of(self, held, behind));
            };
            soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
        }
        soonest.map_or(Next::Level, Next::Rest)
    }

    /// Whether the session ends before an audit could say what of the live feed of a pattern is certain, so that it reads
    /// from the stream alone.
    pub(super) fn reads_stream_alone(&self, channel: &Channel) -> bool {
        self.is_one_answer() && channel.is_wildcard()
    }

    /// What a subscription lacks is not in memory.
    fn asks_stream(&self, interest: InterestId) {
        self.with_subscription(interest, |held| {
            if let Some(resumes) = held.behind.as_mut().and_then(|behind| behind.resumes.as_mut()) {
                *resumes = Recovery::DirectGet;
            }
        });
    }

    /// A read has failed: the subscription rests, each time longer, and holds up no other.
    fn put_off(&self, task: &Task) {
        self.with_subscription(task.seat.interest, |held| {
            if let Some(behind) = &mut held.behind {
                let pause = behind
                    .rest
                    .map_or(FIRST_PAUSE, |rest| (rest.pause * 2).min(LONGEST_PAUSE));
                let until = Instant::now() + pause.mul_f64(1.0 - fastrand::f64() / 2.0);
                behind.rest = Some(Rest { until, pause });
            }
        });
    }

    /// Writes what the ring holds of what the client lacks, if that takes no more than one chunk; true if the
    /// subscription is in step then.
    pub(super) fn catch_up_at_once(&self, worker: &Worker, interest: &Arc<Interest>) -> bool {
        let task = {
            let subscriptions = self.subscriptions.borrow();
            let held = subscriptions
                .iter()
                .find(|held| held.seat.interest == interest.id());
            held.and_then(|held| Some(Task::of(self, held, held.behind.as_ref()?)))
        };
        let Some(task) = task else { return true };
        if let Some(chunk) = worker
            .history()
            .recent(interest, task.encoding, task.cursor, task.origin)
        {
            self.take(worker, &task, &chunk);
        }
        let subscriptions = self.subscriptions.borrow();
        let held = subscriptions
            .iter()
            .find(|held| held.seat.interest == interest.id());
        held.is_some_and(|held| held.behind.is_none())
    }

    /// Writes what the client lacks of a chunk, or lets it wait, as far as there is room; puts the subscription in step
    /// if that is all there is.
    fn take(&self, worker: &Worker, task: &Task, chunk: &Chunk) -> Taken {
        if self.is_ending() {
            return Taken::Some;
        }
        let mut subscriptions = self.subscriptions.borrow_mut();
        let found = subscriptions
            .iter_mut()
            .find(|held| held.seat.interest == task.seat.interest);
        // It may be gone by now, or have been sent elsewhere in the stream.
        let Some(held) = found.filter(|held| held.life == task.life) else {
            return Taken::Some;
        };
        let Some(behind) = held.behind.as_mut().filter(|behind| behind.cursor == task.cursor) else {
            return Taken::Some;
        };
        behind.rest = None;
        let channel = &held.channel;
        if let Some(lost) = chunk.lost.and_then(|lost| behind.tell(lost)) {
            worker.meters().announced(&LostReason::Trimmed, 1);
            let lost = lost_push(channel, lost, LostReason::Trimmed);
            self.push_message(self.encoding.encode(&lost.into()));
        }
        let before = behind.cursor.offset();
        let mut cursor = chunk.to.max(before);
        for run in behind.lacks(&chunk.batch) {
            let taken = self.offer(&chunk.batch, run.clone(), channel);
            if taken < run.len() {
                let last = (run.start + taken).checked_sub(1);
                let last = last.map_or(before, |last| chunk.batch.entries()[last].offset);
                cursor = last.max(before);
                break;
            }
        }
        if cursor == before && chunk.to > before && !chunk.batch.is_empty() {
            // The cursor stays what it was.
            return Taken::NoRoom;
        }
        behind.reach(cursor);
        let hub = worker.hub().borrow();
        let key = (task.seat.interest, task.encoding);
        if channel.is_wildcard() {
            if chunk.live && cursor > before {
                held.fed.add(before, cursor);
            }
            held.fed.prune(hub.certain(key));
        }
        if hub.level(held.seat, task.encoding, cursor) {
            if let Some(source) = behind.resumes {
                behind.span.note("tailwater.source", source.name());
                worker.meters().recoveries.of(source).add(1);
            }
            held.behind = None;
            if channel.is_wildcard() {
                // From here a resume is safe, if all of it was read from the stream.
                if held.fed.is_empty()
                    && let Some(frame) = hub
                        .epoch(key)
                        .and_then(|epoch| position(self.encoding, channel, epoch, cursor))
                {
                    self.push_message(frame);
                }
                if task.origin == Origin::Any {
                    held.fed.open(cursor);
                }
            }
        }
        Taken::Some
    }
}

/// Publications in this range, both ends included, are missing.
pub(super) fn lost_push(channel: &Channel, (from, to): (u64, u64), reason: LostReason) -> Push {
    Push::Lost(Lost {
        channel: channel.clone(),
        from: Offset::new(from).ok(),
        to: Offset::new(to).ok(),
        count: None,
        reason,
    })
}
