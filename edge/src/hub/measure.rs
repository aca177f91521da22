//! What is measured of a walk once it is over: how much went out, and spans of what publishers have sampled.

use std::cell::RefCell;
use std::sync::Arc;

use tailwater_broker::feed::Origin;
use tailwater_protocol::batch::Batch;

use super::{AudienceKey, Hub};
use crate::limits::memory::Memory;
use crate::metrics::meters::{Label as _, Promise};
use crate::telemetry::traces::Tracer;

/// Counts a batch that was offered to so many sessions, and says how many of them got something of it at once.
#[inline]
pub(super) fn count(memory: &Memory, promise: Promise, sessions: u64, batch: &Batch) -> u64 {
    let size = (batch.len() as u64, batch.bytes().len() as u64);
    let short = memory.take_short();
    memory.meters().handed(promise, sessions, size, short);
    sessions.saturating_sub(short.sessions)
}

/// Makes spans of sampled publications that were handed to so many sessions.
#[cold]
pub(super) fn trace(
    hub: &RefCell<Hub>,
    key: AudienceKey,
    tracer: &Tracer,
    origin: &Origin,
    (promise, sessions): (Promise, u64),
) {
    if origin.sampled.is_empty() {
        return;
    }
    if let Some(audience) = hub.borrow().audiences.get(&key) {
        tracer.delivered(
            &origin.sampled,
            audience.channel.as_str(),
            promise.name(),
            sessions,
        );
    }
}

/// What is measured of two batches in one: the time of the first, and what is sampled of either.
pub(super) fn join_origins(whole: &mut Option<Arc<Origin>>, next: Option<&Arc<Origin>>) {
    let Some(next) = next.filter(|next| !next.sampled.is_empty()) else {
        return;
    };
    match whole {
        Some(first) if !first.sampled.is_empty() => {}
        Some(first) => {
            *first = Arc::new(Origin {
                stored_at: first.stored_at,
                sampled: next.sampled.clone(),
            });
        }
        None => *whole = Some(next.clone()),
    }
}
