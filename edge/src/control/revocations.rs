//! Which tokens are not accepted any more: looked up by every thread that verifies one.
//!
//! There are two sets. What the bucket holds is a copy, replaced as a whole whenever the bucket is read; what was told
//! over NATS or by an operator stays beside it until the bucket is sure to have it, or, where there is no bucket, for
//! as long as the bucket would have kept it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tailwater_broker::bucket::{Entry, MAX_ENTRIES};

use crate::time::parse_rfc3339;

/// The revocations that this edge knows; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Revocations(Arc<Sets>);

/// No lock is held for longer than a look-up or the exchange of a set, but once a minute to forget what is old.
#[derive(Debug, Default)]
struct Sets {
    stored: RwLock<Set>,
    told: RwLock<Set>,
}

#[derive(Debug, Default)]
struct Set {
    users: HashMap<Arc<str>, Terms>,
    tokens: HashMap<Arc<str>, Terms>,
}

/// Whose tokens are revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    /// Those of a user that are old enough.
    User(Arc<str>),
    /// One, by its id.
    Token(Arc<str>),
}

/// How far a revocation goes; all times in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Tokens of the user that were issued before this; means nothing for a single token.
    pub(crate) issued_before: u64,
    /// After this it need not be known any more.
    pub(crate) forget_at: u64,
}

/// What the bucket holds under a key. All of it may be missing.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Stored {
    /// Of a user: tokens issued before this; without it, those from before the entry was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issued_before: Option<u64>,
    /// No token that is meant lives longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
    /// When this was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked_at: Option<u64>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Arc<str>>,
}

impl Revoked {
    /// The key in the bucket: `user.NAME` or `token.ID`, and `=` and base64url (RFC 4648 section 5) instead of a name that
    /// is not made of letters, digits, `_`, `-` and single dots.
    pub(crate) fn key(&self) -> String {
        let (kind, name) = match self {
            Self::User(name) => ("user", name),
            Self::Token(id) => ("token", id),
        };
        if is_plain(name) {
            format!("{kind}.{name}")
        } else {
            format!("{kind}.={}", BASE64_URL_SAFE_NO_PAD.encode(name.as_bytes()))
        }
    }

    /// What a key means; nothing if it is none of ours.
    pub(crate) fn of_key(key: &str) -> Option<Self> {
        let (kind, name) = key.split_once('.')?;
        let name = match name.strip_prefix('=') {
            Some(encoded) => {
                let bytes = BASE64_URL_SAFE_NO_PAD
                    .decode(encoded.trim_end_matches('='))
                    .ok()?;
                String::from_utf8(bytes).ok()?.into()
            }
            None => name.into(),
        };
        match kind {
            "user" => Some(Self::User(name)),
            "token" => Some(Self::Token(name)),
            _ => None,
        }
    }
}

fn is_plain(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    name.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(letter))
}

impl Terms {
    /// What an entry of the bucket says. One that cannot be read revokes all the same, up to the time when it was stored;
    /// the second value says so. `now` in seconds since 1970.
    pub(crate) fn of_entry(entry: &Entry, max_age: Option<Duration>, now: u64) -> (Self, bool) {
        let value = entry.value.as_deref().unwrap_or_default();
        let read = if value.trim_ascii().is_empty() {
            Ok(Stored::default())
        } else {
            serde_json::from_slice(value)
        };
        let is_readable = read.is_ok();
        let stored: Stored = read.unwrap_or_default();
        let at = entry.time.as_deref().and_then(parse_rfc3339).unwrap_or(now);
        let aged = max_age.map_or(u64::MAX, |age| at.saturating_add(age.as_secs()));
        let terms = Self {
            issued_before: stored.issued_before.unwrap_or(at.saturating_add(1)),
            forget_at: stored.expires_at.unwrap_or(u64::MAX).min(aged),
        };
        (terms, is_readable)
    }
}

impl Revocations {
    /// Whether a token of this user, with this id, issued at this time in seconds since 1970, is revoked. A token that
    /// does not say when it was issued counts as older than any revocation of its user.
    pub(crate) fn is_revoked(
        &self,
        user: Option<&str>,
        token_id: Option<&str>,
        issued_at: Option<u64>,
    ) -> bool {
        [&self.0.stored, &self.0.told].into_iter().any(|set| {
            let set = set.read().unwrap_or_else(PoisonError::into_inner);
            let by_user = user.and_then(|user| set.users.get(user));
            by_user.is_some_and(|terms| issued_at.is_none_or(|at| at < terms.issued_before))
                || token_id.is_some_and(|id| set.tokens.contains_key(id))
        })
    }

    /// Adds what was told, until `terms.forget_at`; never weakens what is known.
    ///
    /// # Errors
    /// A sentence, if there are too many already.
    pub(crate) fn tell(&self, revoked: Revoked, terms: Terms) -> Result<(), &'static str> {
        let mut set = self.0.told.write().unwrap_or_else(PoisonError::into_inner);
        if set.len() >= MAX_ENTRIES {
            return Err("this edge holds too many revocations already");
        }
        let known = set.terms(&revoked).entry(revoked.into_name()).or_insert(terms);
        known.issued_before = known.issued_before.max(terms.issued_before);
        known.forget_at = known.forget_at.max(terms.forget_at);
        Ok(())
    }

    /// The bucket has what was told: it is kept beside the copy until `forget_at` only.
    pub(crate) fn shorten(&self, revoked: Revoked, forget_at: u64) {
        let mut set = self.0.told.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(terms) = set.terms(&revoked).get_mut(&revoked.into_name()) {
            terms.forget_at = terms.forget_at.min(forget_at);
        }
    }

    /// Up to when the tokens of this user are known to be revoked already.
    pub(crate) fn issued_before(&self, user: &str) -> Option<u64> {
        let of = |set: &RwLock<Set>| {
            let set = set.read().unwrap_or_else(PoisonError::into_inner);
            set.users.get(user).map(|terms| terms.issued_before)
        };
        of(&self.0.stored).max(of(&self.0.told))
    }

    /// Takes one change of the bucket; says whether it revokes what was not revoked before.
    pub(crate) fn change(&self, revoked: Revoked, terms: Option<Terms>) -> bool {
        if let Some(terms) = terms {
            let mut set = self.0.stored.write().unwrap_or_else(PoisonError::into_inner);
            let before = set.terms(&revoked).insert(revoked.into_name(), terms);
            return before.is_none_or(|before| before.issued_before < terms.issued_before);
        }
        for set in [&self.0.stored, &self.0.told] {
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            set.terms(&revoked).remove(&revoked.name());
        }
        false
    }

    /// Takes the bucket as a whole, which one task does; says whether it revokes what was not revoked before.
    pub(crate) fn replace(&self, entries: impl IntoIterator<Item = (Revoked, Option<Terms>)>) -> bool {
        let mut set = Set::default();
        for (revoked, terms) in entries {
            let name = revoked.name();
            match terms {
                Some(terms) => drop(set.terms(&revoked).insert(name, terms)),
                None => drop(set.terms(&revoked).remove(&name)),
            }
        }
        let goes_further = {
            let stored = self.0.stored.read().unwrap_or_else(PoisonError::into_inner);
            set.goes_beyond(&stored)
        };
        let mut stored = self.0.stored.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *stored, set);
        // A large set takes its time to go: not while others wait for the lock.
        drop(stored);
        drop(old);
        goes_further
    }

    /// Forgets what need not be known any more at `now`, in seconds since 1970.
    pub(crate) fn forget(&self, now: u64) {
        for set in [&self.0.stored, &self.0.told] {
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            set.users.retain(|_, terms| terms.forget_at > now);
            set.tokens.retain(|_, terms| terms.forget_at > now);
        }
    }

    /// How many there are in the copy of the bucket.
    pub(crate) fn stored(&self) -> usize {
        self.0.stored.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Revoked {
    fn name(&self) -> Arc<str> {
        self.clone().into_name()
    }

    fn into_name(self) -> Arc<str> {
        match self {
            Self::User(name) | Self::Token(name) => name,
        }
    }
}

impl Set {
    fn len(&self) -> usize {
        self.users.len() + self.tokens.len()
    }

    fn terms(&mut self, revoked: &Revoked) -> &mut HashMap<Arc<str>, Terms> {
        match revoked {
            Revoked::User(_) => &mut self.users,
            Revoked::Token(_) => &mut self.tokens,
        }
    }

    fn goes_beyond(&self, other: &Self) -> bool {
        let user = |(name, terms): (&Arc<str>, &Terms)| {
            let before = other.users.get(name);
            before.is_none_or(|before| before.issued_before < terms.issued_before)
        };
        self.users.iter().any(user) || self.tokens.keys().any(|id| !other.tokens.contains_key(id))
    }
}

#[cfg(test)]
mod tests;
