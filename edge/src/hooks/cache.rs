//! Answers of a hook's service that still hold.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The most answers that are kept of one hook; the oldest make room.
pub(super) const MAX_ANSWERS: usize = 10_000;

/// What makes two questions the same: a SHA-256 of all that was asked, so that nobody finds a second question with the
/// answer of another, and nothing of a cookie is kept.
pub(super) type Key = [u8; 32];

/// Answers by question, at most [`MAX_ANSWERS`].
#[derive(Debug)]
pub(super) struct Cache<A> {
    /// The longest that an answer holds.
    longest: Duration,
    answers: HashMap<Key, Held<A>>,
    /// In the order in which they came; one that was replaced stands here twice.
    order: VecDeque<(Instant, Key)>,
}

#[derive(Debug)]
struct Held<A> {
    answer: A,
    since: Instant,
    until: Instant,
}

impl<A: Clone> Cache<A> {
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            answers: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The answer to this question, if it holds at `now`.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<A> {
        let held = self.answers.get(key).filter(|held| now < held.until)?;
        Some(held.answer.clone())
    }

    /// Keeps an answer, no longer than it holds by itself.
    pub(super) fn keep(&mut self, key: Key, answer: A, holds: Option<Duration>, now: Instant) {
        let holds = holds.map_or(self.longest, |holds| holds.min(self.longest));
        if holds.is_zero() {
            return;
        }
        while let Some((since, oldest)) = self.order.front().copied() {
            if now.duration_since(since) < self.longest && self.order.len() < MAX_ANSWERS {
                break;
            }
            self.order.pop_front();
            if self.answers.get(&oldest).is_some_and(|held| held.since == since) {
                self.answers.remove(&oldest);
            }
        }
        let held = Held {
            answer,
            since: now,
            until: now + holds,
        };
        self.answers.insert(key, held);
        self.order.push_back((now, key));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.answers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(number: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn an_answer_holds_as_long_as_it_may_and_no_longer() {
        let begin = Instant::now();
        let mut cache = Cache::new(10 * SECOND);
        cache.keep(key(1), "long", None, begin);
        cache.keep(key(2), "short", Some(SECOND), begin);
        cache.keep(key(3), "over", Some(Duration::ZERO), begin);
        cache.keep(key(4), "too long", Some(100 * SECOND), begin);
        let found = |seconds| [1, 2, 3, 4].map(|number| cache.find(&key(number), begin + seconds * SECOND));
        assert_eq!(found(0), [Some("long"), Some("short"), None, Some("too long")]);
        assert_eq!(found(1), [Some("long"), None, None, Some("too long")]);
        assert_eq!(found(10), [None; 4]);
    }

    #[test]
    fn the_oldest_make_room_and_what_no_longer_holds_is_dropped() {
        let begin = Instant::now();
        let mut cache = Cache::new(10 * SECOND);
        let many = u32::try_from(MAX_ANSWERS).unwrap() + 5;
        for number in 0..many {
            cache.keep(key(number), number, None, begin);
        }
        assert_eq!((cache.len(), cache.order.len()), (MAX_ANSWERS, MAX_ANSWERS));
        assert_eq!(cache.find(&key(4), begin), None);
        assert_eq!(cache.find(&key(5), begin), Some(5));
        cache.keep(key(0), 0, None, begin + 10 * SECOND);
        assert_eq!((cache.len(), cache.order.len()), (1, 1));
    }

    #[test]
    fn a_newer_answer_is_not_dropped_with_the_one_that_it_replaced() {
        let begin = Instant::now();
        let mut cache = Cache::new(10 * SECOND);
        cache.keep(key(1), "old", Some(SECOND), begin);
        cache.keep(key(1), "new", None, begin + 5 * SECOND);
        cache.keep(key(2), "other", None, begin + 11 * SECOND);
        assert_eq!(cache.find(&key(1), begin + 11 * SECOND), Some("new"));
        assert_eq!(cache.len(), 2);
    }
}
