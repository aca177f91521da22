//! What a page of history, or a start by a count, costs NATS.

use async_nats::Subscriber;
use futures_util::{FutureExt as _, StreamExt as _};
use tailwater_protocol::command::Order;
use tailwater_protocol::position::Since;
use tailwater_tests::durable::{DURABLE, Publisher, connect, join};
use tailwater_tests::nats_server::handled;
use tailwater_tests::{Edge, NatsServer};

use crate::pages::{before, limited, of, page, since};

/// Counts what the edge asks of NATS.
struct Tap(Vec<Subscriber>);

impl Tap {
    async fn new(publisher: &Publisher) -> Self {
        let mut taps = Vec::new();
        for subject in ["$JS.API.DIRECT.GET.D", "$JS.API.STREAM.MSG.GET.D", "_tw.sync.D"] {
            let tap = publisher.client().subscribe(subject).await;
            taps.push(tap.expect("the connection lives"));
        }
        handled(publisher.client()).await;
        Self(taps)
    }

    /// How many there were since the last time, by now.
    async fn count(&mut self, publisher: &Publisher) -> usize {
        // What NATS has passed on before this publication arrives before its acknowledgement.
        publisher.store("d.tick", "").await;
        let mut count = 0;
        for tap in &mut self.0 {
            while tap.next().now_or_never().flatten().is_some() {
                count += 1;
            }
        }
        count
    }
}

#[tokio::test]
async fn a_page_takes_few_requests() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut dense = Vec::new();
    for number in 0..40 {
        dense.extend(publisher.store_all("d.dense", 0..100).await);
        publisher.store("d.thin", number.to_string()).await;
    }
    let mut client = connect(&edge, None).await;
    let mut tap = Tap::new(&publisher).await;
    let epoch = page(&mut client, of("d.dense", Order::Newest)).await.epoch;
    tap.count(&publisher).await;
    for (name, asked, most) in [
        ("newest, exact", of("d.dense", Order::Newest), 3),
        ("newest, empty pattern", of("d.dense.>", Order::Newest), 12),
        ("newest, dense pattern", of("d.*", Order::Newest), 4),
        (
            "newest, thin channel",
            limited(of("d.thin", Order::Newest), 10),
            8,
        ),
        ("newest, 1000", limited(of("d.dense", Order::Newest), 1000), 4),
        (
            "newest, before",
            before(of("d.dense", Order::Newest), dense[2000], &epoch),
            4,
        ),
        (
            "newest, pattern before",
            before(of("d.*", Order::Newest), dense[2000], &epoch),
            4,
        ),
        ("oldest, exact", of("d.dense", Order::Oldest), 3),
        ("oldest, pattern", of("d.*", Order::Oldest), 3),
        (
            "oldest, since",
            since(of("d.dense", Order::Oldest), dense[2000], &epoch),
            3,
        ),
        (
            "oldest, pattern since",
            since(of("d.*", Order::Oldest), dense[2000], &epoch),
            4,
        ),
        ("oldest, 1000", limited(of("d.dense", Order::Oldest), 1000), 3),
    ] {
        page(&mut client, asked).await;
        let count = tap.count(&publisher).await;
        assert!(count <= most, "{name}: {count} requests");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_start_by_a_count_takes_few_requests() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    for number in 0..40 {
        publisher.store_all("d.dense", 0..100).await;
        publisher.store("d.thin", number.to_string()).await;
    }
    let mut tap = Tap::new(&publisher).await;
    // Keeps the interests, so that no settling counts.
    let mut holder = connect(&edge, None).await;
    for channel in ["d.dense", "d.thin", "d.empty", "d.empty.*", "d.*"] {
        join(&mut holder, channel, None).await;
    }
    for (channel, count) in [
        ("d.dense", 1),
        ("d.dense", 100),
        ("d.dense", 5000),
        ("d.thin", 1),
        ("d.thin", 20),
        ("d.thin", 100),
        ("d.empty", 1),
        ("d.empty", 50),
        ("d.empty.*", 1),
        ("d.*", 100),
    ] {
        let mut client = connect(&edge, None).await;
        tap.count(&publisher).await;
        join(&mut client, channel, Some(Since::Last(count))).await;
        let requests = tap.count(&publisher).await;
        assert!(requests <= 8, "last {count} of {channel}: {requests} requests");
    }
    edge.stop().await;
}
