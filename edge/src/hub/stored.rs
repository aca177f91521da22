//! Durable channels in the hub: who is in step gets each batch by the walk; who is not reads on by itself (see
//! `session::recovery`) until it has everything up to the tip, and takes its place in the walk again.
//!
//! Cost beside a live channel: one comparison a subscriber.

use std::cell::RefCell;
use std::rc::Rc;

use tailwater_broker::feed::{Delivery, Interest, InterestId};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::position::{Epoch, Offset};
use tailwater_protocol::push::{Lost, LostReason, Push};

use super::{Audience, BEHIND, Hub, Kind, Seat, Seated, each, side, walk};
use crate::session::Session;

/// How far an audience has come.
#[derive(Debug)]
pub(super) struct Standing {
    /// By codec: whoever is in step has everything up to here.
    tips: [u64; 2],
    /// Of a pattern: everything up to here was certainly passed on by the feed.
    certain: u64,
    epoch: Epoch,
}

impl Hub {
    /// Adds a session to the audience of a durable channel; it has everything up to `cursor`, or reads on from there if
    /// that is not enough to be in step. `tip` is how far the feed has come, in `epoch`.
    pub(crate) fn add_stored(
        &mut self,
        interest: &Interest,
        session: &Rc<Session>,
        cursor: Option<u64>,
        (tip, epoch): (u64, &Epoch),
    ) -> (Seat, bool) {
        let id = interest.id();
        let audience = self.audiences.entry(id).or_insert_with(|| Audience {
            channel: interest.channel().clone(),
            kind: Kind::Stored(Standing {
                tips: [tip; 2],
                certain: 0,
                epoch: epoch.clone(),
            }),
            sessions: Default::default(),
            walking: false,
        });
        let place = side(session.codec());
        // The first who speaks a codec: the feed was not asked for it before.
        if audience.sessions[place].iter().all(Option::is_none)
            && let Kind::Stored(standing) = &mut audience.kind
        {
            standing.tips[place] = tip;
        }
        let tip = audience.tip(session.codec()).unwrap_or(tip);
        let after = cursor.filter(|cursor| *cursor >= tip).unwrap_or(BEHIND);
        (audience.seat(id, session, after), after == BEHIND)
    }

    /// How far the audience has come that a subscriber is to be in step with.
    pub(crate) fn tip(&self, interest: InterestId, codec: Codec) -> Option<u64> {
        self.audiences.get(&interest)?.tip(codec)
    }

    /// What the session at `seat` has, if it is in step.
    pub(crate) fn has(&self, seat: Seat, codec: Codec) -> Option<u64> {
        let audience = self.audiences.get(&seat.interest)?;
        let seated = audience.sessions[side(codec)].get(seat.place)?.as_ref()?;
        let after = seated.after.get();
        (after != BEHIND).then(|| after.max(audience.tip(codec).unwrap_or(0)))
    }

    /// Everything up to here was certainly passed on by the feed.
    pub(crate) fn certain(&self, interest: InterestId) -> u64 {
        match self.audiences.get(&interest).map(|audience| &audience.kind) {
            Some(Kind::Stored(standing)) => standing.certain,
            _ => 0,
        }
    }

    /// The epoch of an audience.
    pub(crate) fn epoch(&self, interest: InterestId) -> Option<&Epoch> {
        match &self.audiences.get(&interest)?.kind {
            Kind::Stored(standing) => Some(&standing.epoch),
            Kind::Live(_) => None,
        }
    }

    /// Puts a session that has everything up to `cursor` in step, if that is enough.
    pub(crate) fn level(&self, seat: Seat, codec: Codec, cursor: u64) -> bool {
        let Some(audience) = self.audiences.get(&seat.interest) else {
            return false;
        };
        let is_level = audience.tip(codec).is_some_and(|tip| cursor >= tip);
        if is_level && let Some(Some(seated)) = audience.sessions[side(codec)].get(seat.place) {
            seated.after.set(cursor);
        }
        is_level
    }

    /// The audience has come to `to`. Gives how far it was before; nothing if it was there.
    fn advance(&mut self, interest: InterestId, codec: Codec, to: u64) -> Option<u64> {
        match &mut self.audiences.get_mut(&interest)?.kind {
            Kind::Stored(standing) => {
                let tip = &mut standing.tips[side(codec)];
                (to > *tip).then(|| std::mem::replace(tip, to))
            }
            Kind::Live(_) => None,
        }
    }
}

impl Audience {
    fn tip(&self, codec: Codec) -> Option<u64> {
        match &self.kind {
            Kind::Stored(standing) => Some(standing.tips[side(codec)]),
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
pub(super) async fn deliver(hub: &RefCell<Hub>, delivery: Delivery) {
    match delivery {
        Delivery::Batch {
            interest,
            codec,
            batch,
            span: Some((from, to)),
        } => {
            let Some(tip) = hub.borrow_mut().advance(interest, codec, to) else {
                return;
            };
            walk(hub, interest, codec, |audience, seated| {
                let Some(has) = seated.has(tip) else { return };
                if from > has {
                    return seated.fall_behind(interest, has);
                }
                if let Err(cursor) = seated.session.deliver_stored(&batch, has, &audience.channel) {
                    seated.fall_behind(interest, cursor);
                }
            })
            .await;
        }
        Delivery::Advance { interest, codec, to } => {
            for codec in each(codec) {
                let Some(tip) = hub.borrow_mut().advance(interest, codec, to) else {
                    continue;
                };
                walk(hub, interest, codec, |_, seated| {
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
            for codec in Codec::ALL {
                let before = hub.borrow().tip(interest, codec);
                let Some(tip) = before else { return };
                hub.borrow_mut().advance(interest, codec, to);
                walk(hub, interest, codec, |_, seated| {
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
        } => renew(hub, interest, &epoch, life, to).await,
        Delivery::Batch { span: None, .. } | Delivery::Lost { .. } => {}
    }
}

/// Tells everybody in step from where a resume is safe. `from` is how far an audience must have come to be in step.
async fn tell_position(hub: &RefCell<Hub>, interest: InterestId, from: u64, offset: u64) {
    for codec in Codec::ALL {
        let frame = {
            let hub = hub.borrow();
            let Some(Audience {
                channel,
                kind: Kind::Stored(standing),
                ..
            }) = hub.audiences.get(&interest)
            else {
                return;
            };
            if standing.certain >= offset {
                return;
            }
            position(codec, channel, &standing.epoch, offset)
        };
        let tip = hub.borrow().tip(interest, codec).unwrap_or(0);
        hub.borrow_mut().advance(interest, codec, offset);
        walk(hub, interest, codec, |_, seated| match seated.has(tip) {
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
    }
    if let Some(Audience {
        kind: Kind::Stored(standing),
        ..
    }) = hub.borrow_mut().audiences.get_mut(&interest)
    {
        standing.certain = offset.max(standing.certain);
    }
}

/// A `position` push.
pub(crate) fn position(
    codec: Codec,
    channel: &tailwater_protocol::channel::Channel,
    epoch: &Epoch,
    offset: u64,
) -> Option<bytes::Bytes> {
    let push = Push::Position {
        channel: channel.clone(),
        offset: Offset::new(offset).ok()?,
        epoch: epoch.clone(),
    };
    Some(codec.encode_frame(&push.into()))
}

/// The stream began anew: everybody is told, and reads it from its start.
async fn renew(hub: &RefCell<Hub>, interest: InterestId, epoch: &Epoch, life: u32, to: u64) {
    let channel = {
        let mut hub = hub.borrow_mut();
        let Some(audience) = hub.audiences.get_mut(&interest) else {
            return;
        };
        audience.kind = Kind::Stored(Standing {
            tips: [to; 2],
            certain: 0,
            epoch: epoch.clone(),
        });
        audience.channel.clone()
    };
    for codec in Codec::ALL {
        let lost = Lost {
            channel: channel.clone(),
            from: None,
            to: None,
            count: None,
            reason: LostReason::EpochChanged,
        };
        let lost = codec.encode_frame(&Push::Lost(lost).into());
        let Some(position) = position(codec, &channel, epoch, 0) else {
            return;
        };
        walk(hub, interest, codec, |_, seated| {
            // Who has joined since then knows of no other life.
            if seated.session.life(interest) == Some(life) {
                if let Some(has) = seated.has(0).filter(|has| *has < to) {
                    seated.fall_behind(interest, has);
                }
                return;
            }
            seated.after.set(BEHIND);
            seated.session.push_message(lost.clone());
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
