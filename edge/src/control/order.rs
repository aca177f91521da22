//! What services and operators ask: one JSON object, read strictly, because a field that nobody understands might have
//! been the one that matters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tailwater_broker::publish::MAX_USER_BYTES;
use tailwater_protocol::channel::Pattern;

use crate::identity::Identity;

/// The longest name of a user, id of a token or reason, in bytes: no user that a session may have is longer.
const MAX_TEXT_BYTES: usize = MAX_USER_BYTES;

/// How far clocks may be apart, in seconds.
const SKEW: u64 = 300;

/// What is to be done; the last part of the subject in NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Disconnect,
    Unsubscribe,
    Revoke,
}

/// What one order asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) selector: Selector,
    pub(crate) action: Action,
    /// For the log; clients do not see it.
    pub(crate) reason: Option<Arc<str>>,
}

/// Which sessions an order means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// One session.
    Session(u64),
    /// All of a user; with a time only those whose token was issued before it, or does not say when, in seconds since
    /// 1970.
    User {
        user: Arc<str>,
        issued_before: Option<u64>,
    },
    /// All with this token.
    Token(Arc<str>),
}

/// What happens to the sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// They are closed, and may come back.
    Disconnect,
    /// They lose the subscriptions that this pattern includes, and may subscribe again.
    Unsubscribe(Pattern),
    /// They are closed, and their tokens are not accepted any more. After this time, in seconds since 1970, that need not
    /// be remembered.
    Revoke { expires_at: Option<u64> },
}

/// An order as it travels.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_id: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issued_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Arc<str>>,
}

impl Verb {
    /// The verb of this name.
    pub(crate) fn new(name: &str) -> Option<Self> {
        [Self::Disconnect, Self::Unsubscribe, Self::Revoke]
            .into_iter()
            .find(|verb| verb.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Unsubscribe => "unsubscribe",
            Self::Revoke => "revoke",
        }
    }
}

impl Order {
    /// Reads an order of this verb. `now` is the time in seconds since 1970.
    ///
    /// # Errors
    /// A sentence that names the field and says what to do.
    pub(crate) fn parse(verb: Verb, body: &[u8], now: u64) -> Result<Self, String> {
        // The library would take a list for the fields in their order.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("an order is one JSON object, such as {\"user\":\"ann\"}".to_owned());
        }
        let fields: Fields = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        for (name, text) in [
            ("user", &fields.user),
            ("token_id", &fields.token_id),
            ("reason", &fields.reason),
        ] {
            if let Some(text) = text
                && (text.is_empty() || text.len() > MAX_TEXT_BYTES)
            {
                return Err(format!("`{name}` must have 1 to {MAX_TEXT_BYTES} bytes"));
            }
        }
        let issued_before = match (&fields.user, fields.issued_before) {
            (None, Some(_)) => return Err("`issued_before` goes with `user` only".to_owned()),
            (_, Some(time)) if time > now.saturating_add(SKEW) => {
                return Err("`issued_before` is in the future: give seconds since 1970".to_owned());
            }
            // What was issued within this second is older than the order.
            (_, None) if verb == Verb::Revoke => Some(now + 1),
            (_, issued_before) => issued_before,
        };
        let selector = match (fields.session, fields.user, fields.token_id) {
            (Some(session), None, None) => Selector::Session(parse_session(&session)?),
            (None, Some(user), None) => Selector::User { user, issued_before },
            (None, None, Some(token_id)) => Selector::Token(token_id),
            _ => return Err("give exactly one of `session`, `user` and `token_id`".to_owned()),
        };
        if fields.channel.is_some() && verb != Verb::Unsubscribe {
            return Err(format!("`channel` does not belong to {}", verb.name()));
        }
        if fields.expires_at.is_some() && verb != Verb::Revoke {
            return Err(format!("`expires_at` does not belong to {}", verb.name()));
        }
        let action = match verb {
            Verb::Disconnect => Action::Disconnect,
            Verb::Unsubscribe => {
                let channel = fields
                    .channel
                    .ok_or("`channel` is missing: a channel or a pattern")?;
                let pattern = Pattern::new(&channel);
                Action::Unsubscribe(pattern.map_err(|error| format!("`channel` is `{channel}`: {error}"))?)
            }
            Verb::Revoke if fields.expires_at.is_some_and(|time| time <= now) => {
                return Err(
                    "`expires_at` is in the past: give seconds since 1970, or leave it out".to_owned(),
                );
            }
            Verb::Revoke => Action::Revoke {
                expires_at: fields.expires_at,
            },
        };
        Ok(Self {
            selector,
            action,
            reason: fields.reason,
        })
    }

    pub(crate) fn verb(&self) -> Verb {
        match self.action {
            Action::Disconnect => Verb::Disconnect,
            Action::Unsubscribe(_) => Verb::Unsubscribe,
            Action::Revoke { .. } => Verb::Revoke,
        }
    }

    /// The order as other edges read it, with the same effect whatever their clocks say.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut fields = Fields {
            reason: self.reason.clone(),
            ..Fields::default()
        };
        match &self.selector {
            Selector::Session(id) => fields.session = Some(format!("{id:016x}")),
            Selector::User { user, issued_before } => {
                (fields.user, fields.issued_before) = (Some(user.clone()), *issued_before);
            }
            Selector::Token(token_id) => fields.token_id = Some(token_id.clone()),
        }
        match &self.action {
            Action::Disconnect => {}
            Action::Unsubscribe(pattern) => fields.channel = Some(pattern.to_string()),
            Action::Revoke { expires_at } => fields.expires_at = *expires_at,
        }
        serde_json::to_vec(&fields).unwrap_or_default()
    }
}

impl Selector {
    /// Whether a session with this id and identity is meant.
    pub(crate) fn means(&self, id: u64, identity: &Identity) -> bool {
        match self {
            Self::Session(wanted) => *wanted == id,
            Self::User { user, issued_before } => {
                identity.user.as_ref() == Some(user)
                    && issued_before.is_none_or(|before| identity.issued_at.is_none_or(|at| at < before))
            }
            Self::Token(token_id) => identity.token_id.as_ref() == Some(token_id),
        }
    }
}

/// A session's id as clients see it: 16 hexadecimal digits.
///
/// # Errors
/// A sentence for whoever wrote it.
pub(crate) fn parse_session(text: &str) -> Result<u64, String> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    id.ok_or_else(|| {
        "`session` must be the id that `connected` told the client: 16 hexadecimal digits".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::claims::MAX_NAME_BYTES;

    const NOW: u64 = 1_800_000_000;

    fn parse(verb: Verb, body: &str) -> Result<Order, String> {
        Order::parse(verb, body.as_bytes(), NOW)
    }

    #[test]
    fn an_order_reads_back_as_it_was_whatever_the_clock_says() {
        for (verb, body) in [
            (
                Verb::Disconnect,
                r#"{"session":"00000000000000ff","reason":"moved"}"#,
            ),
            (Verb::Disconnect, r#"{"user":"ann","issued_before":5}"#),
            (Verb::Unsubscribe, r#"{"token_id":"t1","channel":"rooms.*.>"}"#),
            (Verb::Revoke, r#"{"user":"ann"}"#),
            (Verb::Revoke, r#"{"token_id":"t1","expires_at":1800000060}"#),
        ] {
            let order = parse(verb, body).expect("an order");
            let again = Order::parse(verb, &order.body(), NOW + 30);
            assert_eq!(again, Ok(order), "{body}");
        }
    }

    #[test]
    fn whoever_may_have_a_session_can_be_named() {
        for (field, bytes) in [("user", MAX_USER_BYTES), ("token_id", MAX_NAME_BYTES)] {
            let name = "x".repeat(bytes);
            let order = parse(Verb::Revoke, &format!(r#"{{"{field}":"{name}"}}"#));
            assert!(order.is_ok(), "{field}: {order:?}");
        }
        let name = "x".repeat(MAX_USER_BYTES + 1);
        assert!(parse(Verb::Revoke, &format!(r#"{{"user":"{name}"}}"#)).is_err());
    }

    #[test]
    fn each_mistake_names_its_field() {
        for (verb, body, named) in [
            (Verb::Disconnect, r#"{"user":"ann","usr":"bob"}"#, "`usr`"),
            (Verb::Disconnect, r#"{"user":"ann","user":"bob"}"#, "`user`"),
            (Verb::Disconnect, "{}", "`session`"),
            (
                Verb::Disconnect,
                r#"{"user":"ann","token_id":"t"}"#,
                "exactly one",
            ),
            (Verb::Disconnect, r#"{"user":""}"#, "`user`"),
            (Verb::Disconnect, r#"{"session":"ff"}"#, "16 hexadecimal"),
            (
                Verb::Disconnect,
                r#"{"session":"+0000000000000ff"}"#,
                "16 hexadecimal",
            ),
            (Verb::Disconnect, r#"{"user":"ann","channel":"a"}"#, "`channel`"),
            (
                Verb::Disconnect,
                r#"{"user":"ann","expires_at":1900000000}"#,
                "`expires_at`",
            ),
            (Verb::Unsubscribe, r#"{"user":"ann"}"#, "`channel`"),
            (Verb::Unsubscribe, r#"{"user":"ann","channel":"a..b"}"#, "`a..b`"),
            (
                Verb::Revoke,
                r#"{"token_id":"t","issued_before":1}"#,
                "`issued_before`",
            ),
            (
                Verb::Revoke,
                r#"{"user":"ann","issued_before":"yesterday"}"#,
                "yesterday",
            ),
            (
                Verb::Revoke,
                r#"{"user":"ann","issued_before":1800000000000}"#,
                "seconds since 1970",
            ),
            (Verb::Revoke, r#"{"user":"ann","expires_at":1}"#, "`expires_at`"),
            (Verb::Revoke, "ann", "JSON object"),
            (Verb::Revoke, r#"["0000000000000001"]"#, "JSON object"),
            (Verb::Revoke, r#"{"user":"ann"}, {}"#, "column 15"),
        ] {
            let error = parse(verb, body).expect_err(body);
            assert!(error.contains(named), "{body}: {error}");
        }
    }

    #[test]
    fn a_user_is_revoked_up_to_now_and_disconnected_altogether() {
        let identity = |issued_at| Identity {
            user: Some("ann".into()),
            token_id: Some("t1".into()),
            issued_at,
            ..Identity::default()
        };
        let revoke = parse(Verb::Revoke, r#"{"user":"ann"}"#)
            .expect("an order")
            .selector;
        assert!(revoke.means(1, &identity(Some(NOW))));
        assert!(revoke.means(1, &identity(None)));
        assert!(!revoke.means(1, &identity(Some(NOW + 1))));
        assert!(!revoke.means(1, &Identity::default()));
        let disconnect = parse(Verb::Disconnect, r#"{"user":"ann"}"#)
            .expect("an order")
            .selector;
        assert!(disconnect.means(1, &identity(Some(NOW + 1))));
        assert!(Selector::Token("t1".into()).means(1, &identity(None)));
        assert!(Selector::Session(1).means(1, &Identity::default()));
        assert!(!Selector::Session(2).means(1, &identity(None)));
    }
}
