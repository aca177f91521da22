//! Hooks: services that are asked, by a NATS request, before a client may connect or subscribe.
//!
//! A question holds what a service of its own front would see: address, user, claims, and the headers of the handshake
//! that the configuration names. One [`Hooks`] serves all workers. What an answer means for a session is left to the
//! session.
//!
//! - `hook`: one service, how it is asked and what its silence means. `answer`: what it may say, read strictly.
//! - `cache`: answers that still hold. `headers`: what is kept of a handshake.

mod answer;
mod cache;
mod headers;
mod hook;

use std::net::SocketAddr;

use hyper::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value};
use tailwater_broker::request::Requester;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};

use crate::config::HooksConfig;
use crate::telemetry::traces::{Span, Tracer};

pub(crate) use self::answer::ConnectAnswer;
pub(crate) use self::headers::KeptHeaders;
use self::headers::Shown;
use self::hook::Hook;

/// When a client should try again after the hook's service did not answer, in milliseconds.
const RETRY_AFTER_MS: u32 = 2000;

/// The hooks that are configured.
#[derive(Debug)]
pub(crate) struct Hooks {
    connect: Option<Hook<ConnectAnswer>>,
    subscribe: Option<Hook<()>>,
}

/// Who asks for something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    /// The session, as its client knows it from `connected`.
    pub(crate) session: &'a str,
    pub(crate) remote_addr: SocketAddr,
    /// Nothing: anonymous.
    pub(crate) user: Option<&'a str>,
    /// All claims of the token; nothing without one.
    pub(crate) claims: Option<&'a Map<String, Value>>,
    /// What [`Hooks::keep`] kept of its handshake.
    pub(crate) headers: Option<&'a KeptHeaders>,
    /// What the question is a part of.
    pub(crate) span: &'a Span,
}

/// A new session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectFacts<'a> {
    pub(crate) by: Client<'a>,
    /// What the client program calls itself in `connect`.
    pub(crate) client: Option<&'a str>,
}

/// A subscription, or a page of history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscribeFacts<'a> {
    pub(crate) by: Client<'a>,
    /// May be a pattern.
    pub(crate) channel: &'a Channel,
}

/// Why a client may not do what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HookRefusal {
    /// The service says no; its reason, of at most 120 characters, is for the client.
    Denied { reason: Option<Box<str>> },
    /// The service did not answer, and without it nothing is allowed.
    Failed,
}

impl HookRefusal {
    /// What the client is told, of the channel if it was about one.
    pub(crate) fn error(&self, channel: Option<&Channel>) -> ErrorMessage {
        let (code, message, retry_after_ms) = match self {
            Self::Denied { reason: Some(reason) } => (ErrorCode::Forbidden, reason.to_string(), None),
            Self::Denied { reason: None } => {
                let message = "the service that decides about it refuses it".to_owned();
                (ErrorCode::Forbidden, message, None)
            }
            Self::Failed => {
                let message = "the service that decides about it does not answer: try again later".to_owned();
                (ErrorCode::Unavailable, message, Some(RETRY_AFTER_MS))
            }
        };
        ErrorMessage {
            channel: channel.map(|channel| channel.as_str().to_owned()),
            retry_after_ms,
            ..ErrorMessage::new(code, message)
        }
    }
}

impl Hooks {
    /// The hooks of this configuration, which ask through `requester`; none without one.
    pub(crate) fn new(config: &HooksConfig, requester: Option<&Requester>, tracer: &Tracer) -> Self {
        Self {
            connect: config
                .connect
                .as_ref()
                .zip(requester)
                .map(|(config, requester)| Hook::new("connect", config, requester.clone(), tracer.clone())),
            subscribe: config
                .subscribe
                .as_ref()
                .zip(requester)
                .map(|(config, requester)| Hook::new("subscribe", config, requester.clone(), tracer.clone())),
        }
    }

    /// What the hooks may be shown of a handshake, and nothing else of it; nothing if that is nothing.
    pub(crate) fn keep(&self, headers: &HeaderMap) -> Option<Box<KeptHeaders>> {
        let connect = self.connect.iter().flat_map(Hook::headers);
        let subscribe = self.subscribe.iter().flat_map(Hook::headers);
        KeptHeaders::of(headers, connect.chain(subscribe))
    }

    /// Whether a new session is asked about at all.
    pub(crate) fn decides_connections(&self) -> bool {
        self.connect.is_some()
    }

    /// Asks about a new session. Without a hook, or with one that may fail and does, the answer grants nothing.
    ///
    /// # Errors
    /// [`HookRefusal`]: the session may not be.
    pub(crate) async fn connect(&self, facts: ConnectFacts<'_>) -> Result<ConnectAnswer, HookRefusal> {
        let Some(hook) = &self.connect else {
            return Ok(ConnectAnswer::default());
        };
        let ConnectFacts { by, client } = facts;
        hook.ask(by.session, by.span, |session| {
            question("connect", session, by, hook, About::Connect { client })
        })
        .await
    }

    /// Asks about a subscription or history.
    ///
    /// # Errors
    /// [`HookRefusal`]: the client may not have the channel.
    pub(crate) async fn subscribe(&self, facts: SubscribeFacts<'_>) -> Result<(), HookRefusal> {
        let Some(hook) = &self.subscribe else {
            return Ok(());
        };
        let SubscribeFacts { by, channel } = facts;
        hook.ask(by.session, by.span, |session| {
            question("subscribe", session, by, hook, About::Subscribe { channel })
        })
        .await
    }
}

/// A question as the service reads it. Every field is always there.
#[derive(Serialize)]
struct Question<'a> {
    event: &'static str,
    session: &'a str,
    /// Address and port as the edge sees them; without the port where it does not count.
    remote_addr: Address,
    user: Option<&'a str>,
    claims: &'a Map<String, Value>,
    headers: Shown<'a>,
    #[serde(flatten)]
    about: About<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum About<'a> {
    Connect { client: Option<&'a str> },
    Subscribe { channel: &'a Channel },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Address {
    Whole(SocketAddr),
    WithoutPort(std::net::IpAddr),
}

/// The JSON of a question. Without a session it is what makes two questions the same: a client that comes back has
/// another session and another port.
fn question<G: hook::Grant>(
    event: &'static str,
    session: Option<&str>,
    by: Client<'_>,
    hook: &Hook<G>,
    about: About<'_>,
) -> Vec<u8> {
    let none = Map::new();
    let question = Question {
        event,
        session: session.unwrap_or_default(),
        remote_addr: match session {
            Some(_) => Address::Whole(by.remote_addr),
            None => Address::WithoutPort(by.remote_addr.ip()),
        },
        user: by.user,
        claims: by.claims.unwrap_or(&none),
        headers: Shown {
            kept: by.headers,
            named: hook.headers(),
        },
        about,
    };
    serde_json::to_vec(&question).expect("texts and JSON values can be written")
}

#[cfg(test)]
mod tests;
