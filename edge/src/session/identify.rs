//! When a session says who it is: in its handshake, by `connect` or by `refresh`; and what follows when the time for that
//! is over. What a token means is left to `identity`.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use tailwater_broker::trace::TraceHeaders;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::command::{Connect, Refresh};
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::message::ServerMessage;
use tailwater_protocol::push::{Connected, Push};
use tailwater_protocol::reply::Reply;

use super::{End, Hex, Session, commands, hook};
use crate::config::{Secret, TokenPlace};
use crate::identity::claims::Grants;
use crate::identity::{Identity, Operation, TokenError};
use crate::metrics::meters::Handshake;
use crate::telemetry::traces::Span;
use crate::time::{now, rfc3339};
use crate::worker::Worker;

/// What a session waits for, in seconds since 1970; one small cell and no timer a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    #[default]
    Never,
    /// It has to say who it is by then.
    Hello(u64),
    /// Its token expires then.
    Expiry(u64),
    /// Its token has expired, and it may bring another one until then.
    Grace(u64),
}

/// How a session begins.
enum Beginning {
    /// It is somebody, or anonymous where that is enough.
    Known(Rc<Identity>),
    /// It has to say who it is first.
    Unknown,
    /// It is told why not, and ended.
    Refused(ErrorMessage, End),
}

/// Answers the opening handshake and says how the session begins; the channels that the server joins for it. The
/// handshake succeeds in any case: a browser cannot read why one fails.
pub(crate) async fn begin(
    session: &Session,
    worker: &Worker,
    mut answer: Vec<u8>,
    (token, trace): (Option<Result<Secret, ErrorMessage>>, Option<TraceHeaders>),
) -> Vec<Channel> {
    let mut span = worker.tracer().serve("connect", trace);
    if span.is_kept() {
        span.note("tailwater.session", Hex(session.id).to_string());
    }
    let beginning = if token.is_none() && !worker.hooks().decides_connections() {
        without_token(worker)
    } else {
        let mut deciding = Box::pin(decide(session, worker, token, &span));
        // Answer and `connected` go out together unless somebody else has to be asked first.
        match poll_immediate(&mut deciding).await {
            Some(beginning) => beginning,
            None => {
                session.push_message(std::mem::take(&mut answer).into());
                // What the client sends meanwhile is read later, answers to pings too.
                session.waiting_for_nats.set(true);
                let beginning = deciding.await;
                session.waiting_for_nats.set(false);
                session.awaiting_pong.set(false);
                beginning
            }
        }
    };
    let (push, end) = match beginning {
        Beginning::Known(identity) => match become_somebody(session, worker, identity) {
            Ok(()) => (Some(Push::Connected(connected(session, worker))), None),
            Err((error, end)) => (Some(Push::Error(error)), Some(end)),
        },
        Beginning::Unknown => {
            let timeout = worker.config().websocket.hello_timeout;
            session.due.set(Due::Hello(now() + timeout.as_secs()));
            (None, None)
        }
        Beginning::Refused(error, end) => (Some(Push::Error(error)), Some(end)),
    };
    let result = match &push {
        Some(Push::Error(error)) => {
            span.fail(&error.code.as_str());
            Handshake::refused(error.code)
        }
        _ => Handshake::Accepted,
    };
    worker.meters().handshakes.of(result).add(1);
    if let Some(push) = push {
        answer.extend_from_slice(&session.encoding.encode(&push.into()));
    }
    if !answer.is_empty() {
        session.push_message(answer.into());
    }
    if let Some(end) = end {
        session.end(end);
    }
    session.identity.borrow().grants.channels.clone()
}

/// Says who the client of one request is. Unlike a handshake, it can be told by a status why it is refused.
///
/// # Errors
/// What it is told.
pub(crate) async fn admit(
    session: &Session,
    worker: &Worker,
    (token, trace): (Option<Result<Secret, ErrorMessage>>, Option<TraceHeaders>),
) -> Result<Connected, ErrorMessage> {
    let mut span = worker.tracer().serve("connect", trace);
    if span.is_kept() {
        span.note("tailwater.session", Hex(session.id).to_string());
    }
    let admitted = match decide(session, worker, token, &span).await {
        Beginning::Known(identity) => {
            let known = become_somebody(session, worker, identity);
            known.map_err(|(error, _)| error)
        }
        Beginning::Unknown => Err(ErrorMessage::new(
            ErrorCode::Unauthenticated,
            "there is nothing here for anonymous clients: send a token",
        )),
        Beginning::Refused(error, _) => Err(error),
    };
    let result = match &admitted {
        Ok(()) => Handshake::Accepted,
        Err(error) => {
            span.fail(&error.code.as_str());
            Handshake::refused(error.code)
        }
    };
    worker.meters().handshakes.of(result).add(1);
    admitted.map(|()| connected(session, worker))
}

fn without_token(worker: &Worker) -> Beginning {
    if worker.config().namespaces.any_anonymous() {
        Beginning::Known(worker.anonymous().clone())
    } else {
        Beginning::Unknown
    }
}

async fn decide(
    session: &Session,
    worker: &Worker,
    token: Option<Result<Secret, ErrorMessage>>,
    span: &Span,
) -> Beginning {
    let identified = match token {
        None => Ok(worker.anonymous().clone()),
        Some(Ok(token)) => worker.identify(&token).await,
        Some(Err(error)) => Err(error),
    };
    let identity = match identified {
        Ok(identity) => identity,
        Err(error) => {
            let end = refused(error.code);
            return Beginning::Refused(error, end);
        }
    };
    match admitted(session, worker, identity, None, span).await {
        // A hook may grant something to whom it does not name.
        Ok(identity)
            if identity.is_anonymous()
                && identity.grants == Grants::default()
                && !worker.config().namespaces.any_anonymous() =>
        {
            Beginning::Unknown
        }
        Ok(identity) => Beginning::Known(identity),
        Err((error, end)) => Beginning::Refused(error, end),
    }
}

/// Who a client is in the end that is `identity` by what it brought itself: a hook may know more of it, and whether its
/// token is revoked has to be known.
///
/// # Errors
/// What the client is told instead, and how its session then ends.
async fn admitted(
    session: &Session,
    worker: &Worker,
    identity: Rc<Identity>,
    client: Option<&str>,
    span: &Span,
) -> Result<Rc<Identity>, (ErrorMessage, End)> {
    let identity = hook::admit(session, worker, identity, client, span).await?;
    if !identity.is_anonymous() {
        let known = worker.revocations_are_known().await;
        known.map_err(|error| {
            let end = refused(error.code);
            (error, end)
        })?;
    }
    Ok(identity)
}

/// Carries out `connect`: who is anonymous becomes somebody, once. The channels that the server joins for it.
///
/// # Errors
/// What the client is told instead. Only a session that had to say who it is ends with it.
pub(super) async fn connect(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    id: Option<u32>,
    connect: Connect,
) -> Result<Vec<Channel>, ErrorMessage> {
    if !session.identity().is_anonymous() {
        let message = "the session is identified already: send `refresh` with a new token";
        return Err(ErrorMessage::new(ErrorCode::BadMessage, message));
    }
    let places = &worker.config().identity.places;
    let identified = match connect.token.map(Secret::new) {
        Some(token) if places.is_open(TokenPlace::Connect) => worker.identify(&token).await,
        Some(_) => Err(ErrorMessage::new(
            ErrorCode::Unauthenticated,
            "this server takes no token by `connect`",
        )),
        None if session.is_unknown() => Err(ErrorMessage::new(
            ErrorCode::Unauthenticated,
            "there is nothing here for anonymous clients: send `connect` with a `token`",
        )),
        None => Ok(worker.anonymous().clone()),
    };
    let admitted = match identified {
        Ok(identity) => {
            let client = connect.client.as_deref();
            admitted(session, worker, identity, client, &Span::default()).await
        }
        Err(error) => {
            let end = refused(error.code);
            Err((error, end))
        }
    };
    let known = admitted.and_then(|identity| become_somebody(session, worker, identity));
    match known {
        Ok(()) => {}
        Err((error, end)) if session.is_unknown() => {
            worker.meters().command("connect", Some(error.code));
            commands::refuse(session, ErrorMessage { id, ..error });
            session.end(end);
            return Ok(Vec::new());
        }
        Err((error, _)) => return Err(error),
    }
    worker.meters().command("connect", None);
    let channels = session.identity().grants.channels.clone();
    let connected = ServerMessage::connected(id, connected(session, worker));
    session.push_message(session.encoding.encode(&connected));
    Ok(channels)
}

/// Carries out `refresh`: another token of the same user. Subscriptions that it does not allow any more end.
///
/// # Errors
/// What the client is told instead; the old token stays in force for as long as it does.
pub(super) async fn refresh(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    id: Option<u32>,
    refresh: Refresh,
) -> Result<(), ErrorMessage> {
    let before = session.identity();
    if before.is_anonymous() {
        let message = "the session is anonymous: send `connect` with the token";
        return Err(ErrorMessage::new(ErrorCode::Unauthenticated, message));
    }
    let identity = worker.identify(&Secret::new(refresh.token)).await?;
    let admitted = admitted(session, worker, identity, None, &Span::default()).await;
    let identity = admitted.map_err(|(error, _)| error)?;
    if identity.user != before.user {
        let message = "the token is another user's: connect again to change the user";
        return Err(ErrorMessage::new(ErrorCode::Forbidden, message));
    }
    become_somebody(session, worker, identity).map_err(|(error, _)| error)?;
    let expires_at = session.identity().expires_at.map(rfc3339);
    commands::answer(session, id, Reply::Refreshed { expires_at });
    give_up_what_is_forbidden(session, worker);
    Ok(())
}

/// Makes the session that of `identity`, unless that was revoked or has as many sessions as it may. All in one turn, so that
/// a revocation finds the session, or the session the revocation.
///
/// # Errors
/// What the client is told, and how its session ends if it is nobody otherwise.
fn become_somebody(
    session: &Session,
    worker: &Worker,
    identity: Rc<Identity>,
) -> Result<(), (ErrorMessage, End)> {
    let (user, token_id) = (identity.user.as_ref(), identity.token_id.as_deref());
    let of_user = user.map(|user| &**user);
    if worker
        .revocations()
        .is_revoked(of_user, token_id, identity.issued_at)
    {
        let error = ErrorMessage::new(ErrorCode::Forbidden, "the token was revoked: obtain a new one");
        return Err((error, refused(ErrorCode::Forbidden)));
    }
    if let Some(user) = user.filter(|user| session.identity.borrow().user.as_ref() != Some(*user)) {
        let Some(place) = worker.limits().users().admit(user) else {
            let message = "this user has as many connections as it may: close one first";
            let error = ErrorMessage::new(ErrorCode::Limit, message);
            return Err((error, refused(ErrorCode::Limit)));
        };
        session.user_place.set(place);
    }
    session
        .due
        .set(identity.expires_at.map_or(Due::Never, Due::Expiry));
    *session.identity.borrow_mut() = identity;
    Ok(())
}

/// Ends the subscriptions that the session's identity does not allow.
fn give_up_what_is_forbidden(session: &Session, worker: &Worker) {
    let identity = session.identity();
    let rules = worker.rules(&identity);
    let held: Vec<Channel> = {
        let subscriptions = session.subscriptions.borrow();
        subscriptions.iter().map(|held| held.channel.clone()).collect()
    };
    for channel in held {
        if rules.resolve(Operation::Subscribe, &channel).is_err() {
            commands::unsubscribe(session, worker, &channel);
            commands::answer(session, None, Reply::Unsubscribed { channel });
        }
    }
}

impl Session {
    /// Who this is.
    pub(crate) fn identity(&self) -> Rc<Identity> {
        self.identity.borrow().clone()
    }

    /// Whether it has to say who it is before anything else.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.due.get(), Due::Hello(_))
    }

    /// Does what is due by the clock: ends a session that does not say who it is, warns one whose token has expired, and
    /// ends it once the grace is over.
    pub(super) fn come_due(&self, now: u64, grace: Duration) {
        match self.due.get() {
            Due::Hello(at) if now >= at => {
                self.end(End::Close(
                    CloseCode::HelloTimeout,
                    CloseCode::HelloTimeout.reason(),
                ));
            }
            Due::Expiry(at) if now >= at => {
                self.due.set(Due::Grace(at.saturating_add(grace.as_secs())));
                let advice = match self.encoding.is_events() {
                    true => "ask again with a new one",
                    false => "send `refresh`",
                };
                let message = format!("the token has expired: {advice} within {} s", grace.as_secs());
                let expired = ErrorMessage::new(ErrorCode::TokenExpired, message);
                self.push_message(self.encoding.encode(&Push::Error(expired).into()));
            }
            Due::Grace(at) if now >= at => {
                self.end(End::Close(
                    CloseCode::TokenExpired,
                    CloseCode::TokenExpired.reason(),
                ));
            }
            _ => {}
        }
    }
}

fn connected(session: &Session, worker: &Worker) -> Connected {
    let interval = worker.config().websocket.ping_interval;
    let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    let identity = session.identity.borrow();
    let mut connected = Connected::new(Hex(session.id).to_string(), interval_ms);
    connected.user = identity.user.as_deref().map(str::to_owned);
    connected.expires_at = identity.expires_at.map(rfc3339);
    connected
}

/// How a session ends whose token is answered by this error.
fn refused(error: ErrorCode) -> End {
    let code = match error {
        ErrorCode::TokenExpired => CloseCode::TokenExpired,
        ErrorCode::Forbidden => CloseCode::Revoked,
        ErrorCode::Unavailable | ErrorCode::Timeout | ErrorCode::Limit => CloseCode::Overloaded,
        _ => CloseCode::Unauthenticated,
    };
    End::Close(code, code.reason())
}

/// What a client is told whose token is not accepted.
pub(crate) fn token_error(error: &TokenError) -> ErrorMessage {
    let code = match error {
        TokenError::Expired => ErrorCode::TokenExpired,
        error if error.is_temporary() => ErrorCode::Unavailable,
        _ => ErrorCode::Unauthenticated,
    };
    ErrorMessage {
        retry_after_ms: error.is_temporary().then_some(commands::RETRY_AFTER_MS),
        ..ErrorMessage::new(code, error.to_string())
    }
}

/// An error that says nothing of a command's channel.
pub(crate) fn unknown() -> ErrorMessage {
    let message = "say who you are first: send `connect` with a `token`";
    ErrorMessage::new(ErrorCode::Unauthenticated, message)
}
