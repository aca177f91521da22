//! Which sessions of this worker subscribe to what, and the walk over them. What is special about durable channels is
//! in `stored`.
//!
//! Cost of one batch: one look-up by interest, then for each subscriber one direct, non-blocking write
//! from this loop; no task is woken for a client that keeps up. Every [`TURN`] writes the walk lets the
//! worker's other tasks run.

mod hash;
mod measure;
mod stored;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tailwater_broker::feed::{Delivery, InterestId, Membership};
use tailwater_protocol::batch::Batch;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::push::{Lost, LostReason, Push};

use crate::config::SlowConsumer;
use crate::limits::memory::Memory;
use crate::metrics::meters::Promise;
use crate::outbox::OutboxLimits;
use crate::session::Session;
use crate::telemetry::traces::Tracer;
use hash::BuildKeyHasher;
use measure::{count, join_origins, trace};
use stored::Standing;
pub(crate) use stored::position;

/// Sockets written to before the worker's other tasks get a turn: one to two milliseconds.
const TURN: usize = 256;

/// The subscribers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    audiences: HashMap<AudienceKey, Audience, BuildKeyHasher>,
}

/// Names an audience: the channel, and the encoding that its sessions get.
type AudienceKey = (InterestId, Encoding);

/// All sessions of this worker that get the same frames of one channel.
#[derive(Debug)]
struct Audience {
    channel: Channel,
    kind: Kind,
    /// An empty place is a session that left during a walk.
    sessions: Vec<Option<Seated>>,
    /// A walk is under way: nobody may change places.
    walking: bool,
    /// Somebody has left since it began.
    holes: bool,
}

/// What the audience was promised.
#[derive(Debug)]
enum Kind {
    /// At most once; this happens to a slow client.
    Live(SlowConsumer),
    /// Everything, in order.
    Stored(Standing),
}

/// One session in an audience.
#[derive(Debug)]
struct Seated {
    session: Rc<Session>,
    /// Of a durable channel: the session has everything up to this offset at least, or is [`BEHIND`].
    after: Cell<u64>,
}

/// In place of an offset: the session reads on by itself, and the walk passes it over.
const BEHIND: u64 = u64::MAX;

/// Where a session stands in an audience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) interest: InterestId,
    pub(crate) place: usize,
}

impl Hub {
    /// Adds a session to the audience of a live channel and says where it stands.
    pub(crate) fn add(
        &mut self,
        membership: &Membership,
        policy: SlowConsumer,
        session: &Rc<Session>,
    ) -> Seat {
        let interest = membership.interest();
        let key = (interest.id(), membership.encoding());
        let audience = self.audiences.entry(key).or_insert_with(|| Audience {
            channel: interest.channel().clone(),
            kind: Kind::Live(policy),
            sessions: Vec::new(),
            walking: false,
            holes: false,
        });
        audience.seat(interest.id(), session, 0)
    }

    /// Takes the session at `seat` out of its audience.
    pub(crate) fn remove(&mut self, seat: Seat, encoding: Encoding) {
        let key = (seat.interest, encoding);
        let Some(audience) = self.audiences.get_mut(&key) else {
            return;
        };
        let sessions = &mut audience.sessions;
        if audience.walking {
            sessions[seat.place] = None;
            audience.holes = true;
            return;
        }
        sessions.swap_remove(seat.place);
        if let Some(Some(moved)) = sessions.get(seat.place) {
            moved.session.move_seat(seat);
        }
        self.drop_if_empty(key);
    }

    fn drop_if_empty(&mut self, key: AudienceKey) {
        let empty = |audience: &Audience| audience.sessions.is_empty();
        if self.audiences.get(&key).is_some_and(empty) {
            self.audiences.remove(&key);
        }
    }

    /// Starts a walk: until its end, places are kept.
    fn begin_walk(&mut self, key: AudienceKey) -> bool {
        self.audiences
            .get_mut(&key)
            .map(|audience| audience.walking = true)
            .is_some()
    }

    /// Ends a walk, and says how many places it has passed.
    fn end_walk(&mut self, key: AudienceKey) -> usize {
        let Some(audience) = self.audiences.get_mut(&key) else {
            return 0;
        };
        audience.walking = false;
        let sessions = &mut audience.sessions;
        let places = sessions.len();
        if !std::mem::take(&mut audience.holes) {
            return places;
        }
        sessions.retain(Option::is_some);
        let (interest, _) = key;
        for (place, seated) in sessions.iter().flatten().enumerate() {
            seated.session.move_seat(Seat { interest, place });
        }
        self.drop_if_empty(key);
        places
    }

    /// Calls `deliver` for one turn of the audience, from `place` on; the next place, if there is one. `empty` counts
    /// places that nobody has any more.
    fn turn(
        &self,
        key: AudienceKey,
        place: usize,
        empty: &Cell<usize>,
        deliver: &impl Fn(&Audience, &Seated),
    ) -> Option<usize> {
        let audience = self.audiences.get(&key)?;
        let sessions = &audience.sessions;
        let end = sessions.len().min(place + TURN);
        let turn = &sessions[place.min(end)..end];
        if audience.holes {
            empty.set(empty.get() + turn.iter().filter(|seated| seated.is_none()).count());
        }
        for seated in turn.iter().flatten() {
            deliver(audience, seated);
        }
        (end < sessions.len()).then_some(end)
    }
}

impl Audience {
    fn seat(&mut self, interest: InterestId, session: &Rc<Session>, after: u64) -> Seat {
        self.sessions.push(Some(Seated {
            session: session.clone(),
            after: Cell::new(after),
        }));
        Seat {
            interest,
            place: self.sessions.len() - 1,
        }
    }
}

/// Passes everything in `deliveries` on to the sessions of this worker, in order for each channel.
pub(crate) async fn deliver(
    hub: &RefCell<Hub>,
    deliveries: &mut Vec<Delivery>,
    limits: OutboxLimits,
    memory: &Memory,
    tracer: &Tracer,
) {
    if deliveries.len() > 1 {
        join_batches(deliveries);
    }
    for delivery in deliveries.drain(..) {
        match delivery {
            Delivery::Batch {
                interest,
                encoding,
                batch,
                span: None,
                origin,
            } => {
                let sessions = walk(hub, (interest, encoding), |audience, seated| {
                    if let Kind::Live(policy) = audience.kind {
                        seated.session.deliver(&batch, &audience.channel, policy, limits);
                    }
                })
                .await;
                let sessions = count(memory, Promise::Live, sessions, &batch);
                if let Some(origin) = &origin {
                    trace(
                        hub,
                        (interest, encoding),
                        tracer,
                        origin,
                        (Promise::Live, sessions),
                    );
                }
            }
            Delivery::Lost {
                interest,
                encoding,
                count,
                reason,
            } => {
                for encoding in each(encoding) {
                    let key = (interest, encoding);
                    let Some(frame) = lost_frame(hub, key, count, &reason) else {
                        continue;
                    };
                    let told = push_to_all(hub, key, &frame).await;
                    memory.meters().announced(&reason, told);
                }
            }
            stored => stored::deliver(hub, stored, memory, tracer).await,
        }
    }
}

/// The encoding given, or all.
fn each(encoding: Option<Encoding>) -> impl Iterator<Item = Encoding> {
    Encoding::ALL
        .into_iter()
        .filter(move |each| encoding.is_none_or(|only| only == *each))
}

/// Sends one message to everybody in an audience, and says how many they are.
async fn push_to_all(hub: &RefCell<Hub>, key: AudienceKey, frame: &bytes::Bytes) -> u64 {
    walk(hub, key, |_, seated| {
        seated.session.push_message(frame.clone());
    })
    .await
}

/// Calls `deliver` for everybody in an audience, and says how many they are.
async fn walk(hub: &RefCell<Hub>, key: AudienceKey, deliver: impl Fn(&Audience, &Seated)) -> u64 {
    if !hub.borrow_mut().begin_walk(key) {
        return 0;
    }
    let (mut place, empty) = (0, Cell::new(0));
    loop {
        let next = hub.borrow().turn(key, place, &empty, &deliver);
        match next {
            Some(next) => place = next,
            None => break,
        }
        tokio::task::yield_now().await;
    }
    let places = hub.borrow_mut().end_walk(key);
    (places - empty.get()) as u64
}

fn lost_frame(
    hub: &RefCell<Hub>,
    key: AudienceKey,
    count: Option<u64>,
    reason: &LostReason,
) -> Option<bytes::Bytes> {
    let channel = hub.borrow().audiences.get(&key)?.channel.clone();
    let lost = Lost {
        channel,
        from: None,
        to: None,
        count,
        reason: reason.clone(),
    };
    Some(key.1.encode(&Push::Lost(lost).into()))
}

/// Joins the batches of one audience that arrived while the last walk was under way, so that
/// each socket gets them in one write. Whatever else is told about a channel stays where it is among its batches.
fn join_batches(deliveries: &mut Vec<Delivery>) {
    let mut joined: Vec<(Delivery, Vec<Batch>)> = Vec::with_capacity(deliveries.len());
    let mut open: HashMap<AudienceKey, usize> = HashMap::new();
    for delivery in deliveries.drain(..) {
        match &delivery {
            Delivery::Batch {
                interest,
                encoding,
                batch,
                span,
                origin,
            } => {
                let first = open.get(&(*interest, *encoding)).map(|index| &mut joined[*index]);
                if let Some((
                    Delivery::Batch {
                        span: whole,
                        origin: first,
                        ..
                    },
                    batches,
                )) = first
                    && stored::extend(whole, *span)
                {
                    join_origins(first, origin.as_ref());
                    batches.push(batch.clone());
                    continue;
                }
                open.insert((*interest, *encoding), joined.len());
                let batches = vec![batch.clone()];
                joined.push((delivery, batches));
            }
            Delivery::Lost { interest, .. }
            | Delivery::Advance { interest, .. }
            | Delivery::Rewind { interest, .. }
            | Delivery::Certain { interest, .. }
            | Delivery::Renewed { interest, .. } => {
                open.retain(|(opened, _), _| opened != interest);
                joined.push((delivery, Vec::new()));
            }
        }
    }
    let whole = joined.into_iter().map(|(delivery, batches)| match delivery {
        Delivery::Batch {
            interest,
            encoding,
            span,
            origin,
            ..
        } if batches.len() > 1 => Delivery::Batch {
            interest,
            encoding,
            batch: Batch::concat(&batches),
            span,
            origin,
        },
        other => other,
    });
    deliveries.extend(whole);
}
