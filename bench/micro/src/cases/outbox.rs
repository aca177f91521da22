//! What a socket did not take: queued, dropped, replaced, written later.

use tailwater_edge::bench::BenchOutbox;
use tailwater_edge::config::SlowConsumer;
use tailwater_protocol::batch::{Batch, BatchBuilder};
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::push::UpdateRef;

use super::{BATCH, PAYLOAD, channel_named};
use crate::case::{Case, Stage};

/// What a socket that is full takes when its client reads again.
const ROOM: usize = 4096;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("outbox/push and write later", BATCH, || {
            Backlog::new(SlowConsumer::DropOldest, 1024, true)
        }),
        Case::new("outbox/drop the oldest", BATCH, || {
            Backlog::new(SlowConsumer::DropOldest, BATCH, false)
        }),
        Case::new("outbox/keep the latest", BATCH, || {
            Backlog::new(SlowConsumer::Latest, 1024, false)
        }),
    ]
}

/// Batches of one publication each, of as many subjects, pushed in turn.
struct Backlog {
    outbox: BenchOutbox,
    channel: Channel,
    batches: Vec<Batch>,
    policy: SlowConsumer,
    /// The client reads again in each run; else it does not, and the queue is full.
    reads: bool,
}

impl Backlog {
    fn new(policy: SlowConsumer, frames: usize, reads: bool) -> Self {
        let channel = channel_named("deployments.*");
        let batch = |number: usize| {
            let subject = format!("deployments.{number}");
            let mut builder = BatchBuilder::new(Codec::Json);
            builder.push(&UpdateRef {
                subject: Some(&subject),
                ..UpdateRef::new(&channel, PayloadRef::Json(PAYLOAD))
            });
            builder.finish()
        };
        let batches = (0..BATCH).map(batch).collect();
        let mut backlog = Self {
            outbox: BenchOutbox::new(Codec::Json, frames),
            channel,
            batches,
            policy,
            reads,
        };
        if !reads {
            backlog.push_all();
        }
        backlog
    }

    fn push_all(&mut self) {
        for batch in &self.batches {
            self.outbox.push(batch, 0, &self.channel, self.policy);
        }
    }
}

impl Stage for Backlog {
    fn run(&mut self) {
        self.push_all();
        while self.reads && self.outbox.write(ROOM) {}
    }
}
