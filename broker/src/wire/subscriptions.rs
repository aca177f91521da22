//! The subscriptions of a connection: found by number, without a search.
//!
//! The number that NATS repeats with every message holds the place in a table and a count of how often
//! that place was given away, so that a late message for an old subscription never reaches a new one.
//! Cost of a subscription beside the handler's own: about 40 bytes and the subject.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::BrokerError;

/// Bits of a number that hold the place.
const PLACE_BITS: u32 = 24;

/// The most subscriptions of one connection.
pub const MAX_SUBSCRIPTIONS: usize = 1 << 20;

/// Names a subscription for as long as its connection is used; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    /// The number in the protocol.
    pub(super) fn sid(self) -> u64 {
        self.0
    }

    /// Whether it stands before this place in the table.
    pub(super) fn is_before(self, place: usize) -> bool {
        self.place() < place
    }

    fn new(place: usize, generation: u64) -> Self {
        Self(generation << PLACE_BITS | place as u64)
    }

    fn place(self) -> usize {
        usize::try_from(self.0 & ((1 << PLACE_BITS) - 1)).expect("24 bits")
    }

    fn generation(self) -> u64 {
        self.0 >> PLACE_BITS
    }
}

/// Gives the numbers away, from any thread. Place 0 is the connection's own inbox.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    given: usize,
    /// Numbers that are free again, with the generation that they had.
    free: Vec<SubscriptionId>,
}

impl Numbers {
    /// The connection's own.
    pub(super) const INBOX: u64 = 0;

    /// A number that was never given.
    ///
    /// # Errors
    /// [`BrokerError::Busy`] if [`MAX_SUBSCRIPTIONS`] are in use.
    pub(super) fn take(&self) -> Result<SubscriptionId, BrokerError> {
        let mut state = self.lock();
        if let Some(old) = state.free.pop() {
            return Ok(SubscriptionId::new(old.place(), old.generation() + 1));
        }
        if state.given == MAX_SUBSCRIPTIONS {
            return Err(BrokerError::Busy);
        }
        state.given += 1;
        Ok(SubscriptionId::new(state.given, 0))
    }

    pub(super) fn give_back(&self, id: SubscriptionId) {
        self.lock().free.push(id);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Changed in single steps: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All subscriptions of a connection, with what its handler keeps for each.
#[derive(Debug)]
pub struct Subscriptions<S> {
    places: Vec<Option<Subscription<S>>>,
    length: usize,
}

#[derive(Debug)]
pub(super) struct Subscription<S> {
    pub(super) id: SubscriptionId,
    pub(super) subject: Box<str>,
    pub(super) state: S,
}

impl<S> Default for Subscriptions<S> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            length: 0,
        }
    }
}

impl<S> Subscriptions<S> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What the handler keeps for this one; nothing if it is gone.
    pub fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut S> {
        self.find(id.sid()).map(|(_, state)| state)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SubscriptionId, &mut S)> {
        self.places
            .iter_mut()
            .flatten()
            .map(|subscription| (subscription.id, &mut subscription.state))
    }

    /// The subscription with this number in the protocol.
    pub(super) fn find(&mut self, sid: u64) -> Option<(SubscriptionId, &mut S)> {
        let id = SubscriptionId(sid);
        let subscription = self.places.get_mut(id.place())?.as_mut()?;
        (subscription.id == id).then_some((id, &mut subscription.state))
    }

    pub(super) fn subject(&self, id: SubscriptionId) -> Option<&str> {
        let subscription = self.places.get(id.place())?.as_ref()?;
        (subscription.id == id).then_some(&subscription.subject)
    }

    pub(super) fn insert(&mut self, subscription: Subscription<S>) {
        let place = subscription.id.place();
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.length += 1;
        self.places[place] = Some(subscription);
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) -> Option<S> {
        let place = self.places.get_mut(id.place())?;
        if place.as_ref()?.id != id {
            return None;
        }
        self.length -= 1;
        place.take().map(|subscription| subscription.state)
    }

    /// The next subscription at this place or behind it, and the place after that.
    pub(super) fn next_from(&self, place: usize) -> Option<(&Subscription<S>, usize)> {
        let rest = self.places.get(place..)?;
        let found = rest
            .iter()
            .enumerate()
            .find_map(|(at, each)| Some((at, each.as_ref()?)));
        found.map(|(at, subscription)| (subscription, place + at + 1))
    }

    /// All whose subject is wanted.
    pub(super) fn ids_where(&self, mut wanted: impl FnMut(&str) -> bool) -> Vec<SubscriptionId> {
        let all = self.places.iter().flatten();
        all.filter(|each| wanted(&each.subject))
            .map(|each| each.id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribe(
        numbers: &Numbers,
        subscriptions: &mut Subscriptions<u32>,
        subject: &str,
        state: u32,
    ) -> SubscriptionId {
        let id = numbers.take().expect("a free number");
        let subject = subject.into();
        subscriptions.insert(Subscription { id, subject, state });
        id
    }

    #[test]
    fn a_place_is_used_again_but_its_number_is_not() {
        let numbers = Numbers::default();
        let mut all = Subscriptions::default();
        let first = subscribe(&numbers, &mut all, "a", 1);
        let second = subscribe(&numbers, &mut all, "b", 2);
        assert_eq!((first.sid(), second.sid()), (1, 2));
        assert_eq!(all.remove(first), Some(1));
        assert_eq!(all.remove(first), None);
        numbers.give_back(first);
        let third = subscribe(&numbers, &mut all, "c", 3);
        assert_eq!(third.place(), first.place());
        assert_ne!(third, first);
        assert_eq!(all.get_mut(first), None);
        assert_eq!(all.get_mut(third), Some(&mut 3));
        assert_eq!((all.subject(first), all.subject(third)), (None, Some("c")));
        assert_eq!(all.len(), 2);
        assert_eq!(all.find(u64::MAX), None);
    }

    #[test]
    fn all_are_walked_in_steps() {
        let numbers = Numbers::default();
        let mut all = Subscriptions::default();
        let ids: Vec<_> = (0..4)
            .map(|n| subscribe(&numbers, &mut all, &format!("s{n}"), n))
            .collect();
        all.remove(ids[1]);
        let mut walked = Vec::new();
        let mut place = 0;
        while let Some((subscription, next)) = all.next_from(place) {
            walked.push(subscription.state);
            place = next;
        }
        assert_eq!(walked, [0, 2, 3]);
        assert_eq!(all.ids_where(|subject| subject == "s2"), [ids[2]]);
    }
}
