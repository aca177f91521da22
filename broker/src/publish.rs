//! Publications from the edge to NATS.
//!
//! A live publication is a plain NATS publish: it has no acknowledgement, and is lost if the link
//! breaks before the server has read it. It is refused while we know that NATS is away.
//!
//! A publication on a durable channel is one message with an inbox, which the stream answers when it is stored. It
//! ends in an offset or in an error; the errors that leave open whether it is stored say so. Two attempts with the same
//! key are one publication within the stream's duplicate window, over whichever connection they come.

pub(crate) mod acknowledgement;
mod headers;
mod inbox;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::Key;
use tailwater_protocol::position::Offset;
use tokio::time::{Instant, timeout_at};

use self::inbox::Inbox;
use crate::check;
use crate::config::NatsConfig;
use crate::connection::{Connection, Incident};
use crate::error::BrokerError;
use crate::jetstream::timed;
use crate::subject::SubjectPrefix;

pub(crate) use self::headers::encode_user;
pub use self::headers::{MAX_USER_BYTES, USER_HEADER};

/// What a client publishes.
#[derive(Clone, Debug)]
pub struct ClientPublication<'a> {
    /// Where: an exact channel.
    pub channel: &'a Channel,
    /// What.
    pub payload: Bytes,
    /// Who, unless anonymous: any text of 1 to [`MAX_USER_BYTES`] bytes. Subscribers in NATS read it in [`USER_HEADER`].
    pub user: Option<&'a str>,
    /// The publication's own name, by which a durable channel recognises a repetition. Belongs to its user and channel:
    /// neither another user nor another channel can collide with it. All anonymous clients are one user here.
    pub key: Option<&'a Key>,
}

/// Where a publication is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the stream; of a duplicate, that of the first attempt.
    pub offset: Offset,
    /// An attempt with the same key had been stored before, so this one was left out.
    pub duplicate: bool,
}

/// Publishes on behalf of clients.
#[derive(Clone, Debug)]
pub struct Publisher {
    connection: Connection,
    inbox: Arc<Inbox>,
}

impl Publisher {
    /// Publishes over `connection`.
    pub fn new(connection: Connection) -> Self {
        let inbox = Arc::new(Inbox::new(&connection));
        Self { connection, inbox }
    }

    /// Publishes without an acknowledgement: on a live channel. A key means nothing there.
    ///
    /// # Errors
    /// [`BrokerError::Away`] if NATS is away, [`BrokerError::TooLarge`] if the server would
    /// refuse it for its size, [`BrokerError::Malformed`] for a user name that is empty or too long.
    pub async fn publish_live(
        &self,
        prefix: &SubjectPrefix,
        publication: ClientPublication<'_>,
    ) -> Result<(), BrokerError> {
        let subject = prefix.subject(publication.channel);
        let Some(user) = publication.user else {
            return self.publish_subject(subject.as_str(), publication.payload).await;
        };
        let headers = headers::live(user)?;
        self.check_takes(headers::wire_len(&headers) + publication.payload.len())?;
        self.connection
            .client()
            .publish_with_headers(subject.as_str().to_owned(), headers, publication.payload)
            .await
            .map_err(|_| BrokerError::Away)
    }

    /// Publishes into the stream `stream`, and waits at most `within` until it is stored there. No other stream can take
    /// it: if the subject belongs to another one, that is an error.
    ///
    /// # Errors
    /// Nothing is stored: [`BrokerError::Away`], [`BrokerError::Busy`], [`BrokerError::TooLarge`],
    /// [`BrokerError::TooLargeForStream`], [`BrokerError::Malformed`], [`BrokerError::Refused`],
    /// [`BrokerError::StreamAway`], [`BrokerError::WrongStream`], [`BrokerError::StreamFull`],
    /// [`BrokerError::StreamRefused`]. An earlier attempt may be: [`BrokerError::StreamBusy`]. It may or may not be, and
    /// only a key makes another attempt safe: [`BrokerError::Unacknowledged`], [`BrokerError::AcknowledgementLost`],
    /// [`BrokerError::StrangeAcknowledgement`], [`BrokerError::InboxRefused`]. It is: [`BrokerError::OffsetTooLarge`].
    pub async fn publish_stored(
        &self,
        prefix: &SubjectPrefix,
        stream: &str,
        publication: ClientPublication<'_>,
        within: Duration,
    ) -> Result<Stored, BrokerError> {
        let deadline = Instant::now() + within;
        let subject = prefix.subject(publication.channel);
        let headers = headers::stored(subject.as_str(), stream, &publication)?;
        self.check_takes(headers::wire_len(&headers) + publication.payload.len())?;
        let mut waiting = self
            .inbox
            .expect(&self.connection, subject.as_str(), stream)
            .await?;
        let reply = waiting.reply().to_owned();
        let sent = self.connection.client().publish_with_reply_and_headers(
            subject.as_str().to_owned(),
            reply,
            headers,
            publication.payload,
        );
        match timeout_at(deadline, sent).await {
            Ok(Ok(())) => {
                let time = &self.connection.jetstream_times().publish;
                timed(time, waiting.answer(deadline, within)).await
            }
            Ok(Err(_)) => Err(BrokerError::Away),
            // Still behind others in the client library's own queue, so nothing of it has left.
            Err(_) => Err(BrokerError::Busy),
        }
    }

    /// Publishes on a subject as NATS writes it: for the command line and the demo, which stand for
    /// services of their own.
    ///
    /// # Errors
    /// As [`Publisher::publish_live`].
    pub async fn publish_subject(&self, subject: &str, payload: Bytes) -> Result<(), BrokerError> {
        self.check_takes(payload.len())?;
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

    /// Whether NATS is there and takes so many bytes of headers and payload.
    fn check_takes(&self, size: usize) -> Result<(), BrokerError> {
        if !self.connection.is_connected() {
            return Err(BrokerError::Away);
        }
        let limit = self.connection.max_payload();
        if size > limit {
            return Err(BrokerError::TooLarge { size, limit });
        }
        Ok(())
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
