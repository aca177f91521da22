//! Questions to services and their answers: requests of clients, and of the edge itself.
//!
//! Over a connection of its own of the lean reader (`wire`), whose table of requests it uses: an answer with headers
//! that are none cannot break it, a large one holds up no history, and whoever gives up leaves nothing behind. What
//! bounds a question is left to who asks: a client's own limits to the session, those of hooks to the hook.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_protocol::channel::Channel;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::config::NatsConfig;
use crate::connection::ConnectionState;
use crate::error::BrokerError;
use crate::health::Health;
use crate::publish::{USER_HEADER, encode_user};
use crate::subject::SubjectPrefix;
use crate::trace::TraceHeaders;
use crate::wire::{self, Outgoing, OwnedMessage, RequestsOnly, ServerOrder, Wire};

/// The header with the session that asks, as its client knows it from `connected`.
pub const SESSION_HEADER: &str = "Tailwater-Session";

/// The header with the channel that was asked, which is the subject without the namespace's prefix.
pub const CHANNEL_HEADER: &str = "Tailwater-Channel";

/// Headers by which a service answers with an error (NATS ADR-32).
const ERROR_CODE: &str = "Nats-Service-Error-Code";
const ERROR: &str = "Nats-Service-Error";

/// What a client asks a service. It chooses none of the headers.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// The service: an exact channel.
    pub channel: &'a Channel,
    /// The question.
    pub payload: &'a [u8],
    /// Who asks, unless anonymous: any text of 1 to [`MAX_USER_BYTES`](crate::publish::MAX_USER_BYTES) bytes. The
    /// service reads it in [`USER_HEADER`].
    pub user: Option<&'a str>,
    /// The session that asks.
    pub session: &'a str,
    /// The trace that the service is to go on with.
    pub trace: Option<&'a TraceHeaders>,
}

/// What a service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its payload; at most what NATS carries.
    pub payload: Bytes,
    /// The service says that it failed.
    pub error: Option<ServiceError>,
}

/// A service's own error. Bytes that are not UTF-8 are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// Its code, mostly a number in the manner of HTTP; empty if it gave none.
    pub code: String,
    /// Its sentence; empty if it gave none.
    pub description: String,
}

/// Asks services. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requester {
    wire: Wire<()>,
    clients: Arc<Semaphore>,
}

/// The task that owns the connection; it ends when this is dropped.
#[derive(Debug)]
pub struct RequesterTask(JoinHandle<()>);

impl Drop for RequesterTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How many questions may wait for their answers at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Of all clients together.
    pub clients: usize,
    /// Of the edge itself, which keeps to it.
    pub own: usize,
}

impl Requester {
    /// Connects in the background, on the runtime that calls this, and goes on trying for ever.
    ///
    /// # Errors
    /// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work.
    pub fn start(config: &NatsConfig, in_flight: InFlight) -> Result<(Self, RequesterTask), BrokerError> {
        let (wire, mut driver) = wire::open(config, "request", ServerOrder::Shuffled, RequestsOnly)?;
        // Half of the table is for those who have given up and are not forgotten yet.
        driver.allow_requests(2 * (in_flight.clients + in_flight.own));
        let this = Self {
            wire,
            clients: Arc::new(Semaphore::new(in_flight.clients)),
        };
        Ok((this, RequesterTask(tokio::spawn(driver.run()))))
    }

    /// Asks the service behind a channel on behalf of a client, and waits at most `within` for its answer. Dropping the
    /// future gives up; an answer that comes later is ignored.
    ///
    /// # Errors
    /// Nobody was asked: [`BrokerError::Away`], [`BrokerError::Busy`] at the limit for all clients,
    /// [`BrokerError::NoResponders`], [`BrokerError::TooLarge`], [`BrokerError::Malformed`], [`BrokerError::Refused`].
    /// What was asked may have been done: [`BrokerError::Unavailable`] if no answer came in time,
    /// [`BrokerError::AnswerLost`]. [`BrokerError::Stopped`] at the end of the process.
    pub async fn request(
        &self,
        prefix: &SubjectPrefix,
        request: ClientRequest<'_>,
        within: Duration,
    ) -> Result<Answer, BrokerError> {
        let _place = self.clients.try_acquire().map_err(|_| BrokerError::Busy)?;
        let user = request.user.map(encode_user).transpose()?;
        let mut headers = vec![
            (SESSION_HEADER, request.session),
            (CHANNEL_HEADER, request.channel.as_str()),
        ];
        headers.extend(user.as_deref().map(|user| (USER_HEADER, user)));
        let trace = request.trace.map(TraceHeaders::written);
        headers.extend(trace.iter().flat_map(|trace| trace.headers()));
        let subject = prefix.subject(request.channel);
        let outgoing = Outgoing {
            subject: subject.as_str(),
            headers: &headers,
            payload: request.payload,
        };
        self.send(outgoing, within).await
    }

    /// Asks on a subject as NATS writes it, on behalf of the edge, which bounds how often it does so at a time. The service
    /// is to go on with `trace`.
    ///
    /// # Errors
    /// As [`Requester::request`], without a limit of its own.
    pub async fn ask(
        &self,
        subject: &str,
        payload: &[u8],
        trace: Option<&TraceHeaders>,
        within: Duration,
    ) -> Result<Answer, BrokerError> {
        let trace = trace.map(TraceHeaders::written);
        let headers: Vec<_> = trace.iter().flat_map(|trace| trace.headers()).collect();
        let outgoing = Outgoing {
            subject,
            headers: &headers,
            payload,
        };
        self.send(outgoing, within).await
    }

    /// How the connection is, and a way to wait until that changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.wire.state()
    }

    /// How the connection is and was.
    pub fn health(&self) -> Health {
        self.wire.health()
    }

    async fn send(&self, outgoing: Outgoing<'_>, within: Duration) -> Result<Answer, BrokerError> {
        if !self.wire.is_connected() {
            return Err(BrokerError::Away);
        }
        match self.wire.request(outgoing, within).await {
            Ok(message) => Ok(read(message)),
            // It was there a moment ago, so the question may be on its way.
            Err(BrokerError::Away) => Err(BrokerError::AnswerLost {
                subject: outgoing.subject.to_owned(),
            }),
            Err(error) => Err(error),
        }
    }
}

fn read(message: OwnedMessage) -> Answer {
    let [code, description] = message.headers().last_of_each([ERROR_CODE, ERROR]);
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let error = (code.is_some() || description.is_some()).then(|| ServiceError {
        code: text(code),
        description: text(description),
    });
    Answer {
        payload: message.payload,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &'static [u8], payload: &'static [u8]) -> Answer {
        read(OwnedMessage {
            subject: Bytes::from_static(b"_INBOX.x.1"),
            header_block: Bytes::from_static(headers),
            payload: Bytes::from_static(payload),
        })
    }

    #[test]
    fn either_header_of_an_error_makes_an_answer_one_and_any_bytes_are_readable() {
        let plain = answer(b"", b"7");
        assert_eq!((&plain.payload[..], plain.error), (&b"7"[..], None));
        assert_eq!(answer(b"NATS/1.0\r\nX: y\r\n\r\n", b"").error, None);
        let both =
            b"NATS/1.0\r\nnats-service-error: no such\xff order\r\nNats-Service-Error-Code: 404\r\n\r\n";
        for (headers, code, description) in [
            (&both[..], "404", "no such\u{fffd} order"),
            (b"NATS/1.0\r\nNats-Service-Error-Code: x\r\n\r\n", "x", ""),
            (b"NATS/1.0\r\nNats-Service-Error: gone\r\n\r\n", "", "gone"),
        ] {
            let error = answer(headers, b"body").error.unwrap();
            assert_eq!(
                (error.code.as_str(), error.description.as_str()),
                (code, description)
            );
        }
    }
}
