//! The walk over an audience: one direct write to each socket.

use std::sync::Arc;
use std::time::SystemTime;

use tailwater_broker::feed::bench::BenchFeed;
use tailwater_broker::feed::{Delivery, Origin};
use tailwater_edge::bench::BenchAudience;
use tailwater_protocol::batch::{Batch, BatchBuilder};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::payload::PayloadRef;
use tailwater_protocol::position::Offset;
use tailwater_protocol::push::UpdateRef;

use super::{BATCH, PAYLOAD, channel_named, open_feed};
use crate::case::{Case, Stage};

/// More than one turn of the walk, and with both ends of each socket below the 1,024 files that a shell allows.
const SESSIONS: usize = 400;

const CHANNEL: &str = "deployments.42";

pub(super) fn cases() -> Vec<Case> {
    vec![
        walk("hub/live, a delivery", SESSIONS, 1, None),
        walk("hub/live, a batch of 64 at once", SESSIONS, BATCH, None),
        walk("hub/live, to the only subscriber", 1, 1, None),
        walk("hub/stored, a delivery", SESSIONS, 1, Some("DEPLOYMENTS")),
        Case::new("hub/join and leave", BATCH, || {
            let feed = open_feed(CHANNEL, &[Codec::Json], None);
            let mut audience =
                BenchAudience::seat(feed.membership(), 1).expect("sessions on loopback sockets");
            move || {
                for _ in 0..BATCH {
                    audience.join_and_leave(feed.membership());
                }
            }
        }),
    ]
}

/// One operation is all that one session gets: `publications` that wait for the worker, one a delivery.
fn walk(name: &'static str, sessions: usize, publications: usize, stream: Option<&'static str>) -> Case {
    Case::new(name, sessions, move || {
        let feed = open_feed(CHANNEL, &[Codec::Json], stream);
        let audience =
            BenchAudience::seat(feed.membership(), sessions).expect("sessions on loopback sockets");
        Walk {
            feed,
            audience,
            sessions,
            publications,
            is_stored: stream.is_some(),
            offset: 0,
            sent: 0,
            deliveries: Vec::new(),
        }
    })
}

struct Walk {
    feed: BenchFeed,
    audience: BenchAudience,
    sessions: usize,
    publications: usize,
    is_stored: bool,
    offset: u64,
    /// Bytes that each client is to have got since it read last.
    sent: usize,
    deliveries: Vec<Delivery>,
}

impl Stage for Walk {
    fn prepare(&mut self) {
        let read = self.audience.read_all().expect("the clients are connected");
        assert_eq!(read, self.sent * self.sessions, "every client gets all");
        self.sent = 0;
        for _ in 0..self.publications {
            let before = self.offset;
            self.offset += 1;
            let batch = self.batch();
            self.sent += batch.bytes().len();
            self.deliveries.push(Delivery::Batch {
                interest: self.feed.interest().id(),
                encoding: self.feed.membership().encoding(),
                batch,
                span: self.is_stored.then_some((before, self.offset)),
                origin: self.is_stored.then(|| {
                    Arc::new(Origin {
                        stored_at: Some(SystemTime::now()),
                        sampled: Vec::new(),
                    })
                }),
            });
        }
    }

    fn run(&mut self) {
        self.audience.deliver(&mut self.deliveries);
    }
}

impl Walk {
    fn batch(&self) -> Batch {
        let channel = channel_named(CHANNEL);
        let mut builder = BatchBuilder::new(Codec::Json);
        builder.push(&UpdateRef {
            offset: Offset::new(self.offset).ok().filter(|_| self.is_stored),
            ..UpdateRef::new(&channel, PayloadRef::Json(PAYLOAD))
        });
        builder.finish()
    }
}
