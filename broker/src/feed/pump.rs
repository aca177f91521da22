//! From one NATS subscription to the workers: takes all that has arrived, encodes it once a codec, and
//! hands each worker with subscribers a shared batch.
//!
//! Cost of one publication: one encoding a codec in use, and a share of one wake, one lock a worker and
//! two allocations a batch.

use std::sync::Arc;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt, StreamExt};
use tailwater_protocol::batch::BatchBuilder;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::push::UpdateRef;

use super::inbox::{Delivery, Inbox};
use super::interest::Interest;

/// A batch is closed at this many bytes of payload, so that workers start writing and one batch never
/// fills an inbox.
const BATCH_BYTES: usize = 256 * 1024;

/// Runs until the subscription ends.
pub(super) async fn pump(mut subscriber: Subscriber, interest: Arc<Interest>, inboxes: Arc<[Arc<Inbox>]>) {
    let mut messages: Vec<Message> = Vec::new();
    let mut takers: Vec<(usize, Codec)> = Vec::new();
    let max_delay = interest.terms.max_delay;
    while let Some(first) = subscriber.next().await {
        let mut bytes = first.payload.len();
        messages.push(first);
        let more = async {
            while bytes < BATCH_BYTES
                && let Some(next) = subscriber.next().await
            {
                bytes += next.payload.len();
                messages.push(next);
            }
        };
        // Without a delay: what has already arrived, and no more.
        if max_delay.is_zero() {
            more.now_or_never();
        } else {
            let _ = tokio::time::timeout(max_delay, more).await;
        }
        interest.copy_takers(&mut takers);
        for codec in Codec::ALL {
            if !takers.iter().any(|(_, taken)| *taken == codec) {
                continue;
            }
            let batch = encode(&messages, &interest, codec);
            for (worker, _) in takers.iter().filter(|(_, taken)| *taken == codec) {
                inboxes[*worker].push(Delivery::Batch {
                    interest: interest.id,
                    codec,
                    batch: batch.clone(),
                });
            }
        }
        messages.clear();
    }
}

fn encode(messages: &[Message], interest: &Interest, codec: Codec) -> tailwater_protocol::batch::Batch {
    let channel = interest.channel();
    let mut builder = BatchBuilder::new(codec);
    for message in messages {
        let subject = interest
            .terms
            .prefix
            .channel(message.subject.as_str())
            .unwrap_or_default();
        builder.push(&UpdateRef {
            channel,
            payload: PayloadRef::classify(&message.payload),
            subject: channel.is_wildcard().then_some(subject),
            offset: None,
            time: None,
            trace: None,
            deleted: None,
        });
    }
    builder.finish()
}
