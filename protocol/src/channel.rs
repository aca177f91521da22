//! `Channel`, the name a client subscribes to, and `Pattern`, the wider form that configuration and permissions use.
//! Both are checked once, here; from then on a value of these types is a well-formed NATS subject.
//! How a channel becomes a subject is left to the broker.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{MAX_CHANNEL_BYTES, MAX_CHANNEL_TOKENS};

/// A set of subjects: tokens of letters, digits, `_` and `-`, separated by dots; `*` stands for any one token and a
/// final `>` for one or more. At most 16 tokens and 255 bytes. A clone is a reference count.
///
/// The set operations are NATS's subject algebra, by tokens and exact: `a.>` does not contain `a`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks `text` against the grammar.
    pub fn new(text: &str) -> Result<Self, ChannelError> {
        check(text)?;
        Ok(Self(text.into()))
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if it holds `*` or `>`, so that it may stand for more than one subject.
    pub fn is_wildcard(&self) -> bool {
        // The grammar allows these two characters only as whole tokens, and `>` only at the end.
        self.0.ends_with('>') || self.0.as_bytes().contains(&b'*')
    }

    /// True if the pattern contains the subject `exact`, which is read as literal tokens.
    pub fn matches(&self, exact: &str) -> bool {
        let mut subject = exact.split('.');
        for token in self.0.split('.') {
            let Some(other) = subject.next() else { return false };
            match token {
                ">" => return true,
                "*" => {}
                literal if literal == other => {}
                _ => return false,
            }
        }
        subject.next().is_none()
    }

    /// True if every subject of `other` is one of this pattern.
    pub fn includes(&self, other: &Self) -> bool {
        let mut others = other.0.split('.');
        for token in self.0.split('.') {
            let Some(theirs) = others.next() else { return false };
            match (token, theirs) {
                (">", _) => return true,
                (_, ">") => return false,
                ("*", _) => {}
                (ours, theirs) if ours == theirs => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }

    /// True if some subject belongs to both patterns.
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut others = other.0.split('.');
        for token in self.0.split('.') {
            let Some(theirs) = others.next() else { return false };
            match (token, theirs) {
                (">", _) | (_, ">") => return true,
                ("*", _) | (_, "*") => {}
                (ours, theirs) if ours == theirs => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }
}

/// What a client subscribes to, publishes on or asks about: a [`Pattern`] whose first token is literal and starts with
/// neither `$` nor `_`, so that no channel reaches NATS's system subjects or inboxes. A clone is a reference count.
///
/// It borrows and hashes as its text: a map keyed by `Channel` is looked up by `&str`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Pattern);

impl Channel {
    /// Checks `text` against the grammar of channels.
    pub fn new(text: &str) -> Result<Self, ChannelError> {
        match text.chars().next() {
            Some(character @ ('$' | '_')) => return Err(ChannelError::Reserved { character }),
            Some(wildcard @ ('*' | '>')) => return Err(ChannelError::WildcardFirst { wildcard }),
            _ => {}
        }
        Pattern::new(text).map(Self)
    }

    /// The channel as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// True if it holds `*` or `>`: its updates then name their `subject`.
    pub fn is_wildcard(&self) -> bool {
        self.0.is_wildcard()
    }

    /// The channel as a pattern, for the set operations.
    pub fn pattern(&self) -> &Pattern {
        &self.0
    }

    /// True if the channel contains the subject `exact`, which is read as literal tokens.
    pub fn matches(&self, exact: &str) -> bool {
        self.0.matches(exact)
    }
}

/// Why a text is no channel or pattern. Positions are bytes from the start, the first being 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// There is no text.
    #[error("a channel is not empty: name at least one token, such as `deployments`")]
    Empty,

    /// More than 255 bytes.
    #[error("a channel has at most {MAX_CHANNEL_BYTES} bytes, this one has {bytes}: shorten it")]
    TooLong {
        /// Its length.
        bytes: usize,
    },

    /// More than 16 tokens.
    #[error(
        "a channel has at most {MAX_CHANNEL_TOKENS} tokens, another one starts at byte {at}: join some of them"
    )]
    TooManyTokens {
        /// Where the first token too many starts.
        at: usize,
    },

    /// A dot at the start, at the end or after another dot.
    #[error("a token is missing at byte {at}: put one there or remove the dot")]
    EmptyToken {
        /// Where the token should stand.
        at: usize,
    },

    /// A character that no token may hold.
    #[error(
        "{character:?} at byte {at} is not allowed: tokens consist of letters a-z and A-Z, digits, `_` and `-`"
    )]
    BadCharacter {
        /// The character.
        character: char,
        /// Where it stands.
        at: usize,
    },

    /// A wildcard beside other characters.
    #[error("`{wildcard}` at byte {at} shares its token with other characters: a wildcard is a whole token")]
    PartialWildcard {
        /// `*` or `>`.
        wildcard: char,
        /// Where it stands.
        at: usize,
    },

    /// Something follows `>`.
    #[error("`>` at byte {at} is not the last token: end there, or write `*` for a single token")]
    TailNotLast {
        /// Where the `>` stands.
        at: usize,
    },

    /// A channel starts with a wildcard; patterns may.
    #[error(
        "a channel may not start with `{wildcard}` (byte 0): its first token is literal, such as `deployments.*`"
    )]
    WildcardFirst {
        /// `*` or `>`.
        wildcard: char,
    },

    /// A channel starts with `$` or `_`.
    #[error(
        "a channel may not start with `{character}` (byte 0): such names belong to NATS; start with a letter or digit"
    )]
    Reserved {
        /// `$` or `_`.
        character: char,
    },
}

fn check(text: &str) -> Result<(), ChannelError> {
    if text.is_empty() {
        return Err(ChannelError::Empty);
    }
    if text.len() > MAX_CHANNEL_BYTES {
        return Err(ChannelError::TooLong { bytes: text.len() });
    }
    let mut at = 0;
    for (index, token) in text.split('.').enumerate() {
        if index == MAX_CHANNEL_TOKENS {
            return Err(ChannelError::TooManyTokens { at });
        }
        check_token(token, at)?;
        let end = at + token.len();
        if token == ">" && end < text.len() {
            return Err(ChannelError::TailNotLast { at });
        }
        at = end + 1;
    }
    Ok(())
}

fn check_token(token: &str, at: usize) -> Result<(), ChannelError> {
    if token.is_empty() {
        return Err(ChannelError::EmptyToken { at });
    }
    if token == "*" || token == ">" {
        return Ok(());
    }
    for (index, character) in token.char_indices() {
        let at = at + index;
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => {}
            '*' | '>' => {
                return Err(ChannelError::PartialWildcard {
                    wildcard: character,
                    at,
                });
            }
            _ => return Err(ChannelError::BadCharacter { character, at }),
        }
    }
    Ok(())
}

/// What both names can do as text; they differ only in the grammar that `new` checks.
macro_rules! text_traits {
    ($name:ident, $expecting:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), formatter)
            }
        }

        impl FromStr for $name {
            type Err = ChannelError;

            fn from_str(text: &str) -> Result<Self, ChannelError> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    };
}

text_traits!(Pattern, "a pattern: a string such as `deployments.>`");
text_traits!(Channel, "a channel: a string such as `deployments.42`");

impl From<Channel> for Pattern {
    fn from(channel: Channel) -> Self {
        channel.0
    }
}

impl TryFrom<Pattern> for Channel {
    type Error = ChannelError;

    fn try_from(pattern: Pattern) -> Result<Self, ChannelError> {
        Self::new(pattern.as_str())
    }
}

#[cfg(test)]
mod tests;
