//! Whether new clients should come to this edge. Kubernetes asks the admin listener, and who is to be told when it lasts asks
//! the metrics.

use tailwater_broker::{ConnectionState, Streams};
use tokio::sync::watch;

use crate::control::Control;
use crate::drain::Drain;

/// What has to be there for new clients. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    pub(crate) nats: Vec<watch::Receiver<ConnectionState>>,
    pub(crate) streams: Streams,
    pub(crate) control: Control,
    pub(crate) drain: Drain,
}

impl Readiness {
    /// Why no new client should come here, if there is a reason.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let away = |state: &watch::Receiver<ConnectionState>| *state.borrow() != ConnectionState::Connected;
        if self.drain.has_begun() {
            Some("not ready: draining".to_owned())
        } else if self.nats.iter().any(away) {
            Some("not ready: NATS is away, reconnecting".to_owned())
        } else if let Some((stream, reason)) = self.streams.waiting() {
            let reason = reason.unwrap_or_else(|| "it has not been looked at yet".to_owned());
            Some(format!("not ready: stream {stream}: {reason}"))
        } else {
            let awaited = self.control.awaited();
            let first = awaited.borrow().first().copied()?;
            Some(format!("not ready: {first}"))
        }
    }
}
