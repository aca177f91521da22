//! Requests of a client to services. They run beside its other commands, in the session's own task: any number of them
//! up to a limit, answered in any order, and gone with the session.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tailwater_broker::BrokerError;
use tailwater_broker::request::{Answer, ClientRequest};
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::Request;
use tailwater_protocol::error::{ErrorCode, ErrorMessage, ServiceError};
use tailwater_protocol::message::ServerMessage;
use tailwater_protocol::payload::{Payload, PayloadRef};
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;
use tokio::sync::OwnedSemaphorePermit;

use super::commands::{RETRY_AFTER_MS, terms};
use super::{Hex, Session, state};
use crate::config::Namespace;
use crate::socket::Socket;
use crate::worker::Worker;

/// Bytes of answers that may wait, in all sessions of one worker, for room in an outbox.
pub(crate) const HELD_BYTES: usize = 16 * 1024 * 1024;

/// A request on its way to its answer.
type Asked = Pin<Box<dyn Future<Output = Answered>>>;

/// The requests of a session that its client has no answer to yet. Takes no memory while there are none.
#[derive(Default)]
pub(super) struct Requests(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    asked: FuturesUnordered<Asked>,
    /// Answers that have come, and for which there is no room in the outbox yet.
    held: VecDeque<Held>,
}

/// An answer that has come.
struct Answered {
    id: Option<u32>,
    channel: Channel,
    frame: Bytes,
}

/// An answer that waits, with its share of what may.
struct Held {
    frame: Bytes,
    _share: OwnedSemaphorePermit,
}

impl Requests {
    /// No more than the session's limit: those that are answered count until there is room for the answer.
    fn len(&self) -> usize {
        let waiting = self.0.as_ref();
        waiting.map_or(0, |waiting| waiting.asked.len() + waiting.held.len())
    }
}

/// Asks a service on behalf of the client; the answer comes by [`Session::poll_requests`].
///
/// # Errors
/// What the client is told at once.
pub(super) fn begin(
    session: &Session,
    worker: &Worker,
    id: Option<u32>,
    request: Request,
    namespace: &Namespace,
) -> Result<(), ErrorMessage> {
    let limit = worker.config().requests.max_in_flight_per_session;
    let channel = &request.channel;
    if session.requests.borrow().len() >= limit {
        let message =
            format!("{limit} requests of this session wait for their answers: wait for one of them");
        return Err(state::refusal(ErrorCode::Limit, message, Some(channel)));
    }
    // There is one wherever a namespace takes requests.
    let Some(requester) = worker.requester().cloned() else {
        let message = format!("`{channel}` takes no requests");
        return Err(state::refusal(ErrorCode::Internal, message, Some(channel)));
    };
    let (encoding, session_id) = (session.encoding, Hex(session.id).to_string());
    let prefix = terms(namespace).prefix;
    let longest = namespace.request_timeout;
    let asked = request
        .timeout_ms
        .map(|timeout| Duration::from_millis(timeout.into()));
    let within = asked.map_or(longest, |asked| asked.min(longest));
    let mut span = worker.tracer().ask("request", None);
    if span.is_kept() {
        span.note("tailwater.session", session_id.clone());
        span.note("tailwater.channel", request.channel.to_string());
    }
    let (identity, meters) = (session.identity(), worker.meters().clone());
    let asked = async move {
        let trace = span.headers();
        let client_request = ClientRequest {
            channel: &request.channel,
            payload: &request.payload.into_bytes(),
            user: identity.user.as_deref(),
            session: &session_id,
            trace: trace.as_ref(),
        };
        let answer = requester.request(&prefix, client_request, within).await;
        let message = match answer {
            Ok(answer) => {
                let error = answer.error.is_some().then_some(ErrorCode::ServiceError);
                meters.command("request", error);
                message(id, answer, &request.channel)
            }
            Err(error) => {
                let channel = request.channel.as_str();
                tracing::debug!(session_id, channel, %error, "a request of a client has failed");
                let failure = failure(&error, &request.channel);
                span.fail(&failure.code.as_str());
                meters.command("request", Some(failure.code));
                told(id, failure)
            }
        };
        Answered {
            id,
            channel: request.channel,
            frame: encoding.encode(&message),
        }
    };
    let mut requests = session.requests.borrow_mut();
    requests.0.get_or_insert_default().asked.push(Box::pin(asked));
    Ok(())
}

impl Session {
    /// Goes on with the requests of the client, and writes the answers that have come. While `outbox.max_bytes` wait for
    /// it they are held: a client that does not read keeps no place from others, and its answers are bounded.
    pub(super) fn poll_requests(&self, worker: &Worker, context: &mut Context<'_>) {
        let mut requests = self.requests.borrow_mut();
        let Some(waiting) = &mut requests.0 else { return };
        let limit = worker.config().outbox.max_bytes;
        loop {
            let has_room = self.outbox.borrow().bytes() < limit;
            if has_room && let Some(held) = waiting.held.pop_front() {
                self.push_message(held.frame);
                continue;
            }
            match waiting.asked.poll_next_unpin(context) {
                Poll::Ready(Some(answered)) if has_room => self.push_message(answered.frame),
                // Nobody writes from the outbox of a single request before it is done.
                Poll::Ready(Some(answered)) if matches!(self.socket, Socket::None) => {
                    self.tell_dropped(&answered)
                }
                Poll::Ready(Some(answered)) => match hold(worker, &answered.frame) {
                    Some(held) => waiting.held.push_back(held),
                    None => self.tell_dropped(&answered),
                },
                Poll::Ready(None) if waiting.held.is_empty() => {
                    requests.0 = None;
                    return;
                }
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// The client does not get an answer that has come: it reads none, and too many are held already.
    fn tell_dropped(&self, answered: &Answered) {
        let message =
            "the service has answered, but too much waits for this client already: read faster, or ask less";
        let channel = Some(&answered.channel);
        let error = state::refusal(ErrorCode::Timeout, message.to_owned(), channel);
        self.push_message(self.encoding.encode(&told(answered.id, error)));
    }

    /// Whether the client waits for a service.
    pub(super) fn has_requests(&self) -> bool {
        self.requests.borrow().len() > 0
    }

    /// Gives up all requests; answers that still come are ignored.
    pub(super) fn drop_requests(&self) {
        self.requests.take();
    }
}

/// Keeps an answer for later, if less than [`HELD_BYTES`] are kept.
fn hold(worker: &Worker, frame: &Bytes) -> Option<Held> {
    let bytes = u32::try_from(frame.len()).ok()?;
    let share = worker.held_answers().clone().try_acquire_many_owned(bytes).ok()?;
    Some(Held {
        frame: frame.clone(),
        _share: share,
    })
}

/// What the client reads of a service's answer.
fn message(id: Option<u32>, answer: Answer, channel: &Channel) -> ServerMessage {
    let payload = payload(&answer.payload);
    let Some(error) = answer.error else {
        return ServerMessage::reply(id, Reply::Reply { payload });
    };
    let message = if error.description.is_empty() {
        "the service answers with an error".to_owned()
    } else {
        error.description.clone()
    };
    let told_error = state::refusal(ErrorCode::ServiceError, message, Some(channel));
    let service_error = ServiceError {
        code: error.code,
        description: error.description,
        payload,
    };
    told(
        id,
        ErrorMessage {
            service_error: Some(Box::new(service_error)),
            ..told_error
        },
    )
}

fn told(id: Option<u32>, error: ErrorMessage) -> ServerMessage {
    Push::Error(ErrorMessage { id, ..error }).into()
}

/// As publications: JSON as it is, other text, bytes.
fn payload(bytes: &Bytes) -> Payload {
    let classified = PayloadRef::classify(bytes);
    // What was classified as JSON is; were it not, its bytes would still be what the service said.
    classified
        .to_payload()
        .unwrap_or_else(|_| Payload::Binary(bytes.clone()))
}

/// What a client is told instead of an answer: `timeout` exactly where the service may have done what was asked.
fn failure(error: &BrokerError, channel: &Channel) -> ErrorMessage {
    let later = Some(RETRY_AFTER_MS);
    let (code, message, retry_after_ms) = match error {
        BrokerError::NoResponders { .. } => (
            ErrorCode::NoResponders,
            format!("no service listens on `{channel}`"),
            None,
        ),
        BrokerError::Unavailable { timeout } => (
            ErrorCode::Timeout,
            format!("no answer from `{channel}` within {timeout:?}: what was asked may have been done"),
            None,
        ),
        BrokerError::AnswerLost { .. } => (
            ErrorCode::Timeout,
            format!(
                "the connection to NATS broke before `{channel}` answered: what was asked may have been done"
            ),
            later,
        ),
        BrokerError::Busy => (
            ErrorCode::Unavailable,
            "as many requests as this server takes wait for their answers".to_owned(),
            later,
        ),
        // Time alone does not mend it.
        BrokerError::Refused { .. } => (
            ErrorCode::Unavailable,
            format!("NATS refuses requests to `{channel}`"),
            None,
        ),
        BrokerError::TooLarge { size, limit } => (
            ErrorCode::TooLarge,
            format!("the request has {size} bytes with its headers; NATS takes {limit}"),
            None,
        ),
        BrokerError::Malformed(_) => (ErrorCode::Internal, error.to_string(), None),
        _ => (ErrorCode::Unavailable, error.to_string(), later),
    };
    ErrorMessage {
        retry_after_ms,
        ..state::refusal(code, message, Some(channel))
    }
}
