//! Carries out what a client asks.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tailwater_broker::BrokerError;
use tailwater_broker::feed::Terms;
use tailwater_broker::publish::ClientPublication;
use tailwater_broker::subject::SubjectPrefix;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, CommandMessage, Publish, Subscribe};
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::message::ServerMessage;
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;

use super::behind::Fed;
use super::state::{self, Action};
use super::{Hex, Session, Subscription, history, hook, identify, pace, request, start};
use crate::config::{Delivery, Namespace, SlowConsumer};
use crate::identity::Identity;
use crate::metrics::meters::UNKNOWN_COMMAND;
use crate::outbox::Outbox;
use crate::telemetry::traces::Span;
use crate::worker::Worker;

/// When a client should try again after `unavailable`, in milliseconds.
pub(crate) const RETRY_AFTER_MS: u32 = 2000;

/// How long a stream has to acknowledge a publication.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A command of a client, or what is wrong with it.
pub(super) type Decoded = Result<CommandMessage, ErrorMessage>;

/// Carries out the commands of one message, in their order.
pub(super) async fn execute(session: &Rc<Session>, worker: &Rc<Worker>, commands: Vec<Decoded>) {
    let limit = worker.config().outbox.max_bytes;
    for (index, command) in commands.into_iter().enumerate() {
        // The first was counted as a message.
        if index > 0 {
            pace::next_command(session, worker).await;
        }
        if session.is_one_answer() {
            // Nobody writes from it before the request is done.
            let (has, most) = {
                let outbox = session.outbox.borrow();
                (outbox.bytes(), outbox.allowance(limit))
            };
            if has >= most {
                refuse(session, too_much(&command, most));
                continue;
            }
        }
        room(session, limit, Outbox::bytes).await;
        if session.is_ending() {
            return;
        }
        match command {
            Ok(CommandMessage { id, command }) => {
                let kind = command.kind();
                tracing::trace!(session_id = session.id, command = kind, "command");
                session.waiting_for_nats.set(true);
                let carried_out = carry_out(session, worker, id, command).await;
                session.waiting_for_nats.set(false);
                // The answer to a ping may stand behind the command, still unread.
                session.awaiting_pong.set(false);
                match carried_out {
                    // These are counted where it is known what came of them.
                    Ok(()) if matches!(kind, "connect" | "request") => {}
                    Ok(()) => worker.meters().command(kind, None),
                    Err(error) => {
                        worker.meters().command(kind, Some(error.code));
                        refuse(session, ErrorMessage { id, ..error });
                    }
                }
            }
            Err(error) => {
                worker.meters().command(UNKNOWN_COMMAND, Some(error.code));
                refuse(session, error);
            }
        }
    }
}

/// The answers before this command fill what one request may be answered with.
fn too_much(command: &Decoded, limit: usize) -> ErrorMessage {
    let id = match command {
        Ok(message) => message.id,
        Err(error) => error.id,
    };
    let message = format!("the answers come to more than {limit} bytes: ask for less in one request");
    ErrorMessage {
        id,
        ..ErrorMessage::new(ErrorCode::Limit, message)
    }
}

/// Waits until less than `limit` of what `measure` counts is in the outbox, or less than there is memory for, and writes
/// from it meanwhile: a few bytes of commands may have megabytes of answers, and who does not read them does not get to
/// ask more. For a session of one request it waits for ever, since nobody writes from it before it is done.
pub(super) async fn room(session: &Session, limit: usize, measure: fn(&Outbox) -> usize) {
    poll_fn(|context| {
        let is_full = |outbox: &Outbox| measure(outbox) >= outbox.allowance(limit);
        while !session.is_ending() && is_full(&session.outbox.borrow()) {
            if session.is_one_answer() {
                session.full.set(true);
                return Poll::Pending;
            }
            if session.socket.poll_write_ready(context).is_pending() {
                return Poll::Pending;
            }
            session.flush();
        }
        Poll::Ready(())
    })
    .await;
}

/// Subscribes to the channels that the server joins for a client, as if it had asked without an id.
pub(super) async fn join(session: &Rc<Session>, worker: &Rc<Worker>, channels: Vec<Channel>) {
    let subscribe = |channel| Subscribe {
        channel,
        since: None,
        latest: false,
    };
    subscribe_all(session, worker, channels.into_iter().map(subscribe)).await;
}

/// Subscribes, as if the client had asked without an id.
pub(super) async fn subscribe_all(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    subscribes: impl Iterator<Item = Subscribe>,
) {
    for subscribe in subscribes {
        let joined = Box::pin(carry_out(session, worker, None, Command::Subscribe(subscribe))).await;
        if let Err(error) = joined {
            refuse(session, error);
        }
    }
}

async fn carry_out(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    id: Option<u32>,
    command: Command,
) -> Result<(), ErrorMessage> {
    if session.is_unknown() && !matches!(command, Command::Connect(_) | Command::Ping) {
        return Err(identify::unknown());
    }
    let limit = worker.config().websocket.max_channels_per_session;
    let identity = session.identity();
    let action = {
        let subscriptions = session.subscriptions.borrow();
        let subscribed: Vec<&Channel> = subscriptions.iter().map(|held| &held.channel).collect();
        state::decide(command, &worker.rules(&identity), &subscribed, limit)?
    };
    let mut span = subscription_span(session, worker, &action);
    if let Some((channel, namespace)) = action.reads() {
        // In a box of its own: most namespaces have no hook.
        let allowed = Box::pin(hook::may_read(session, worker, channel, namespace, &span)).await;
        allowed.inspect_err(|error| span.fail(&error.code.as_str()))?;
    }
    match action {
        Action::Reply(reply) => answer(session, id, reply),
        Action::Subscribe {
            channel,
            namespace,
            policy,
        } => {
            let subscribed = subscribe(session, worker, id, channel, &namespace, policy).await;
            subscribed.inspect_err(|error| span.fail(&error.code.as_str()))?;
        }
        Action::SubscribeStored {
            subscribe,
            namespace,
            stream,
        } => {
            let terms = stored_terms(worker, &subscribe.channel, &namespace, &stream)?;
            // Large and short, in a box of its own.
            let subscribed = Box::pin(start::subscribe(session, worker, id, subscribe, &terms, &span)).await;
            subscribed.inspect_err(|error| span.fail(&error.code.as_str()))?;
        }
        Action::TellPosition { channel } => start::tell_position(session, worker, id, channel)?,
        Action::Unsubscribe { channel } => {
            unsubscribe(session, worker, &channel);
            answer(session, id, Reply::Unsubscribed { channel });
        }
        Action::Connect(connect) => {
            let channels = Box::pin(identify::connect(session, worker, id, connect)).await?;
            join(session, worker, channels).await;
        }
        Action::Refresh(refresh) => Box::pin(identify::refresh(session, worker, id, refresh)).await?,
        Action::Publish { publish, namespace } => {
            let published = self::publish(worker, &identity, &publish, &namespace).await?;
            answer(session, id, published);
        }
        Action::Request { request, namespace } => {
            request::begin(session, worker, id, request, &namespace)?;
        }
        Action::History {
            history,
            namespace,
            stream,
        } => {
            let terms = stored_terms(worker, &history.channel, &namespace, &stream)?;
            // Large and short, in a box of its own.
            let page = Box::pin(history::page(worker, &history, &terms)).await?;
            answer(session, id, page);
        }
    }
    Ok(())
}

/// A span of a new subscription; mostly none.
fn subscription_span(session: &Session, worker: &Worker, action: &Action) -> Span {
    let channel = match action {
        Action::Subscribe { channel, .. } => channel,
        Action::SubscribeStored { subscribe, .. } => &subscribe.channel,
        _ => return Span::default(),
    };
    let mut span = worker.tracer().serve("subscribe", None);
    if span.is_kept() {
        span.note("tailwater.session", Hex(session.id).to_string());
        span.note("tailwater.channel", channel.to_string());
    }
    span
}

async fn subscribe(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    id: Option<u32>,
    channel: Channel,
    namespace: &Namespace,
    policy: SlowConsumer,
) -> Result<(), ErrorMessage> {
    let joined = worker
        .feed()
        .join(worker.index(), session.encoding, &channel, &terms(namespace))
        .await;
    let membership = joined.map_err(|error| broker_error(&error, &channel))?;
    // The answer and the seat in one step: no publication can come between them.
    answer(session, id, Reply::Subscribed(state::live(channel.clone())));
    let seat = worker.hub().borrow_mut().add(&membership, policy, session);
    session.hold(Subscription {
        channel,
        seat,
        membership,
        life: 0,
        behind: None,
        fed: Fed::default(),
    });
    Ok(())
}

/// The terms of a durable channel, once its stream is as it has to be.
fn stored_terms(
    worker: &Worker,
    channel: &Channel,
    namespace: &Namespace,
    stream: &str,
) -> Result<Terms, ErrorMessage> {
    let Some(stream) = worker.streams().ready(stream) else {
        let message = format!("the stream behind `{channel}` is not ready yet: try again later");
        let refusal = state::refusal(ErrorCode::Unavailable, message, Some(channel));
        return Err(ErrorMessage {
            retry_after_ms: Some(RETRY_AFTER_MS),
            ..refusal
        });
    };
    Ok(Terms {
        stream: Some(stream),
        ..terms(namespace)
    })
}

pub(super) fn terms(namespace: &Namespace) -> Terms {
    let prefix = SubjectPrefix::new(namespace.subject_prefix.as_deref().unwrap_or_default());
    Terms {
        prefix,
        max_delay: namespace.max_delay,
        stream: None,
        compress: namespace.compress,
        trace: namespace.trace,
    }
}

pub(super) fn unsubscribe(session: &Session, worker: &Worker, channel: &Channel) {
    let held = {
        let mut subscriptions = session.subscriptions.borrow_mut();
        let index = subscriptions.iter().position(|held| held.channel == *channel);
        index.map(|index| subscriptions.swap_remove(index))
    };
    if let Some(held) = held {
        let encoding = held.membership.encoding();
        worker.hub().borrow_mut().remove(held.seat, encoding);
    }
}

async fn publish(
    worker: &Worker,
    identity: &Identity,
    publish: &Publish,
    namespace: &Namespace,
) -> Result<Reply, ErrorMessage> {
    let prefix = terms(namespace).prefix;
    let publication = ClientPublication {
        channel: &publish.channel,
        payload: publish.payload.to_bytes(),
        user: identity.user.as_deref(),
        key: publish.key.as_ref(),
    };
    let publisher = worker.publisher();
    let published = match &namespace.delivery {
        Delivery::Live { .. } => publisher.publish_live(&prefix, publication).await.map(|()| None),
        Delivery::Durable { stream } => publisher
            .publish_stored(&prefix, stream, publication, ACKNOWLEDGEMENT_TIMEOUT)
            .await
            .map(Some),
    };
    let stored = published.map_err(|error| {
        let channel = publish.channel.as_str();
        tracing::debug!(channel, %error, "a publication of a client has failed");
        broker_error(&error, &publish.channel)
    })?;
    Ok(Reply::Published {
        offset: stored.map(|stored| stored.offset),
        duplicate: stored.is_some_and(|stored| stored.duplicate),
    })
}

/// What a client is told: `timeout` exactly where what it asked may have been carried out.
pub(super) fn broker_error(error: &BrokerError, channel: &Channel) -> ErrorMessage {
    let (code, retry_after_ms) = match error {
        BrokerError::TooLarge { .. } | BrokerError::TooLargeForStream { .. } => (ErrorCode::TooLarge, None),
        // Time alone does not mend these.
        BrokerError::Refused { .. } | BrokerError::StreamFull { .. } => (ErrorCode::Unavailable, None),
        BrokerError::Unacknowledged { .. } | BrokerError::AcknowledgementLost { .. } => {
            (ErrorCode::Timeout, Some(RETRY_AFTER_MS))
        }
        BrokerError::InboxRefused { .. } | BrokerError::StrangeAcknowledgement { .. } => {
            (ErrorCode::Timeout, None)
        }
        BrokerError::WrongStream { .. }
        | BrokerError::StreamRefused { .. }
        | BrokerError::OffsetTooLarge { .. }
        | BrokerError::Malformed(_) => (ErrorCode::Internal, None),
        _ => (ErrorCode::Unavailable, Some(RETRY_AFTER_MS)),
    };
    let refusal = state::refusal(code, error.to_string(), Some(channel));
    ErrorMessage {
        retry_after_ms,
        ..refusal
    }
}

pub(super) fn answer(session: &Session, id: Option<u32>, reply: Reply) {
    session.push_message(session.encoding.encode(&ServerMessage::reply(id, reply)));
}

pub(super) fn refuse(session: &Session, error: ErrorMessage) {
    session.push_message(session.encoding.encode(&Push::Error(error).into()));
}
