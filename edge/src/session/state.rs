//! What a command may do: the rules of a session, without I/O and without a clock.

use std::sync::Arc;

use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, Connect, History, Publish, Refresh, Request, Subscribe};
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::limits::MAX_HISTORY_LIMIT;
use tailwater_protocol::reply::{Reply, Subscribed};

use crate::config::{Delivery, Namespace, Namespaces, ResolveError, SlowConsumer};
use crate::identity::{Denied, Identity, Operation};

/// What is to be done about a command.
#[derive(Debug)]
pub(crate) enum Action {
    /// Answer at once.
    Reply(Reply),
    /// Join the live channel, then answer.
    Subscribe {
        channel: Channel,
        namespace: Arc<Namespace>,
        policy: SlowConsumer,
    },
    /// Join the durable channel, then answer.
    SubscribeStored {
        subscribe: Subscribe,
        namespace: Arc<Namespace>,
        stream: Arc<str>,
    },
    /// Say where the session is in a durable channel that it holds already.
    TellPosition { channel: Channel },
    /// Leave the channel, then answer.
    Unsubscribe { channel: Channel },
    /// Publish, then answer.
    Publish {
        publish: Publish,
        namespace: Arc<Namespace>,
    },
    /// Find out who the client is, then answer.
    Connect(Connect),
    /// Find out whether the client still is who it was, then answer.
    Refresh(Refresh),
    /// Ask the service, and answer when it has; other commands do not wait for that.
    Request {
        request: Request,
        namespace: Arc<Namespace>,
    },
    /// Read a page of the durable channel, and answer with it.
    History {
        history: History,
        namespace: Arc<Namespace>,
        stream: Arc<str>,
    },
}

impl Action {
    /// The channel whose publications the client would get, and its namespace.
    pub(crate) fn reads(&self) -> Option<(&Channel, &Namespace)> {
        match self {
            Self::Subscribe {
                channel, namespace, ..
            } => Some((channel, namespace)),
            Self::SubscribeStored {
                subscribe, namespace, ..
            } => Some((&subscribe.channel, namespace)),
            Self::History {
                history, namespace, ..
            } => Some((&history.channel, namespace)),
            _ => None,
        }
    }
}

/// What a command is judged by.
pub(crate) struct Rules<'a> {
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) identity: &'a Identity,
    /// The server takes tokens, so that who is anonymous may become somebody.
    pub(crate) tokens: bool,
}

/// Decides about `command`, for a session that holds `subscribed` and may hold `limit` channels.
///
/// # Errors
/// What the client is told instead.
pub(crate) fn decide(
    command: Command,
    rules: &Rules<'_>,
    subscribed: &[&Channel],
    limit: usize,
) -> Result<Action, ErrorMessage> {
    match command {
        Command::Ping => Ok(Action::Reply(Reply::Pong)),
        Command::Connect(connect) => Ok(Action::Connect(connect)),
        Command::Refresh(refresh) => Ok(Action::Refresh(refresh)),
        Command::Subscribe(subscribe) => decide_subscribe(subscribe, rules, subscribed, limit),
        Command::Unsubscribe(unsubscribe) => Ok(Action::Unsubscribe {
            channel: unsubscribe.channel,
        }),
        Command::Publish(publish) => decide_publish(publish, rules),
        Command::Request(request) => decide_request(request, rules),
        Command::History(history) => decide_history(history, rules),
        other => {
            let message = format!("`{}` is not available on this server", other.kind());
            Err(refusal(ErrorCode::UnknownType, message, None))
        }
    }
}

fn decide_subscribe(
    subscribe: Subscribe,
    rules: &Rules<'_>,
    subscribed: &[&Channel],
    limit: usize,
) -> Result<Action, ErrorMessage> {
    let channel = &subscribe.channel;
    let namespace = rules.resolve(Operation::Subscribe, channel)?;
    let held = subscribed.contains(&channel);
    if !held && subscribed.len() >= limit {
        let message = format!("a session may hold {limit} channels: unsubscribe from one first");
        return Err(refusal(ErrorCode::Limit, message, Some(channel)));
    }
    match &namespace.delivery {
        Delivery::Durable { .. } if subscribe.latest && subscribe.since.is_some() => {
            let message =
                "`latest` gives the last values and goes on from there: leave out `since`, or `latest`";
            Err(refusal(ErrorCode::BadMessage, message.to_owned(), Some(channel)))
        }
        Delivery::Durable { .. } if held => Ok(Action::TellPosition {
            channel: subscribe.channel,
        }),
        Delivery::Durable { stream } => Ok(Action::SubscribeStored {
            stream: stream.clone(),
            namespace: namespace.clone(),
            subscribe,
        }),
        Delivery::Live { .. } if subscribe.since.is_some() || subscribe.latest => {
            let message =
                format!("`{channel}` is live: it has no history, so leave out `since` and `latest`");
            Err(refusal(ErrorCode::NotDurable, message, Some(channel)))
        }
        Delivery::Live { .. } if held => Ok(Action::Reply(Reply::Subscribed(live(subscribe.channel)))),
        Delivery::Live { slow_consumer } => Ok(Action::Subscribe {
            policy: *slow_consumer,
            namespace: namespace.clone(),
            channel: subscribe.channel,
        }),
    }
}

fn decide_publish(publish: Publish, rules: &Rules<'_>) -> Result<Action, ErrorMessage> {
    let channel = &publish.channel;
    if channel.is_wildcard() {
        let message = format!("`{channel}` is a pattern: publish to one channel");
        return Err(refusal(ErrorCode::BadMessage, message, Some(channel)));
    }
    let namespace = rules.resolve(Operation::Publish, channel)?;
    if !namespace.publish && !rules.identity.publishes_as_service(channel) {
        let message = format!("clients may not publish to `{channel}`");
        return Err(refusal(ErrorCode::Forbidden, message, Some(channel)));
    }
    Ok(Action::Publish {
        namespace: namespace.clone(),
        publish,
    })
}

fn decide_request(request: Request, rules: &Rules<'_>) -> Result<Action, ErrorMessage> {
    let channel = &request.channel;
    if channel.is_wildcard() {
        let message = format!("`{channel}` is a pattern: ask on one channel");
        return Err(refusal(ErrorCode::BadMessage, message, Some(channel)));
    }
    if request.timeout_ms == Some(0) {
        let message = "`timeout_ms` is 0: give the service some time, or leave it out".to_owned();
        return Err(refusal(ErrorCode::BadMessage, message, Some(channel)));
    }
    let namespace = rules.resolve(Operation::Request, channel)?;
    if !namespace.request {
        let message = format!("clients may not send requests to `{channel}`");
        return Err(refusal(ErrorCode::Forbidden, message, Some(channel)));
    }
    Ok(Action::Request {
        namespace: namespace.clone(),
        request,
    })
}

fn decide_history(history: History, rules: &Rules<'_>) -> Result<Action, ErrorMessage> {
    let channel = &history.channel;
    let namespace = rules.resolve(Operation::Subscribe, channel)?;
    let Delivery::Durable { stream } = &namespace.delivery else {
        let message = format!("`{channel}` is live: it has no history");
        return Err(refusal(ErrorCode::NotDurable, message, Some(channel)));
    };
    if let Some(limit) = history.limit.filter(|limit| limit.get() > MAX_HISTORY_LIMIT) {
        let message = format!(
            "a page has at most {MAX_HISTORY_LIMIT} publications, not {limit}: go on with its `next`"
        );
        return Err(refusal(ErrorCode::Limit, message, Some(channel)));
    }
    Ok(Action::History {
        stream: stream.clone(),
        namespace: namespace.clone(),
        history,
    })
}

impl<'a> Rules<'a> {
    /// The namespace of a channel, if the client may do this there.
    ///
    /// # Errors
    /// What the client is told instead.
    pub(crate) fn resolve(
        &self,
        operation: Operation,
        channel: &Channel,
    ) -> Result<&'a Arc<Namespace>, ErrorMessage> {
        let namespace = self.namespaces.resolve(channel).map_err(|error| {
            let code = match error {
                ResolveError::NoSuchChannel => ErrorCode::NoSuchChannel,
                ResolveError::Forbidden(_) => ErrorCode::Forbidden,
            };
            refusal(code, error.to_string(), Some(channel))
        })?;
        let verb = match operation {
            Operation::Subscribe => "subscribe to",
            Operation::Publish => "publish to",
            Operation::Request => "send requests to",
        };
        let (code, message) = match self.identity.may(operation, channel, namespace) {
            Ok(()) => return Ok(namespace),
            Err(Denied::Anonymous) if self.tokens => (
                ErrorCode::Unauthenticated,
                format!(
                    "`{channel}` is not open to anonymous clients: say who you are by `connect` with a token"
                ),
            ),
            Err(Denied::Anonymous) => (
                ErrorCode::Forbidden,
                format!("`{channel}` is not open to anonymous clients"),
            ),
            Err(Denied::NotGranted) => (
                ErrorCode::Forbidden,
                format!("your token does not allow you to {verb} `{channel}`"),
            ),
            Err(Denied::Explicitly) => (ErrorCode::Forbidden, format!("you may not {verb} `{channel}`")),
        };
        Err(refusal(code, message, Some(channel)))
    }
}

/// The answer to a subscription of a live channel.
pub(crate) fn live(channel: Channel) -> Subscribed {
    Subscribed {
        channel,
        durable: false,
        offset: None,
        epoch: None,
        recovered: None,
    }
}

/// An error for the client; its `id` is added by whoever knows the command.
pub(crate) fn refusal(code: ErrorCode, message: String, channel: Option<&Channel>) -> ErrorMessage {
    let channel = channel.map(|channel| channel.as_str().to_owned());
    ErrorMessage {
        channel,
        ..ErrorMessage::new(code, message)
    }
}
