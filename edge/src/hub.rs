//! Which sessions of this worker subscribe to what, and the walk over them.
//!
//! Cost of one batch: one look-up by interest, then for each subscriber one direct, non-blocking write
//! from this loop; no task is woken for a client that keeps up. Every [`TURN`] writes the walk lets the
//! worker's other tasks run.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tailwater_broker::feed::{Delivery, InterestId};
use tailwater_protocol::batch::Batch;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::push::{Lost, LostReason, Push};

use crate::config::{Delivery as Promise, Namespace, SlowConsumer};
use crate::frames;
use crate::outbox::OutboxLimits;
use crate::session::Session;

/// Sockets written to before the worker's other tasks get a turn: one to two milliseconds.
const TURN: usize = 256;

/// The subscribers of one worker.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    audiences: HashMap<InterestId, Audience>,
}

/// All sessions of this worker that subscribe to one channel.
#[derive(Debug)]
struct Audience {
    channel: Channel,
    policy: SlowConsumer,
    /// By codec; an empty place is a session that left during a walk.
    sessions: [Vec<Option<Rc<Session>>>; 2],
    /// A walk is under way: nobody may change places.
    walking: bool,
}

/// Where a session stands in an audience.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) interest: InterestId,
    pub(crate) place: usize,
}

fn policy(namespace: &Namespace) -> SlowConsumer {
    match namespace.delivery {
        Promise::Live { slow_consumer } => slow_consumer,
        // Not reached yet: the configuration refuses durable namespaces.
        Promise::Durable { .. } => SlowConsumer::Disconnect,
    }
}

fn side(codec: Codec) -> usize {
    match codec {
        Codec::Json => 0,
        Codec::MessagePack => 1,
    }
}

impl Hub {
    /// Adds a session to the audience of a channel and says where it stands.
    pub(crate) fn add(
        &mut self,
        interest: InterestId,
        channel: &Channel,
        namespace: &Namespace,
        session: &Rc<Session>,
    ) -> Seat {
        let audience = self.audiences.entry(interest).or_insert_with(|| Audience {
            channel: channel.clone(),
            policy: policy(namespace),
            sessions: Default::default(),
            walking: false,
        });
        let sessions = &mut audience.sessions[side(session.codec())];
        sessions.push(Some(session.clone()));
        Seat {
            interest,
            place: sessions.len() - 1,
        }
    }

    /// Takes the session at `seat` out of its audience.
    pub(crate) fn remove(&mut self, seat: Seat, codec: Codec) {
        let Some(audience) = self.audiences.get_mut(&seat.interest) else {
            return;
        };
        let sessions = &mut audience.sessions[side(codec)];
        if audience.walking {
            sessions[seat.place] = None;
            return;
        }
        sessions.swap_remove(seat.place);
        if let Some(Some(moved)) = sessions.get(seat.place) {
            moved.move_seat(seat);
        }
        self.drop_if_empty(seat.interest);
    }

    fn drop_if_empty(&mut self, interest: InterestId) {
        let empty = |audience: &Audience| audience.sessions.iter().all(Vec::is_empty);
        if self.audiences.get(&interest).is_some_and(empty) {
            self.audiences.remove(&interest);
        }
    }

    /// Starts a walk: until its end, places are kept.
    fn begin_walk(&mut self, interest: InterestId) -> bool {
        self.audiences
            .get_mut(&interest)
            .map(|audience| audience.walking = true)
            .is_some()
    }

    fn end_walk(&mut self, interest: InterestId) {
        let Some(audience) = self.audiences.get_mut(&interest) else {
            return;
        };
        audience.walking = false;
        for sessions in &mut audience.sessions {
            if sessions.iter().all(Option::is_some) {
                continue;
            }
            sessions.retain(Option::is_some);
            for (place, session) in sessions.iter().flatten().enumerate() {
                session.move_seat(Seat { interest, place });
            }
        }
        self.drop_if_empty(interest);
    }

    /// Calls `deliver` for one turn of the audience, from `place` on; the next place, if there is one.
    fn turn(
        &self,
        interest: InterestId,
        codec: Codec,
        place: usize,
        deliver: &impl Fn(&Audience, &Rc<Session>),
    ) -> Option<usize> {
        let audience = self.audiences.get(&interest)?;
        let sessions = &audience.sessions[side(codec)];
        let end = sessions.len().min(place + TURN);
        for session in sessions[place.min(end)..end].iter().flatten() {
            deliver(audience, session);
        }
        (end < sessions.len()).then_some(end)
    }
}

/// Passes everything in `deliveries` on to the sessions of this worker, in order for each channel.
pub(crate) async fn deliver(hub: &RefCell<Hub>, deliveries: &mut Vec<Delivery>, limits: OutboxLimits) {
    for delivery in join_batches(deliveries) {
        match delivery {
            Delivery::Batch {
                interest,
                codec,
                batch,
            } => {
                walk(hub, interest, codec, |audience, session| {
                    session.deliver(&batch, &audience.channel, audience.policy, limits);
                })
                .await;
            }
            Delivery::Lost {
                interest,
                codec,
                count,
                reason,
            } => {
                for codec in Codec::ALL
                    .into_iter()
                    .filter(|each| codec.is_none_or(|only| only == *each))
                {
                    let Some(frame) = lost_frame(hub, interest, codec, count, &reason) else {
                        continue;
                    };
                    walk(hub, interest, codec, |_, session| {
                        session.push_message(frame.clone())
                    })
                    .await;
                }
            }
        }
    }
}

async fn walk(
    hub: &RefCell<Hub>,
    interest: InterestId,
    codec: Codec,
    deliver: impl Fn(&Audience, &Rc<Session>),
) {
    if !hub.borrow_mut().begin_walk(interest) {
        return;
    }
    let mut place = 0;
    loop {
        let next = hub.borrow().turn(interest, codec, place, &deliver);
        match next {
            Some(next) => place = next,
            None => break,
        }
        tokio::task::yield_now().await;
    }
    hub.borrow_mut().end_walk(interest);
}

fn lost_frame(
    hub: &RefCell<Hub>,
    interest: InterestId,
    codec: Codec,
    count: Option<u64>,
    reason: &LostReason,
) -> Option<bytes::Bytes> {
    let channel = hub.borrow().audiences.get(&interest)?.channel.clone();
    let lost = Lost {
        channel,
        from: None,
        to: None,
        count,
        reason: reason.clone(),
    };
    Some(frames::message(codec, Push::Lost(lost)))
}

/// Joins the batches of one channel and codec that arrived while the last walk was under way, so that
/// each socket gets them in one write. A notice of loss stays where it is among its channel's batches.
fn join_batches(deliveries: &mut Vec<Delivery>) -> impl Iterator<Item = Delivery> {
    let mut joined: Vec<(Delivery, Vec<Batch>)> = Vec::with_capacity(deliveries.len());
    let mut open: HashMap<(InterestId, Codec), usize> = HashMap::new();
    for delivery in deliveries.drain(..) {
        match &delivery {
            Delivery::Batch {
                interest,
                codec,
                batch,
            } => {
                if let Some(index) = open.get(&(*interest, *codec)) {
                    joined[*index].1.push(batch.clone());
                    continue;
                }
                open.insert((*interest, *codec), joined.len());
                let batches = vec![batch.clone()];
                joined.push((delivery, batches));
            }
            Delivery::Lost { interest, .. } => {
                open.retain(|(opened, _), _| opened != interest);
                joined.push((delivery, Vec::new()));
            }
        }
    }
    joined.into_iter().map(|(delivery, batches)| match delivery {
        Delivery::Batch { interest, codec, .. } if batches.len() > 1 => Delivery::Batch {
            interest,
            codec,
            batch: Batch::concat(&batches),
        },
        other => other,
    })
}
