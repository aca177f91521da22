//! Durable channels in the hub: who is in step gets each batch by the walk; who is not reads on by itself (see
//! `session::recovery`) until it has everything up to the tip, and takes its place in the walk again.
//!
//! Cost beside a live channel: one comparison a subscriber.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::SystemTime;

use tailwater_broker::feed::{Delivery, InterestId, Membership};
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::position::{Epoch, Offset};
use tailwater_protocol::push::{Lost, LostReason, Push};

use super::measure::{count, trace};
use super::{Audience, AudienceKey, BEHIND, Hub, Kind, Seat, Seated, each, walk};
use crate::limits::memory::Memory;
use crate::metrics::meters::Promise;
use crate::session::Session;
use crate::telemetry::traces::Tracer;

/// How far an audience has come.
#[derive(Debug)]
pub(super) struct Standing {
    /// Whoever is in step has everything up to here.
    tip: u64,
    /// Of a pattern: everything up to here was certainly passed on by the feed.
    certain: u64,
    epoch: Epoch,
}

impl Hub {
    /// Adds a session to the audience of a durable channel; it has everything up to `cursor`, or reads on from there if
    /// that is not enough to be in step. `tip` is how far the feed has come, in `epoch`.
    pub(crate) fn add_stored(
        &mut self,
        membership: &Membership,
        session: &Rc<Session>,
        cursor: Option<u64>,
        (tip, epoch): (u64, &Epoch),
    ) -> (Seat, bool) {
        let interest = membership.interest();
        let key = (interest.id(), membership.encoding());
        let audience = self.audiences.entry(key).or_insert_with(|| Audience {
            channel: interest.channel().clone(),
            kind: Kind::Stored(Standing {
                tip,
                certain: 0,
                epoch: epoch.clone(),
            }),
            sessions: Vec::new(),
            walking: false,
            holes: false,
        });
        // All who were there have left during a walk: the feed may have not been asked for some time.
        if audience.sessions.iter().all(Option::is_none)
            && let Kind::Stored(standing) = &mut audience.kind
        {
            standing.tip = tip;
        }
        let tip = audience.tip().unwrap_or(tip);
        let after = cursor.filter(|cursor| *cursor >= tip).unwrap_or(BEHIND);
        (audience.seat(interest.id(), session, after), after == BEHIND)
    }

    /// How far the audience has come that a subscriber is to be in step with.
    pub(crate) fn tip(&self, key: AudienceKey) -> Option<u64> {
        self.audiences.get(&key)?.tip()
    }

    /// What the session at `seat` has, if it is in step.
    pub(crate) fn has(&self, seat: Seat, encoding: Encoding) -> Option<u64> {
        let audience = self.audiences.get(&(seat.interest, encoding))?;
        let seated = audience.sessions.get(seat.place)?.as_ref()?;
        let after = seated.after.get();
        (after != BEHIND).then(|| after.max(audience.tip().unwrap_or(0)))
    }

    /// Whether somebody is on the way through the audience.
    pub(crate) fn is_walking(&self, key: AudienceKey) -> bool {
        self.audiences.get(&key).is_some_and(|audience| audience.walking)
    }

    /// Everything up to here was certainly passed on by the feed.
    pub(crate) fn certain(&self, key: AudienceKey) -> u64 {
        match self.audiences.get(&key).map(|audience| &audience.kind) {
            Some(Kind::Stored(standing)) => standing.certain,
            _ => 0,
        }
    }

    /// The epoch of an audience.
    pub(crate) fn epoch(&self, key: AudienceKey) -> Option<&Epoch> {
        match &self.audiences.get(&key)?.kind {
            Kind::Stored(standing) => Some(&standing.epoch),
            Kind::Live(_) => None,
        }
    }

    /// Puts a session that has everything up to `cursor` in step, if that is enough.
    pub(crate) fn level(&self, seat: Seat, encoding: Encoding, cursor: u64) -> bool {
        let Some(audience) = self.audiences.get(&(seat.interest, encoding)) else {
            return false;
        };
        let is_level = audience.tip().is_some_and(|tip| cursor >= tip);
        if is_level && let Some(Some(seated)) = audience.sessions.get(seat.place) {
            seated.after.set(cursor);
        }
        is_level
    }

    /// The audience has come to `to`. Gives how far it was before; nothing if it was there.
    fn advance(&mut self, key: AudienceKey, to: u64) -> Option<u64> {
        match &mut self.audiences.get_mut(&key)?.kind {
            Kind::Stored(standing) => {
                let tip = &mut standing.tip;
                (to > *tip).then(|| std::mem::replace(tip, to))
            }
            Kind::Live(_) => None,
        }
    }
}

impl Audience {
    fn tip(&self) -> Option<u64> {
        match &self.kind {
            Kind::Stored(standing) => Some(standing.tip),
            Kind::Live(_) => None,
        }
    }
}

impl Seated {
    /// What the session has, if it is in step with an audience that has come to `tip`.
    fn has(&self, tip: u64) -> Option<u64> {
        let after = self.after.get();
        (after != BEHIND).then(|| after.max(tip))
    }

    /// From now on the session reads on by itself, from `cursor`.
    fn fall_behind(&self, interest: InterestId, cursor: u64) {
        self.after.set(BEHIND);
        self.session.fall_behind(interest, cursor);
    }
}

/// Makes one span of two if the second follows the first; both or none must be of a durable channel.
pub(super) fn extend(whole: &mut Option<(u64, u64)>, next: Option<(u64, u64)>) -> bool {
    match (whole, next) {
        (None, None) => true,
        (Some((_, end)), Some((from, to))) if from == *end => {
            *end = to;
            true
        }
        _ => false,
    }
}

/// Passes on what concerns durable channels alone.
pub(super) async fn deliver(hub: &RefCell<Hub>, delivery: Delivery, memory: &Memory, tracer: &Tracer) {
    match delivery {
        Delivery::Batch {
            interest,
            encoding,
            batch,
            span: Some((from, to)),
            origin,
        } => {
            let key = (interest, encoding);
            let Some(tip) = hub.borrow_mut().advance(key, to) else {
                return;
            };
            let sessions = walk(hub, key, |audience, seated| {
                let Some(has) = seated.has(tip) else {
                    return seated.session.left(&batch, 0..batch.len());
                };
                if from > has {
                    seated.session.left(&batch, 0..batch.len());
                    return seated.fall_behind(interest, has);
                }
                if let Err(cursor) = seated.session.deliver_stored(&batch, has, &audience.channel) {
                    memory.meters().catch_ups.add(1);
                    seated.fall_behind(interest, cursor);
                }
            })
            .await;
            let sessions = count(memory, Promise::Durable, sessions, &batch);
            // Once a batch: the clock is not looked at for each subscriber.
            let Some(origin) = origin.filter(|_| sessions > 0) else {
                return;
            };
            if let Some(stored_at) = origin.stored_at {
                let delay = SystemTime::now().duration_since(stored_at).unwrap_or_default();
                memory.meters().delivery_delay.record(delay);
            }
            trace(hub, key, tracer, &origin, (Promise::Durable, sessions));
        }
        Delivery::Advance {
            interest,
            encoding,
            to,
        } => {
            for encoding in each(encoding) {
                let key = (interest, encoding);
                let Some(tip) = hub.borrow_mut().advance(key, to) else {
                    continue;
                };
                walk(hub, key, |_, seated| {
                    if let Some(has) = seated.has(tip).filter(|has| *has < to) {
                        seated.fall_behind(interest, has);
                    }
                })
                .await;
            }
        }
        Delivery::Rewind {
            interest,
            floor,
            seen,
            to,
        } => {
            for encoding in Encoding::ALL {
                let key = (interest, encoding);
                let before = hub.borrow().tip(key);
                let Some(tip) = before else { continue };
                hub.borrow_mut().advance(key, to);
                walk(hub, key, |_, seated| {
                    let has = seated.has(tip);
                    seated.after.set(BEHIND);
                    seated.session.rewind(interest, floor, has, &seen);
                })
                .await;
            }
        }
        Delivery::Certain {
            interest,
            from,
            offset,
        } => tell_position(hub, interest, from, offset).await,
        Delivery::Renewed {
            interest,
            epoch,
            life,
            to,
        } => renew(hub, interest, &epoch, life, to, memory).await,
        Delivery::Batch { span: None, .. } | Delivery::Lost { .. } => {}
    }
}

/// Tells everybody in step from where a resume is safe. `from` is how far an audience must have come to be in step.
async fn tell_position(hub: &RefCell<Hub>, interest: InterestId, from: u64, offset: u64) {
    for encoding in Encoding::ALL {
        let key = (interest, encoding);
        let frame = {
            let hub = hub.borrow();
            let Some(Audience {
                channel,
                kind: Kind::Stored(standing),
                ..
            }) = hub.audiences.get(&key)
            else {
                continue;
            };
            if standing.certain >= offset {
                continue;
            }
            position(encoding, channel, &standing.epoch, offset)
        };
        let tip = hub.borrow().tip(key).unwrap_or(0);
        hub.borrow_mut().advance(key, offset);
        walk(hub, key, |_, seated| match seated.has(tip) {
            // The worker has not got all that was passed on.
            Some(has) if has < from => seated.fall_behind(interest, has),
            // Not back behind where a session has begun.
            Some(_) if seated.after.get() <= offset => {
                if let Some(frame) = &frame {
                    seated.session.push_message(frame.clone());
                }
            }
            _ => {}
        })
        .await;
        if let Some(Audience {
            kind: Kind::Stored(standing),
            ..
        }) = hub.borrow_mut().audiences.get_mut(&key)
        {
            standing.certain = offset.max(standing.certain);
        }
    }
}

/// A `position` push.
pub(crate) fn position(
    encoding: Encoding,
    channel: &tailwater_protocol::channel::Channel,
    epoch: &Epoch,
    offset: u64,
) -> Option<bytes::Bytes> {
    let push = Push::Position {
        channel: channel.clone(),
        offset: Offset::new(offset).ok()?,
        epoch: epoch.clone(),
    };
    Some(encoding.encode(&push.into()))
}

/// The stream began anew: everybody is told, and reads it from its start.
async fn renew(hub: &RefCell<Hub>, interest: InterestId, epoch: &Epoch, life: u32, to: u64, memory: &Memory) {
    let keys = Encoding::ALL.map(|encoding| (interest, encoding));
    // All at once: who joins meanwhile joins the new life.
    let channels = keys.map(|key| {
        let mut hub = hub.borrow_mut();
        let audience = hub.audiences.get_mut(&key)?;
        audience.kind = Kind::Stored(Standing {
            tip: to,
            certain: 0,
            epoch: epoch.clone(),
        });
        Some(audience.channel.clone())
    });
    for (key, channel) in keys.into_iter().zip(channels) {
        let Some(channel) = channel else { continue };
        let encoding = key.1;
        let lost = Lost {
            channel: channel.clone(),
            from: None,
            to: None,
            count: None,
            reason: LostReason::EpochChanged,
        };
        let lost = encoding.encode(&Push::Lost(lost).into());
        let Some(position) = position(encoding, &channel, epoch, 0) else {
            return;
        };
        walk(hub, key, |_, seated| {
            // Who has joined since then knows of no other life.
            if seated.session.life(interest) == Some(life) {
                if let Some(has) = seated.has(0).filter(|has| *has < to) {
                    seated.fall_behind(interest, has);
                }
                return;
            }
            seated.after.set(BEHIND);
            seated.session.push_message(lost.clone());
            memory.meters().announced(&LostReason::EpochChanged, 1);
            seated.session.push_message(position.clone());
            seated.session.start_over(interest, life);
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_joined_only_if_one_follows_the_other() {
        let mut whole = Some((3, 7));
        assert!(extend(&mut whole, Some((7, 9))));
        assert_eq!(whole, Some((3, 9)));
        assert!(!extend(&mut whole, Some((10, 12))));
        assert!(!extend(&mut whole, None));
        assert!(extend(&mut None, None));
    }
}
