//! Joining with a cursor, in every form.

use tailwater_protocol::position::{Epoch, Offset, Position, Since};
use tailwater_protocol::push::LostReason;
use tailwater_protocol::timestamp::Timestamp;
use tailwater_tests::durable::{DURABLE, Publisher, connect, expect, join, next_lost, next_stored, position};
use tailwater_tests::{Edge, NatsServer};

#[tokio::test]
async fn a_client_that_comes_back_with_its_cursor_misses_nothing_and_gets_nothing_twice() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut first = connect(&edge, None).await;
    let subscribed = join(&mut first, "d.a", None).await;
    let offsets = publisher.store_all("d.a", 0..5).await;
    expect(&mut first, &offsets, 0..5).await;
    drop(first);
    let more = publisher.store_all("d.a", 5..600).await;
    // From another edge, which knows nothing of the channel.
    let other = Edge::start_with(nats.url(), DURABLE).await;
    let mut readers = Vec::new();
    for edge in [&edge, &other] {
        let mut again = connect(edge, None).await;
        let resumed = join(&mut again, "d.a", Some(position(&subscribed, offsets[4]))).await;
        let start = (resumed.recovered, resumed.offset.map(Offset::get));
        assert_eq!(start, (Some(true), Some(offsets[4])));
        expect(&mut again, &more, 5..600).await;
        readers.push(again);
    }
    let last = publisher.store("d.a", "600").await;
    for mut reader in readers {
        expect(&mut reader, &[last], [600]).await;
    }
    edge.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn every_form_of_since_starts_where_it_says() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut offsets = Vec::new();
    for number in 0..40 {
        offsets.push(publisher.store("d.a", number.to_string()).await);
        publisher.store("d.b", "other").await;
    }
    let mut client = connect(&edge, None).await;
    let subscribed = join(&mut client, "d.a", Some(Since::Beginning)).await;
    assert_eq!(subscribed.recovered, Some(true));
    let mut time = None;
    for (number, offset) in offsets.iter().enumerate() {
        let update = next_stored(&mut client).await;
        assert_eq!(update.offset.map(Offset::get), Some(*offset));
        if number == 20 {
            time = update.time;
        }
    }
    for (since, from) in [
        (Since::Last(7), 33),
        (Since::Last(0), 40),
        (Since::Last(1000), 0),
        (position(&subscribed, 0), 0),
        (position(&subscribed, offsets[38]), 39),
        (position(&subscribed, offsets[39]), 40),
    ] {
        let mut other = connect(&edge, None).await;
        let resumed = join(&mut other, "d.a", Some(since.clone())).await;
        assert_eq!(resumed.recovered, Some(true), "{since:?}");
        expect(&mut other, &offsets[from..], from as u64..40).await;
        // Nothing is left: what comes next is new, and of another subject's nothing.
        assert_eq!(
            join(&mut other, "d.a", None).await.offset.map(Offset::get),
            Some(offsets[39])
        );
    }
    let time = Timestamp::new(&time.expect("a time")).expect("a time");
    let mut client = connect(&edge, None).await;
    join(&mut client, "d.a", Some(Since::Time(time))).await;
    let first = next_stored(&mut client).await.offset.map(Offset::get);
    assert!(
        first <= Some(offsets[20]) && first > Some(offsets[0]),
        "{first:?}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_cursor_of_another_epoch_or_from_the_future_is_told_and_starts_at_the_oldest() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let offsets = publisher.store_all("d.a", 0..3).await;
    let mut client = connect(&edge, None).await;
    let subscribed = join(&mut client, "d.a", None).await;
    let other = Since::Position(Position {
        offset: Offset::new(offsets[1]).expect("an offset"),
        epoch: Epoch::new("another-1").expect("an epoch"),
    });
    for since in [other, position(&subscribed, 1_000_000)] {
        let mut client = connect(&edge, None).await;
        let resumed = join(&mut client, "d.a", Some(since)).await;
        assert_eq!(resumed.recovered, Some(false));
        assert_eq!(resumed.epoch, subscribed.epoch);
        assert_eq!(next_lost(&mut client).await.reason, LostReason::EpochChanged);
        expect(&mut client, &offsets, 0..3).await;
    }
    edge.stop().await;
}
