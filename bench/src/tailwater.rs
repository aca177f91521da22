//! Our own server: its dialect, and what only it says.

use serde::{Deserialize, Serialize};

use crate::dialect::{Dialect, Publish, Step};

/// How messages are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Codec {
    Json,
    /// MessagePack
    Msgpack,
}

/// A position in a durable channel, as the edge told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    pub(crate) epoch: String,
}

/// What is looked at of a reply or a push.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(flatten)]
    pub(crate) position: Option<Position>,
    pub(crate) recovered: Option<bool>,
    pub(crate) retry_after_ms: Option<u64>,
    /// Of a `lost`.
    pub(crate) count: Option<u64>,
}

#[derive(Serialize)]
struct Subscribe<'a> {
    r#type: &'static str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a Position>,
}

/// The dialect of an edge whose publications come by the nats-server at `nats`.
///
/// The subscription's message is not part of it: it may hold a position, and MessagePack says the lengths of strings; see
/// [`subscribe`].
pub(crate) fn dialect(codec: Codec, nats: &str) -> Dialect {
    let (subprotocol, subscribed, error) = match codec {
        Codec::Json => (
            "tailwater.v1.json",
            &br#""type":"subscribed""#[..],
            &br#""type":"error""#[..],
        ),
        Codec::Msgpack => ("tailwater.v1.msgpack", &b"\xaasubscribed"[..], &b"\xa5error"[..]),
    };
    Dialect {
        path: "/ws".to_owned(),
        subprotocol: Some(subprotocol),
        headers: Vec::new(),
        binary: codec == Codec::Msgpack,
        hello: Vec::new(),
        subscribe: Step {
            send: None,
            expect: Some(subscribed.to_vec()),
            refused: Some(error.to_vec()),
        },
        keep_alive: None,
        publish: Publish::Nats { url: nats.to_owned() },
    }
}

/// The command that subscribes, from a position on if there is one.
pub(crate) fn subscribe(codec: Codec, channel: &str, since: Option<&Position>) -> anyhow::Result<Vec<u8>> {
    let command = Subscribe {
        r#type: "subscribe",
        channel,
        since,
    };
    Ok(match codec {
        Codec::Json => serde_json::to_vec(&command)?,
        Codec::Msgpack => rmp_serde::to_vec_named(&command)?,
    })
}

/// What the edge says, as far as it matters here.
pub(crate) fn reply(codec: Codec, message: &[u8]) -> anyhow::Result<Reply> {
    Ok(match codec {
        Codec::Json => serde_json::from_slice(message)?,
        Codec::Msgpack => rmp_serde::from_slice(message)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_a_position_or_none() {
        let read = |text: &str| reply(Codec::Json, text.as_bytes()).unwrap().position;
        assert_eq!(
            read(r#"{"type":"subscribed","channel":"a","durable":false}"#),
            None
        );
        let durable = r#"{"type":"subscribed","channel":"a","durable":true,"offset":7,"epoch":"e-1"}"#;
        let epoch = "e-1".to_owned();
        assert_eq!(read(durable), Some(Position { offset: 7, epoch }));
    }

    #[test]
    fn commands_and_replies_are_the_same_in_both_codecs() {
        let position = Position {
            offset: 7,
            epoch: "e-1".to_owned(),
        };
        let json = subscribe(Codec::Json, "d.a", Some(&position)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["since"]["offset"], 7);
        let packed = subscribe(Codec::Msgpack, "d.a", Some(&position)).unwrap();
        assert_eq!(
            rmp_serde::from_slice::<serde_json::Value>(&packed).unwrap(),
            value
        );
        let lost = serde_json::json!({"type": "lost", "channel": "a", "count": 3, "reason": "slow_consumer"});
        let lost = rmp_serde::to_vec_named(&lost).unwrap();
        let lost = reply(Codec::Msgpack, &lost).unwrap();
        assert_eq!((lost.kind.as_str(), lost.count), ("lost", Some(3)));
    }
}
