//! Whether live publications could be forged.
//!
//! What a stream republishes is told from other messages by its headers alone, and whoever may publish below the
//! destination can write those. NATS itself needs no permission to republish there, so nobody should have one. What
//! other users may do we cannot see; but if we may publish there, the permissions were not thought of.

use async_nats::header::HeaderMap;
use bytes::Bytes;

use super::api::JetStream;
use crate::connection::FORGERY_PROBE;
use crate::error::BrokerError;

/// The subject to try, where no publication ever comes from.
fn probe(live_prefix: &str) -> String {
    format!("{live_prefix}{FORGERY_PROBE}.{:016x}", fastrand::u64(..))
}

/// Publishes below the destination once. False if NATS refuses that; true if it answers that nobody listens, or if
/// somebody does.
///
/// # Errors
/// [`Unknown`] if NATS is away.
pub(super) async fn is_possible(jetstream: &JetStream, live_prefix: &str) -> Result<bool, Unknown> {
    let probe = probe(live_prefix);
    match jetstream.request(&probe, HeaderMap::new(), Bytes::new()).await {
        // Without an inbox we cannot tell: but then no stream is ready either.
        Err(BrokerError::Refused { .. }) => Ok(false),
        Ok(_) | Err(BrokerError::NoResponders { .. } | BrokerError::Unavailable { .. }) => Ok(true),
        Err(_) => Err(Unknown),
    }
}

/// NATS did not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;
