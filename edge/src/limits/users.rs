//! Sessions by user, in all workers together. Only users with sessions are kept, so there are never more of them than
//! connections.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts with a lock each, held for one look-up.
const SHARDS: usize = 64;

type Shard = HashMap<Arc<str>, u32>;

/// What users are counted in.
#[derive(Debug)]
pub(crate) struct Users {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    most: u32,
}

/// A session of a user; counts until it is dropped. One by default counts for nobody.
#[derive(Debug, Default)]
pub(crate) struct UserPlace(Option<(Arc<Users>, Arc<str>)>);

impl Users {
    /// A user may have so many sessions; 0: no limit.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            most,
        }
    }

    /// Counts a session of a user; nothing if it has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, user: &Arc<str>) -> Option<UserPlace> {
        if self.most == 0 {
            return Some(UserPlace::default());
        }
        let mut shard = self.shard(user);
        let open = shard.entry(user.clone()).or_default();
        if *open >= self.most {
            return None;
        }
        *open += 1;
        Some(UserPlace(Some((self.clone(), user.clone()))))
    }

    fn leave(&self, user: &str) {
        let mut shard = self.shard(user);
        if let Some(open) = shard.get_mut(user) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                shard.remove(user);
            }
        }
    }

    fn shard(&self, user: &str) -> MutexGuard<'_, Shard> {
        let hash = usize::try_from(self.hasher.hash_one(user) >> 32).unwrap_or(0);
        // Counts are right after a panic too: each is changed in one step.
        self.shards[hash % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        if let Some((users, user)) = &self.0 {
            users.leave(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_its_own_places_and_they_come_back() {
        let users = Arc::new(Users::new(2));
        let [anna, bert]: [Arc<str>; 2] = ["anna".into(), "bert".into()];
        let held = [users.admit(&anna), users.admit(&anna)].map(Option::unwrap);
        assert!(users.admit(&anna).is_none());
        assert!(users.admit(&bert).is_some(), "another user has places of its own");
        drop(held);
        assert!(users.admit(&anna).is_some());
        let kept: usize = users.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert_eq!(kept, 0, "nothing is kept of users without sessions");
    }

    #[test]
    fn places_are_right_however_many_threads_take_them() {
        let users = Arc::new(Users::new(50));
        let user: Arc<str> = "anna".into();
        let most = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..100).filter_map(|_| users.admit(&user)).collect::<Vec<_>>()))
                .collect();
            let held: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            held.iter().map(Vec::len).sum::<usize>()
        });
        assert_eq!(most, 50);
        assert!(Arc::new(Users::new(0)).admit(&user).is_some());
    }
}
