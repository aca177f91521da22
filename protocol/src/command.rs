//! What a client asks. A command is checked when it is decoded; whether this client may do it, and whether the channel
//! exists, is left to the session.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::Channel;
use crate::limits::{MAX_CLIENT_BYTES, MAX_KEY_BYTES};
use crate::payload::Payload;
use crate::position::{Position, Since};

/// One command as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandMessage {
    /// The client's own number for it, repeated in the reply or error.
    pub id: Option<u32>,
    /// What is asked.
    pub command: Command,
}

impl From<Command> for CommandMessage {
    fn from(command: Command) -> Self {
        Self { id: None, command }
    }
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Say who one is. Answered by `connected`.
    Connect(Connect),
    /// Receive the updates of a channel. Answered by `subscribed`.
    Subscribe(Subscribe),
    /// Receive them no more. Answered by `unsubscribed`.
    Unsubscribe(Unsubscribe),
    /// Send a publication. Answered by `published`.
    Publish(Publish),
    /// Ask the service behind a channel. Answered by `reply`.
    Request(Request),
    /// Who is on a channel? Answered by `presence`.
    Presence(Presence),
    /// Read a page of what a durable channel stores. Answered by `history`.
    History(History),
    /// Replace the token of an identified session. Answered by `refreshed`.
    Refresh(Refresh),
    /// Is anybody there? Answered by `pong`.
    Ping,
}

impl Command {
    /// Every `type` of a command, in the order of the protocol's table.
    pub const KINDS: [&str; 9] = [
        "connect",
        "subscribe",
        "unsubscribe",
        "publish",
        "request",
        "presence",
        "history",
        "refresh",
        "ping",
    ];

    /// The `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Publish(_) => "publish",
            Self::Request(_) => "request",
            Self::Presence(_) => "presence",
            Self::History(_) => "history",
            Self::Refresh(_) => "refresh",
            Self::Ping => "ping",
        }
    }

    /// The channel it is about, if it is about one.
    pub fn channel(&self) -> Option<&Channel> {
        match self {
            Self::Subscribe(Subscribe { channel, .. })
            | Self::Unsubscribe(Unsubscribe { channel })
            | Self::Publish(Publish { channel, .. })
            | Self::Request(Request { channel, .. })
            | Self::Presence(Presence { channel })
            | Self::History(History { channel, .. }) => Some(channel),
            Self::Connect(_) | Self::Refresh(_) | Self::Ping => None,
        }
    }
}

/// Say who one is, for clients that did not say so in the opening handshake.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Connect {
    /// A JSON Web Token. A secret: `Debug` leaves it out.
    pub token: Option<String>,
    /// The client program and its version, for the operator's eyes: at most 256 bytes.
    #[serde(default, deserialize_with = "client_name")]
    pub client: Option<String>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| Hidden);
        formatter
            .debug_struct("Connect")
            .field("token", &token)
            .field("client", &self.client)
            .finish()
    }
}

fn client_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    if name.as_ref().is_some_and(|name| name.len() > MAX_CLIENT_BYTES) {
        return Err(de::Error::custom(format_args!(
            "a client's name has at most {MAX_CLIENT_BYTES} bytes"
        )));
    }
    Ok(name)
}

/// Receive the updates of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The channel, which may be a pattern where its namespace allows that.
    pub channel: Channel,
    /// Where to start; absent, from now on. Durable channels only.
    pub since: Option<Since>,
    /// Also the last value of each subject, first. Not together with `since`. Durable channels only.
    pub latest: bool,
}

/// Receive the updates of a channel no more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unsubscribe {
    /// The channel, as subscribed.
    pub channel: Channel,
}

/// Send a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The exact channel to publish on.
    pub channel: Channel,
    /// What to publish.
    pub payload: Payload,
    /// Makes a retry of the same publication harmless, within the stream's duplicate window.
    pub key: Option<Key>,
}

/// Ask the service behind a channel, and wait for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The exact channel of the service.
    pub channel: Channel,
    /// The question.
    pub payload: Payload,
    /// How long the edge waits for the service, in milliseconds, up to the namespace's own limit, which holds when
    /// this is absent.
    pub timeout_ms: Option<u32>,
}

/// Who is on a channel?
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Presence {
    /// The channel.
    pub channel: Channel,
}

/// Read a page of what a durable channel stores.
///
/// The range asked for lies behind `since` and before `before`, both ends open, and the page is its first or last part
/// by `order`. Go on with the reply's `next`, put into `since` when reading oldest first, else into `before`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct History {
    /// The channel, which may be a pattern where its namespace allows that.
    pub channel: Channel,
    /// Where the range starts; absent, with the oldest that is stored.
    pub since: Option<Since>,
    /// Where the range ends: publications from this position on are left out; absent, with the newest.
    pub before: Option<Position>,
    /// Which end to read from.
    #[serde(default)]
    pub order: Order,
    /// Most publications of the page; absent, 100. Above 1,000 the answer is `limit`. A page may hold fewer, because it
    /// is bounded in bytes too: only a missing `next` says that the range is finished.
    pub limit: Option<NonZeroU32>,
}

/// The order of a `history` page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// From the newest backwards, as a page of a log is first shown.
    #[default]
    Newest,
    /// From the oldest onwards.
    Oldest,
}

/// Replace the token of an identified session.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Refresh {
    /// The new JSON Web Token. A secret: `Debug` leaves it out.
    pub token: String,
}

impl fmt::Debug for Refresh {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Refresh").field("token", &Hidden).finish()
    }
}

/// Stands for a secret in `Debug`.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<hidden>")
    }
}

/// A publication's own name, chosen once by its client: 1 to 64 visible ASCII characters, such as a UUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Fails unless `text` is 1 to 64 visible ASCII characters: the key becomes part of a NATS header.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MAX_KEY_BYTES || !visible {
            return Err(KeyError);
        }
        Ok(Self(text.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has 1 to {MAX_KEY_BYTES} visible ASCII characters: a UUID is a good one")]
pub struct KeyError;

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a key: a string such as a UUID")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Key, E> {
                Key::new(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_no_token() {
        let connect = Connect {
            token: Some("secret".into()),
            client: Some("sdk/1".into()),
        };
        let commands = [
            Command::Connect(connect),
            Command::Refresh(Refresh {
                token: "secret".into(),
            }),
        ];
        for command in commands {
            let text = format!("{:?}", CommandMessage::from(command));
            assert!(!text.contains("secret") && text.contains("<hidden>"), "{text}");
        }
    }

    #[test]
    fn a_key_fits_a_header() {
        assert!(Key::new(&"k".repeat(64)).is_ok());
        for bad in ["", "a b", "a\r\nX: y", "é", &"k".repeat(65)] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
    }
}
