//! Publications from the edge to NATS.
//!
//! A live publication is a plain NATS publish: it has no acknowledgement, and is lost if the link
//! breaks before the server has read it. It is refused while we know that NATS is away.

use bytes::Bytes;
use tailwater_protocol::channel::Channel;

use crate::connection::Connection;
use crate::error::BrokerError;
use crate::subject::SubjectPrefix;

/// Publishes on behalf of clients.
#[derive(Clone, Debug)]
pub struct Publisher {
    connection: Connection,
}

impl Publisher {
    /// Publishes over `connection`.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Publishes on the exact channel `channel`, without an acknowledgement.
    ///
    /// # Errors
    /// [`BrokerError::Away`] if NATS is away, [`BrokerError::TooLarge`] if the server would
    /// refuse it for its size.
    pub async fn publish(
        &self,
        prefix: &SubjectPrefix,
        channel: &Channel,
        payload: Bytes,
    ) -> Result<(), BrokerError> {
        self.publish_subject(prefix.subject(channel).as_str(), payload)
            .await
    }

    /// Publishes on a subject as NATS writes it: for the command line and the demo, which stand for
    /// services of their own.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub async fn publish_subject(&self, subject: &str, payload: Bytes) -> Result<(), BrokerError> {
        if !self.connection.is_connected() {
            return Err(BrokerError::Away);
        }
        let limit = self.connection.max_payload();
        if payload.len() > limit {
            return Err(BrokerError::TooLarge {
                size: payload.len(),
                limit,
            });
        }
        self.connection
            .client()
            .publish(subject.to_owned(), payload)
            .await
            .map_err(|_| BrokerError::Away)
    }

    /// Waits until all that was published has been written to the socket.
    ///
    /// # Errors
    /// [`BrokerError::Away`] if the connection is gone.
    pub async fn flush(&self) -> Result<(), BrokerError> {
        self.connection
            .client()
            .flush()
            .await
            .map_err(|_| BrokerError::Away)
    }

    /// The connection that this publishes over.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}
