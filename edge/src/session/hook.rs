//! What hooks are asked about a session, and what their answers do to it.

use std::rc::Rc;

use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::error::ErrorMessage;

use super::{End, Hex, Session};
use crate::config::Namespace;
use crate::hooks::{Client, ConnectAnswer, ConnectFacts, HookRefusal, SubscribeFacts};
use crate::identity::Identity;
use crate::telemetry::traces::Span;
use crate::worker::Worker;

/// What a client reads whom the hook does not let in.
const DENIED: &str = "the service that admits clients refuses this one: do not reconnect with the same";

/// What a client reads if there is no decision about it.
const NO_DECISION: &str = "the service that admits clients does not answer: reconnect with back-off";

/// Asks the hook for connections, where there is one, whether a client may come in that is `identity` by what it brought
/// itself, and what it is by what the service knows. `client` is what the client's program calls itself, `span` what the
/// question is a part of.
///
/// # Errors
/// What the client is told if it may not, and how its session then ends.
pub(super) async fn admit(
    session: &Session,
    worker: &Worker,
    identity: Rc<Identity>,
    client: Option<&str>,
    span: &Span,
) -> Result<Rc<Identity>, (ErrorMessage, End)> {
    if !worker.hooks().decides_connections() {
        return Ok(identity);
    }
    let id = Hex(session.id).to_string();
    let facts = ConnectFacts {
        by: session.asker(&id, &identity, span),
        client,
    };
    match worker.hooks().connect(facts).await {
        Ok(answer) if answer == ConnectAnswer::default() => Ok(identity),
        Ok(answer) => Ok(Rc::new(identity.with(answer))),
        Err(refusal) => {
            let end = match refusal {
                HookRefusal::Denied { .. } => End::Close(CloseCode::Revoked, DENIED),
                HookRefusal::Failed => End::Close(CloseCode::Overloaded, NO_DECISION),
            };
            Err((refusal.error(None), end))
        }
    }
}

/// Asks the hook, where the namespace has it asked, whether the client may read the channel.
///
/// # Errors
/// What the client is told if it may not.
pub(super) async fn may_read(
    session: &Session,
    worker: &Worker,
    channel: &Channel,
    namespace: &Namespace,
    span: &Span,
) -> Result<(), ErrorMessage> {
    if !namespace.subscribe_hook {
        return Ok(());
    }
    let id = Hex(session.id).to_string();
    let identity = session.identity();
    let facts = SubscribeFacts {
        by: session.asker(&id, &identity, span),
        channel,
    };
    let answer = worker.hooks().subscribe(facts).await;
    answer.map_err(|refusal| refusal.error(Some(channel)))
}

impl Session {
    /// Who the client is, for the service of a hook.
    fn asker<'a>(&'a self, id: &'a str, identity: &'a Identity, span: &'a Span) -> Client<'a> {
        Client {
            session: id,
            remote_addr: self.remote_addr,
            user: identity.user.as_deref(),
            claims: (!identity.claims.is_empty()).then_some(&*identity.claims),
            headers: self.headers.as_deref(),
            span,
        }
    }
}
