//! The side of a connection that any thread may hold: asks, and waits for what it asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::ConnectionState;
use super::command::{Command, Outgoing, Publication, check_subject};
use super::info::ServerInfo;
use super::parser::OwnedMessage;
use super::requests::{Answer, Limits, Pending};
use super::subscriptions::{Numbers, SubscriptionId};
use crate::error::BrokerError;
use crate::health::{Health, JetStreamTimes};

/// Bytes of publications and requests that may wait in the queue of commands.
pub(super) const QUEUED_BYTES: u32 = 4 * 1024 * 1024;

/// A connection to NATS. Cheap to clone; the connection ends when the last clone is dropped.
#[derive(Debug)]
pub struct Wire<S> {
    pub(super) shared: Arc<Shared>,
    /// Bounded: who asks waits while it is full. The connection empties it even while NATS is away.
    pub(super) commands: mpsc::Sender<Command<S>>,
}

impl<S> Clone for Wire<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            commands: self.commands.clone(),
        }
    }
}

/// What both sides of a connection use.
#[derive(Debug)]
pub(super) struct Shared {
    /// What stands before the number of a request in its reply subject.
    pub(super) inbox: String,
    pub(super) numbers: Numbers,
    pub(super) next_request: AtomicU64,
    pub(super) queued_bytes: Arc<Semaphore>,
    pub(super) state: watch::Receiver<ConnectionState>,
    pub(super) about: watch::Receiver<About>,
    /// Connections that were made after the first.
    pub(super) reconnects: Arc<AtomicU64>,
    pub(super) jetstream: Arc<JetStreamTimes>,
}

impl Shared {
    /// What every request fails with while the server does not let us have our inbox.
    pub(super) fn refused_inbox(&self) -> BrokerError {
        BrokerError::Refused {
            subject: format!("{}*", self.inbox),
        }
    }
}

/// What is known about the other end.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    /// What the server said last; that of the previous one while NATS is away.
    pub(super) server: Arc<ServerInfo>,
    /// Why the last attempt to connect failed, or the last connection ended.
    pub(super) failure: Option<String>,
}

impl<S> Wire<S> {
    /// Subscribes. `state` is handed to the handler with every message, when the server has confirmed
    /// the subscription, and for good when it refuses it. While NATS is away the subscription waits for
    /// it; it is repeated at every reconnect until [`Wire::unsubscribe`].
    ///
    /// # Errors
    /// [`BrokerError::Malformed`] for what is no subject, [`BrokerError::Busy`] at the limit of
    /// subscriptions, [`BrokerError::Stopped`] if the connection has ended.
    pub async fn subscribe(&self, subject: &str, state: S) -> Result<SubscriptionId, BrokerError> {
        check_subject(subject)?;
        // Room first: nothing may come between taking a number and handing it over.
        let room = self.commands.reserve().await.map_err(|_| BrokerError::Stopped)?;
        let id = self.shared.numbers.take()?;
        let subject = subject.into();
        room.send(Command::Subscribe { id, subject, state });
        Ok(id)
    }

    /// Ends a subscription; messages that are on their way may still come until the connection has
    /// handled this.
    ///
    /// # Errors
    /// [`BrokerError::Stopped`] if the connection has ended.
    pub async fn unsubscribe(&self, id: SubscriptionId) -> Result<(), BrokerError> {
        self.send(Command::Unsubscribe(id)).await
    }

    /// Publishes, without knowing whether it arrives.
    ///
    /// # Errors
    /// [`BrokerError::Away`], [`BrokerError::TooLarge`], [`BrokerError::Malformed`] for what cannot be
    /// sent, [`BrokerError::Stopped`] if the connection has ended.
    pub async fn publish(&self, outgoing: Outgoing<'_>) -> Result<(), BrokerError> {
        let publication = self.prepare(outgoing, None).await?;
        self.send(Command::Publish(publication)).await
    }

    /// Asks and waits for one answer, whatever it says. An answer with an error in its status or its
    /// payload is an answer.
    ///
    /// # Errors
    /// As for [`Wire::publish`], and [`BrokerError::NoResponders`] at once if nobody listens there,
    /// [`BrokerError::Refused`] if we may not ask there, [`BrokerError::Unavailable`] without an answer
    /// in time, [`BrokerError::Away`] as soon as the connection breaks, [`BrokerError::Busy`] with too
    /// many requests in flight.
    pub async fn request(
        &self,
        outgoing: Outgoing<'_>,
        within: Duration,
    ) -> Result<OwnedMessage, BrokerError> {
        let limits = Limits {
            replies: 1,
            bytes: usize::MAX,
        };
        let mut replies = timeout(within, self.ask(outgoing, true, limits))
            .await
            .map_err(|_| late(within))??;
        replies.pop().ok_or(BrokerError::Stopped)
    }

    /// Asks and waits for all answers up to the first that carries a status, which is the last element
    /// (`204 EOB` ends a batch of JetStream's direct get).
    ///
    /// # Errors
    /// As for [`Wire::request`], and [`BrokerError::ReplyTooLarge`] beyond `limits`.
    pub async fn request_batch(
        &self,
        outgoing: Outgoing<'_>,
        limits: Limits,
        within: Duration,
    ) -> Result<Vec<OwnedMessage>, BrokerError> {
        let asked = timeout(within, self.ask(outgoing, false, limits)).await;
        asked.map_err(|_| late(within))?
    }

    /// Waits until the server has handled all that was asked of this connection before: every
    /// subscription is then in place *on that server*. It says nothing about the rest of a cluster.
    ///
    /// # Errors
    /// [`BrokerError::Away`], [`BrokerError::Unavailable`] without an answer in time,
    /// [`BrokerError::Stopped`] if the connection has ended.
    pub async fn barrier(&self, within: Duration) -> Result<(), BrokerError> {
        let passed = async {
            let (done, answer) = oneshot::channel();
            self.send(Command::Barrier(done)).await?;
            answer.await.map_err(|_| BrokerError::Stopped)?
        };
        timeout(within, passed).await.map_err(|_| late(within))?
    }

    /// How the connection is, and a way to wait until that changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.clone()
    }

    /// How the connection is and was.
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        Health::new(
            shared.state.clone(),
            shared.reconnects.clone(),
            shared.jetstream.clone(),
        )
    }

    /// How long JetStream takes to answer what is asked over this connection.
    pub(crate) fn jetstream_times(&self) -> &JetStreamTimes {
        &self.shared.jetstream
    }

    /// Whether NATS can be reached now.
    pub fn is_connected(&self) -> bool {
        *self.shared.state.borrow() == ConnectionState::Connected
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// [`BrokerError::Unreachable`] if there is none within `within`; [`Wire::failure`] says why.
    pub async fn wait_until_connected(&self, within: Duration) -> Result<(), BrokerError> {
        let mut state = self.state();
        let connected = state.wait_for(|state| *state == ConnectionState::Connected);
        match timeout(within, connected).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(BrokerError::Stopped),
            Err(_) => Err(BrokerError::Unreachable { timeout: within }),
        }
    }

    /// What the server said about itself last; empty before the first connection.
    pub fn server(&self) -> Arc<ServerInfo> {
        self.shared.about.borrow().server.clone()
    }

    /// Why the last attempt to connect failed or the last connection ended; nothing while connected.
    pub fn failure(&self) -> Option<String> {
        self.shared.about.borrow().failure.clone()
    }

    async fn ask(&self, outgoing: Outgoing<'_>, single: bool, limits: Limits) -> Answer {
        let number = self.shared.next_request.fetch_add(1, Ordering::Relaxed);
        let reply = format!("{}{number}", self.shared.inbox);
        let publication = self.prepare(outgoing, Some(&reply)).await?;
        let (done, answer) = oneshot::channel();
        let pending = Pending {
            subject: outgoing.subject.into(),
            single,
            limits,
            replies: Vec::new(),
            bytes: 0,
            done,
        };
        let command = Command::Request {
            number,
            publication,
            pending,
        };
        self.send(command).await?;
        answer.await.map_err(|_| BrokerError::Stopped)?
    }

    /// Checks and writes a publication here, on the caller's thread.
    async fn prepare(&self, outgoing: Outgoing<'_>, reply: Option<&str>) -> Result<Publication, BrokerError> {
        outgoing.check()?;
        if !self.is_connected() {
            return Err(BrokerError::Away);
        }
        let limit = usize::try_from(self.server().max_payload).unwrap_or(usize::MAX);
        let size = outgoing.size();
        if size > limit {
            return Err(BrokerError::TooLarge { size, limit });
        }
        let bytes = u32::try_from(size).unwrap_or(u32::MAX).clamp(1, QUEUED_BYTES);
        let share = self.shared.queued_bytes.clone().acquire_many_owned(bytes).await;
        Ok(Publication {
            lines: outgoing.lines(reply),
            _share: share.map_err(|_| BrokerError::Stopped)?,
        })
    }

    async fn send(&self, command: Command<S>) -> Result<(), BrokerError> {
        self.commands
            .send(command)
            .await
            .map_err(|_| BrokerError::Stopped)
    }
}

fn late(timeout: Duration) -> BrokerError {
    BrokerError::Unavailable { timeout }
}
