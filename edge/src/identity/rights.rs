//! What an identity may do with a channel: what its namespace grants, what its token grants, and what wins.

use std::sync::Arc;

use serde_json::{Map, Value};
use tailwater_protocol::channel::{Channel, Pattern};

use super::claims::{Claims, Grants, Patterns};
use crate::config::Namespace;
use crate::hooks::ConnectAnswer;

/// What a client does with a channel. Reading history is subscribing to what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Subscribe,
    Publish,
    Request,
}

/// Why an identity may not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The namespace or the token says so, whatever else allows it.
    Explicitly,
    /// Nobody has said who this is, and the namespace asks for that.
    Anonymous,
    /// Neither the namespace nor the token allows it.
    NotGranted,
}

/// Who a session is, and what it may do.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// `sub` of the token; nothing: anonymous.
    pub(crate) user: Option<Arc<str>>,
    /// `jti` of the token.
    pub(crate) token_id: Option<Arc<str>>,
    /// `iat` of the token, in seconds since 1970.
    pub(crate) issued_at: Option<u64>,
    /// `exp` of the token, in seconds since 1970.
    pub(crate) expires_at: Option<u64>,
    /// What the token itself says.
    pub(crate) grants: Grants,
    /// All claims of the token, for hooks and placeholders; empty for an anonymous session.
    pub(crate) claims: Arc<Map<String, Value>>,
}

impl From<Claims> for Identity {
    fn from(claims: Claims) -> Self {
        Self {
            user: claims.user,
            token_id: claims.token_id,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            grants: claims.tailwater,
            claims: claims.all,
        }
    }
}

impl Identity {
    /// The same, with what a hook's service says of it: what that says replaces what the token says.
    pub(crate) fn with(&self, answer: ConnectAnswer) -> Self {
        let mut channels = self.grants.channels.clone();
        channels.extend(answer.channels.iter().cloned());
        let mut claims = self.claims.clone();
        if let Some(user) = &answer.user {
            // What a placeholder stands for is whom the service knows, not whom the token names.
            Arc::make_mut(&mut claims).insert("sub".to_owned(), Value::from(&**user));
        }
        Self {
            user: answer.user.or_else(|| self.user.clone()),
            token_id: self.token_id.clone(),
            issued_at: self.issued_at,
            // The token ends when it says so, whatever the service says.
            expires_at: match (self.expires_at, answer.expires_at) {
                (Some(own), Some(said)) => Some(own.min(said)),
                (own, said) => own.or(said),
            },
            grants: Grants {
                subscribe: answer.subscribe.or_else(|| self.grants.subscribe.clone()),
                publish: answer.publish.or_else(|| self.grants.publish.clone()),
                request: answer.request.or_else(|| self.grants.request.clone()),
                channels,
                service: self.grants.service,
            },
            claims,
        }
    }
}

impl Patterns {
    /// Whether one of its patterns includes all that is asked for.
    fn allows(&self, asked: &Pattern) -> bool {
        self.allow.iter().any(|allowed| allowed.includes(asked))
    }

    /// Whether something of what is asked for is denied.
    fn denies(&self, asked: &Pattern) -> bool {
        self.deny.iter().any(|denied| denied.overlaps(asked))
    }
}

impl Identity {
    /// Whether neither a token nor a hook has said who this is. A token without `sub` says what may be done, and not by
    /// whom.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.user.is_none() && self.claims.is_empty()
    }

    /// Whether it is a service whose own token names the channel as one that it publishes on.
    pub(crate) fn publishes_as_service(&self, channel: &Channel) -> bool {
        let own = self.grants.publish.as_ref();
        self.grants.service && own.is_some_and(|own| own.allows(channel.pattern()))
    }

    /// Whether it may do this on a channel of this namespace. What is denied, by the namespace or by the token, is denied
    /// whatever else allows it, and of a pattern that means: whatever it touches.
    ///
    /// # Errors
    /// [`Denied`]: why not.
    pub(crate) fn may(
        &self,
        operation: Operation,
        channel: &Channel,
        namespace: &Namespace,
    ) -> Result<(), Denied> {
        let asked = channel.pattern();
        let own = match operation {
            Operation::Subscribe => &self.grants.subscribe,
            Operation::Publish => &self.grants.publish,
            Operation::Request => &self.grants.request,
        };
        let mut denied = namespace
            .deny
            .iter()
            .filter_map(|denied| denied.at_widest(&self.claims));
        if denied.any(|denied| denied.overlaps(asked)) || own.as_ref().is_some_and(|own| own.denies(asked)) {
            return Err(Denied::Explicitly);
        }
        if namespace.anonymous {
            return Ok(());
        }
        // A hook may grant something to whom nobody has named.
        let joined = operation == Operation::Subscribe && self.grants.channels.contains(channel);
        if joined || own.as_ref().is_some_and(|own| own.allows(asked)) {
            return Ok(());
        }
        if self.is_anonymous() {
            return Err(Denied::Anonymous);
        }
        let templates = match operation {
            Operation::Subscribe => &namespace.allow_subscribe,
            Operation::Publish => &namespace.allow_publish,
            Operation::Request => &namespace.allow_request,
        };
        let mut allowed = templates.iter().filter_map(|allowed| allowed.of(&self.claims));
        if allowed.any(|allowed| allowed.includes(asked)) {
            Ok(())
        } else {
            Err(Denied::NotGranted)
        }
    }
}

#[cfg(test)]
mod tests;
