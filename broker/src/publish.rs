//! Publications from the edge to NATS.
//!
//! A live publication is a plain NATS publish: it has no acknowledgement, and is lost if the link
//! breaks before the server has read it. It is refused while we know that NATS is away.

use std::time::Duration;

use bytes::Bytes;
use tailwater_protocol::channel::Channel;

use crate::check;
use crate::config::NatsConfig;
use crate::connection::{Connection, Incident};
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

/// Publishes once over a connection of its own, and waits until the server has taken or refused it.
///
/// # Errors
/// [`BrokerError::Refusing`] if there is no connection to be had, [`BrokerError::Unreachable`] if all of it takes longer
/// than `timeout`, [`BrokerError::Refused`] if we may not publish on `subject`, [`BrokerError::TooLarge`].
pub async fn publish_once(
    config: &NatsConfig,
    subject: &str,
    payload: Bytes,
    timeout: Duration,
) -> Result<(), BrokerError> {
    let work = async {
        let (connection, mut incidents) = Connection::open_now(config, "pub").await?;
        let (size, limit) = (payload.len(), connection.max_payload());
        if size > limit {
            return Err(BrokerError::TooLarge { size, limit });
        }
        let published = connection.client().publish(subject.to_owned(), payload).await;
        published.map_err(|_| BrokerError::Away)?;
        let (said, _) = check::settle(&connection, &mut incidents).await?;
        let refused = said
            .iter()
            .any(|incident| matches!(incident, Incident::PublicationRefused(refused) if refused == subject));
        if refused {
            return Err(BrokerError::Refused {
                subject: subject.to_owned(),
            });
        }
        Ok(())
    };
    let worked = tokio::time::timeout(timeout, work).await;
    worked.unwrap_or(Err(BrokerError::Unreachable { timeout }))
}
