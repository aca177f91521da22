//! What the process knows of one stream while it runs: the epoch, and how far the stream has come.
//!
//! Written by the feed, which sees the stream move; read by whoever judges a client's cursor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tailwater_protocol::position::Epoch;

use crate::stream::Stream;

/// One stream over time.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) stream: Arc<Stream>,
    /// The largest sequence that is known to be stored, in the present life.
    highest: AtomicU64,
    /// Publications that the stream keeps of one subject; 0: no limit. An operator may change it at any time.
    limit: AtomicU64,
    life: Mutex<Life>,
}

/// A stretch of time in which the stream's sequences mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// Counts the lives that this process has seen.
    pub(crate) number: u32,
    /// What clients know it by.
    pub(crate) epoch: Epoch,
}

/// What a page has to know of its stream, as far as this process does.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its epoch.
    pub(crate) epoch: Epoch,
    /// Publications that it keeps of one subject; `None`: no limit.
    pub(crate) limit: Option<u64>,
}

impl Known {
    /// What was known when the stream was provisioned.
    pub(crate) fn at_first(stream: &Stream) -> Self {
        Self {
            epoch: stream.epoch.clone(),
            limit: stream.max_messages_per_subject,
        }
    }
}

impl Timeline {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        let life = Life {
            number: 0,
            epoch: stream.epoch.clone(),
        };
        Self {
            highest: AtomicU64::new(0),
            limit: AtomicU64::new(stream.max_messages_per_subject.unwrap_or(0)),
            stream,
            life: Mutex::new(life),
        }
    }

    /// The present life.
    pub(crate) fn life(&self) -> Life {
        self.lock().clone()
    }

    /// What is known by now.
    pub(crate) fn known(&self) -> Known {
        Known {
            epoch: self.life().epoch,
            limit: self.limit(),
        }
    }

    /// The largest sequence that is known to be stored.
    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(Ordering::Acquire)
    }

    /// The stream has come to `sequence`.
    pub(crate) fn reached(&self, sequence: u64) {
        self.highest.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Publications that the stream keeps of one subject, as far as that is known.
    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Acquire)).filter(|limit| *limit > 0)
    }

    /// The stream keeps at most this many publications of a subject. The smallest counts that was ever seen: what it
    /// removed is gone, though the limit is larger by now.
    pub(crate) fn limited_to(&self, limit: Option<u64>) {
        let known = self.limit();
        if let Some(limit) = limit.filter(|limit| known.is_none_or(|known| *limit < known)) {
            self.limit.store(limit, Ordering::Release);
        }
    }

    /// The stream had come to `sequence` in the life of this number.
    pub(crate) fn reached_in(&self, life: u32, sequence: u64) {
        let present = self.lock();
        if present.number == life {
            self.reached(sequence);
        }
    }

    /// A new life begins, in which the stream has come to `sequence`.
    pub(crate) fn renew(&self, epoch: Epoch, sequence: u64) -> Life {
        let mut life = self.lock();
        life.number += 1;
        life.epoch = epoch;
        self.highest.store(sequence, Ordering::Release);
        life.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        // Changed in single steps: a panic elsewhere leaves it whole.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
