//! Where a session stands in its channels: from there another one may go on and misses nothing.

use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::Subscribe;
use tailwater_protocol::event_stream::Places;
use tailwater_protocol::position::{Epoch, Offset, Position, Since};

use super::Session;
use crate::worker::Worker;

/// Where a session stands in one channel.
pub(super) struct Standing {
    /// It has everything up to here.
    pub(super) offset: Option<Offset>,
    pub(super) epoch: Option<Epoch>,
}

/// What a request asks for, and where its client stands in that before anything comes.
pub(super) struct Start {
    pub(super) channels: Vec<Channel>,
    places: Places,
}

impl Start {
    pub(super) fn of(subscribes: &[Subscribe]) -> Self {
        let place = |one: &Subscribe| match &one.since {
            Some(Since::Position(place)) => Some(place.clone()),
            _ => None,
        };
        Self {
            channels: subscribes.iter().map(|one| one.channel.clone()).collect(),
            places: Places(subscribes.iter().map(place).collect()),
        }
    }

    /// What the client sends to go on: of a channel that the session does not hold, the place that the client had.
    pub(super) fn cursor(&self, places: &Places) -> Places {
        let places = places.0.iter().zip(&self.places.0);
        Places(
            places
                .map(|(now, before)| now.as_ref().or(before.as_ref()).cloned())
                .collect(),
        )
    }
}

impl Session {
    /// Where it stands in a channel that it holds; nothing of a live one, or if it does not hold it.
    pub(super) fn standing(&self, worker: &Worker, channel: &Channel) -> Option<Standing> {
        let subscriptions = self.subscriptions.borrow();
        let hub = worker.hub().borrow();
        let held = subscriptions.iter().find(|held| held.channel == *channel)?;
        let encoding = held.membership.encoding();
        let key = (held.seat.interest, encoding);
        let has = match &held.behind {
            Some(behind) => behind.cursor.offset(),
            None => hub.has(held.seat, encoding)?,
        };
        let offset = held.fed.certain(has, hub.certain(key));
        Some(Standing {
            offset: Offset::new(offset).ok(),
            epoch: hub.epoch(key).cloned(),
        })
    }

    /// Where it stands in each of `channels`. Nothing while the hub is on its way through the audience of one of them:
    /// whether it has been here cannot be told.
    pub(super) fn places(&self, worker: &Worker, channels: &[Channel]) -> Option<Places> {
        let is_underway = {
            let (subscriptions, hub) = (self.subscriptions.borrow(), worker.hub().borrow());
            subscriptions
                .iter()
                .any(|held| hub.is_walking((held.seat.interest, held.membership.encoding())))
        };
        if is_underway {
            return None;
        }
        let place = |channel| {
            let Standing { offset, epoch } = self.standing(worker, channel)?;
            offset
                .zip(epoch)
                .map(|(offset, epoch)| Position { offset, epoch })
        };
        Some(Places(channels.iter().map(place).collect()))
    }
}
