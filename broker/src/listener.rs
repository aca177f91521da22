//! A connection that listens on a few subjects of the edge's own, each with a bounded queue, and answers.
//!
//! It is apart from the connection of live publications, so that neither can delay the other, and stands on the lean
//! reader, which no malformed header of a publisher can break. What a queue has no room for is dropped, and the
//! listener is told so as it is told of a reconnect: something may be missing.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use crate::config::NatsConfig;
use crate::connection::ConnectionState;
use crate::error::BrokerError;
use crate::health::Health;
use crate::wire::{self, Handler, Message, Outgoing, OwnedMessage, ServerOrder, SubscriptionId, Wire};

/// Payloads above this are not kept: nothing that is listened to here is longer.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;

/// The listening side of one connection; cheap to clone. The connection ends with the last clone.
#[derive(Clone, Debug)]
pub struct Listener {
    wire: Wire<Ear>,
}

/// What comes on one subject.
#[derive(Debug)]
pub struct Hearing {
    notes: mpsc::Receiver<Note>,
    missed: Arc<Notify>,
    refusal: Arc<Mutex<Option<String>>>,
}

/// What a [`Hearing`] comes to.
#[derive(Debug)]
pub enum Heard {
    /// A message.
    Note(Note),
    /// The subscription is in place, for the first time or again, or there was no room: what was published before this
    /// may not have been heard.
    Missed,
    /// NATS refuses the subscription, for this reason. Nothing more comes of this hearing.
    Refused(String),
}

/// One message.
#[derive(Clone, Debug)]
pub struct Note {
    message: OwnedMessage,
    reply: Option<Box<str>>,
    /// Its payload was above [`MAX_NOTE_BYTES`], and is empty here.
    pub too_long: bool,
}

impl Note {
    /// What it was published on; NATS does not promise UTF-8.
    pub fn subject(&self) -> &[u8] {
        &self.message.subject
    }

    /// Where an answer is expected.
    pub fn reply(&self) -> Option<&str> {
        self.reply.as_deref()
    }

    /// Its payload.
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// The last value of a header.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.message.headers().last(name)
    }
}

impl Listener {
    /// Opens a connection, which goes on connecting for ever, on the runtime that calls this.
    ///
    /// # Errors
    /// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work.
    pub fn open(config: &NatsConfig, role: &str) -> Result<Self, BrokerError> {
        let (wire, driver) = wire::open(config, role, ServerOrder::Shuffled, Ears)?;
        tokio::spawn(Box::pin(driver.run()));
        Ok(Self { wire })
    }

    /// Listens on `subject`, which may have wildcards, with room for `room` messages. Ends when the hearing is dropped
    /// and another message comes.
    ///
    /// # Errors
    /// [`BrokerError::Malformed`] for what is no subject, [`BrokerError::Stopped`] if the connection has ended.
    pub async fn subscribe(&self, subject: &str, room: usize) -> Result<Hearing, BrokerError> {
        let (notes, received) = mpsc::channel(room);
        let (missed, refusal) = (Arc::new(Notify::new()), Arc::default());
        let ear = Ear {
            notes,
            missed: Arc::clone(&missed),
            refusal: Arc::clone(&refusal),
        };
        self.wire.subscribe(subject, ear).await?;
        Ok(Hearing {
            notes: received,
            missed,
            refusal,
        })
    }

    /// Publishes, without knowing whether it arrives.
    ///
    /// # Errors
    /// As for [`Wire::publish`].
    pub async fn publish(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> Result<(), BrokerError> {
        let outgoing = Outgoing {
            subject,
            headers,
            payload,
        };
        self.wire.publish(outgoing).await
    }

    /// How the connection is, and a way to wait until that changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.wire.state()
    }

    /// How the connection is and was.
    pub fn health(&self) -> Health {
        self.wire.health()
    }

    pub(crate) fn wire(&self) -> &Wire<Ear> {
        &self.wire
    }
}

impl Hearing {
    /// What comes next; nothing if the connection has ended.
    pub async fn next(&mut self) -> Option<Heard> {
        tokio::select! {
            // What may be missing is said before what came after it.
            biased;
            () = self.missed.notified() => Some(Heard::Missed),
            note = self.notes.recv() => match note {
                Some(note) => Some(Heard::Note(note)),
                None => {
                    let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
                    refusal.take().map(Heard::Refused)
                }
            },
        }
    }
}

/// The connection's side of a [`Hearing`].
#[derive(Debug)]
pub(crate) struct Ear {
    notes: mpsc::Sender<Note>,
    missed: Arc<Notify>,
    refusal: Arc<Mutex<Option<String>>>,
}

struct Ears;

impl Handler for Ears {
    type Subscription = Ear;

    fn message(&mut self, _: SubscriptionId, ear: &mut Ear, message: &Message<'_>) {
        let too_long = message.payload.len() > MAX_NOTE_BYTES;
        let mut owned = message.to_owned();
        if too_long {
            owned.payload = Bytes::new();
        }
        let note = Note {
            message: owned,
            reply: message
                .reply
                .and_then(|reply| str::from_utf8(reply).ok())
                .map(Into::into),
            too_long,
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = ear.notes.try_send(note) {
            let subject = String::from_utf8_lossy(message.subject);
            tracing::error!(%subject, "messages come faster than they are handled, one was dropped");
            ear.missed.notify_one();
        }
    }

    fn confirmed(&mut self, _: SubscriptionId, ear: &mut Ear) {
        ear.missed.notify_one();
    }

    fn refused(&mut self, _: SubscriptionId, ear: Ear, reason: &str) {
        let mut refusal = ear.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        *refusal = Some(reason.to_owned());
    }
}
