//! All cases, in the order in which a publication travels.

mod channel;
mod codec;
mod feed;
mod hub;
mod outbox;

use tailwater_broker::feed::bench::BenchFeed;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;

use crate::case::Case;

/// Publications of a run, as one read of a busy feed brings them.
const BATCH: usize = 64;

/// A JSON object of 128 bytes: what every case publishes.
const PAYLOAD: &str = r#"{"id":42,"state":"running","progress":0.625,"host":"edge-7.internal","started":"2026-11-22T13:57:39.564Z","retries":0,"ok":true}"#;

/// Every case.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let cases = [
        channel::cases(),
        codec::cases(),
        feed::cases(),
        hub::cases(),
        outbox::cases(),
    ];
    cases.into_iter().flatten()
}

fn channel_named(name: &str) -> Channel {
    Channel::new(name).expect("a channel")
}

fn open_feed(channel: &str, codecs: &[Codec], stream: Option<&str>) -> BenchFeed {
    BenchFeed::open(&channel_named(channel), codecs, stream).expect("a feed on a loopback socket")
}
