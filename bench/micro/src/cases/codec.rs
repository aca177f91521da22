//! Telling payloads apart and encoding updates into a batch; and the conversation around a subscription.

use std::hint::black_box;

use tailwater_protocol::batch::BatchBuilder;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::message::ServerMessage;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::position::Offset;
use tailwater_protocol::push::UpdateRef;
use tailwater_protocol::reply::{Reply, Subscribed};

use super::{BATCH, PAYLOAD, channel_named};
use crate::case::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("codec/classify a payload", BATCH, || {
            || {
                for _ in 0..BATCH {
                    black_box(PayloadRef::classify(black_box(PAYLOAD.as_bytes())));
                }
            }
        }),
        live("codec/encode a live update, JSON", Codec::Json),
        live("codec/encode a live update, MessagePack", Codec::MessagePack),
        stored("codec/encode a stored update, JSON", Codec::Json),
        stored("codec/encode a stored update, MessagePack", Codec::MessagePack),
        subscription("codec/a subscription, JSON", Codec::Json),
    ]
}

fn live(name: &'static str, codec: Codec) -> Case {
    Case::new(name, BATCH, move || {
        let channel = channel_named("deployments.42");
        let mut builder = BatchBuilder::new(codec);
        move || {
            for _ in 0..BATCH {
                builder.push(&UpdateRef::new(&channel, black_box(PayloadRef::Json(PAYLOAD))));
            }
            black_box(builder.finish());
        }
    })
}

/// With all that a pattern of a durable channel has beside the payload.
fn stored(name: &'static str, codec: Codec) -> Case {
    Case::new(name, BATCH, move || {
        let channel = channel_named("deployments.*");
        let mut builder = BatchBuilder::new(codec);
        move || {
            for _ in 0..BATCH {
                builder.push(&UpdateRef {
                    subject: Some("deployments.42"),
                    offset: Offset::new(black_box(1_234_567)).ok(),
                    time: Some("2026-11-22T13:57:39.564Z"),
                    ..UpdateRef::new(&channel, black_box(PayloadRef::Json(PAYLOAD)))
                });
            }
            black_box(builder.finish());
        }
    })
}

/// A command read, and its answer written.
fn subscription(name: &'static str, codec: Codec) -> Case {
    const COMMAND: &[u8] = br#"{"type":"subscribe","id":1,"channel":"deployments.42"}"#;
    Case::new(name, BATCH, move || {
        let channel = channel_named("deployments.42");
        move || {
            for _ in 0..BATCH {
                black_box(codec.decode_commands(black_box(COMMAND)));
                let reply = Reply::Subscribed(Subscribed {
                    channel: channel.clone(),
                    durable: false,
                    offset: None,
                    epoch: None,
                    recovered: None,
                });
                black_box(codec.encode(&ServerMessage::reply(Some(1), reply)));
            }
        }
    })
}
