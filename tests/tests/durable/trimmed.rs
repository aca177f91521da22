//! What a stream's limits have removed is told, exactly where that can be known, and never passed over.

use tailwater_edge::client::Client;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Offset, Since};
use tailwater_protocol::push::{Lost, LostReason, Push};
use tailwater_tests::durable::{
    DURABLE, Publisher, audited, connect, expect, join, next_lost, next_push, next_stored, number, position,
};
use tailwater_tests::{Edge, NatsServer, eventually, next};

/// Of each channel five publications are kept.
fn five() -> String {
    format!("{DURABLE}max_messages_per_channel = 5\n")
}

fn range(lost: &Lost) -> (u64, u64) {
    assert_eq!(lost.reason, LostReason::Trimmed, "{lost:?}");
    let end = |offset: Option<Offset>| offset.expect("it is known").get();
    (end(lost.from), end(lost.to))
}

#[tokio::test]
async fn a_client_that_comes_back_too_late_is_told_exactly_what_it_will_not_get() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &five()).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut first = connect(&edge, None).await;
    let subscribed = join(&mut first, "d.a", None).await;
    let mut cursor = publisher.store("d.a", "0").await;
    expect(&mut first, &[cursor], [0]).await;
    drop(first);
    let mut missed = twenty(&publisher).await;
    // It knows nothing of the channel, and has to ask the stream.
    let other = Edge::start_with(nats.url(), &five()).await;
    for codec in Codec::ALL {
        let mut again = connect(&other, Some(codec)).await;
        let resumed = join(&mut again, "d.a", Some(position(&subscribed, cursor))).await;
        assert_eq!(resumed.recovered, Some(false));
        let (from, to) = range(&next_lost(&mut again).await);
        assert!(from > cursor && from <= missed[0], "{from} to {to} of {missed:?}");
        assert!(
            (missed[14]..missed[15]).contains(&to),
            "{from} to {to} of {missed:?}"
        );
        expect(&mut again, &missed[15..], 16..=20).await;
        drop(again);
        cursor = missed[0];
        missed = twenty(&publisher).await;
    }
    edge.stop().await;
    other.stop().await;
}

/// From now on the stream keeps five publications of each channel.
pub(crate) async fn limit_to_five(publisher: &Publisher) {
    let context = publisher.jetstream();
    let stream = context.get_stream("D").await.expect("it is there");
    let mut config = stream.cached_info().config.clone();
    config.max_messages_per_subject = 5;
    context.update_stream(&config).await.expect("an admin may");
}

/// Stores twenty, with others between.
pub(crate) async fn twenty(publisher: &Publisher) -> Vec<u64> {
    let mut offsets = Vec::new();
    for number in 1..=20 {
        publisher.store("d.b", "other").await;
        offsets.push(publisher.store("d.a", number.to_string()).await);
    }
    offsets
}

#[tokio::test]
async fn as_long_as_everything_behind_a_cursor_is_stored_a_client_recovers() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &five()).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut first = connect(&edge, None).await;
    let subscribed = join(&mut first, "d.a", None).await;
    let offsets = publisher.store_all("d.a", 0..20).await;
    expect(&mut first, &offsets, 0..20).await;
    drop(first);
    let other = Edge::start_with(nats.url(), &five()).await;
    for edge in [&edge, &other] {
        // From the client's own last publication being the oldest stored to having all.
        for held in 14..20 {
            let mut again = connect(edge, None).await;
            let resumed = join(&mut again, "d.a", Some(position(&subscribed, offsets[held]))).await;
            assert_eq!(resumed.recovered, Some(true), "{held}");
            expect(&mut again, &offsets[held + 1..], held as u64 + 1..20).await;
            let present = join(&mut again, "d.a", None).await;
            assert_eq!(present.offset.map(Offset::get), Some(offsets[19]));
        }
    }
    edge.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_client_of_a_channel_whose_publications_have_expired_is_level_and_told_of_no_loss() {
    let nats = NatsServer::start().await;
    let config = format!("{DURABLE}max_age_secs = 1\nduplicate_window_secs = 1\n");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut first = connect(&edge, None).await;
    let subscribed = join(&mut first, "d.a", None).await;
    let offsets = publisher.store_all("d.a", 0..3).await;
    expect(&mut first, &offsets, 0..3).await;
    // The stream goes on without the channel, until all of it has expired and the edge has noticed.
    let stream = publisher.jetstream().get_stream("D").await.expect("it is there");
    eventually("the publications have expired", async || {
        publisher.store("d.b", "other").await;
        stream.get_raw_message(offsets[2]).await.err()
    })
    .await;
    let after = publisher.store("d.b", "other").await;
    loop {
        match next(&mut first).await.body {
            ServerBody::Push(Push::Position { offset, .. }) if offset.get() >= after => break,
            ServerBody::Push(Push::Position { .. }) => {}
            other => panic!("expected a position, got {other:?}"),
        }
    }
    let mut again = connect(&edge, None).await;
    let resumed = join(&mut again, "d.a", Some(position(&subscribed, offsets[2]))).await;
    assert_eq!(resumed.recovered, Some(true), "{resumed:?}");
    let last = publisher.store("d.a", "3").await;
    expect(&mut first, &[last], [3]).await;
    expect(&mut again, &[last], [3]).await;
    edge.stop().await;
}

#[tokio::test]
async fn who_joined_an_empty_channel_recovers_what_came_since() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &five()).await;
    let publisher = Publisher::connect(nats.url()).await;
    publisher.store_all("d.b", 0..10).await;
    let mut first = connect(&edge, None).await;
    let mut subscribed = Vec::new();
    for channel in ["d.a", "d.x.*"] {
        subscribed.push((channel, join(&mut first, channel, None).await));
    }
    drop(first);
    let a = publisher.store_all("d.a", 0..4).await;
    let x = publisher.store_all("d.x.1", 0..4).await;
    let other = Edge::start_with(nats.url(), &five()).await;
    for edge in [&edge, &other] {
        for ((channel, subscribed), offsets) in subscribed.iter().zip([&a, &x]) {
            let cursor = subscribed.offset.expect("durable").get();
            let mut again = connect(edge, None).await;
            let resumed = join(&mut again, channel, Some(position(subscribed, cursor))).await;
            assert_eq!(resumed.recovered, Some(true), "{channel}");
            expect(&mut again, offsets, 0..4).await;
        }
    }
    edge.stop().await;
    other.stop().await;
}

/// Reads until this offset has come; gives the ranges that were told lost and the offsets that came.
async fn read_up_to(client: &mut Client, last: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
    let (mut lost, mut came) = (Vec::new(), Vec::new());
    while came.last() != Some(&last) {
        match next_push(client).await {
            Push::Lost(told) => lost.push(range(&told)),
            Push::Update(update) => came.push(update.offset.expect("durable").get()),
            other => panic!("expected updates and losses, got {other:?}"),
        }
    }
    (lost, came)
}

#[tokio::test]
async fn on_a_pattern_everything_comes_or_is_told() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &five()).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut first = connect(&edge, None).await;
    let subscribed = join(&mut first, "d.*", None).await;
    let cursor = subscribed.offset.expect("durable").get();
    drop(first);
    let mut stored = Vec::new();
    for number in 0..30 {
        for subject in ["d.a", "d.b", "d.c"] {
            stored.push(publisher.store(subject, number.to_string()).await);
        }
    }
    stored.push(publisher.store("d.rare", "0").await);
    let other = Edge::start_with(nats.url(), &five()).await;
    for edge in [&edge, &other] {
        let mut again = connect(edge, Some(Codec::MessagePack)).await;
        let resumed = join(&mut again, "d.*", Some(position(&subscribed, cursor))).await;
        let (lost, came) = read_up_to(&mut again, stored[90]).await;
        assert_eq!(resumed.recovered, Some(lost.is_empty()));
        assert!(came.is_sorted() && came.len() >= 16, "{came:?}");
        for offset in &stored {
            let is_told = lost.iter().any(|(from, to)| (from..=to).contains(&offset));
            assert!(
                is_told || came.contains(offset),
                "{offset}: {lost:?} and {came:?}"
            );
        }
    }
    // From the oldest on nothing is missing that anybody could have asked for.
    let mut oldest = connect(&other, None).await;
    let begun = join(&mut oldest, "d.a", Some(Since::Beginning)).await;
    assert_eq!(begun.recovered, Some(true));
    assert_eq!(number(&next_stored(&mut oldest).await.payload), 25);
    edge.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_limit_that_an_operator_sets_later_is_known_after_an_audit_and_what_it_removes_is_told() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut first = connect(&edge, None).await;
    let subscribed = join(&mut first, "d.a", None).await;
    drop(first);
    // What this edge remembers is no help to an edge that has seen nothing of the channel.
    let other = Edge::start_with(nats.url(), DURABLE).await;
    let mut watching = connect(&other, None).await;
    join(&mut watching, "d.*", None).await;
    let cursor = publisher.store("d.a", "0").await;
    limit_to_five(&publisher).await;
    let missed = twenty(&publisher).await;
    audited(&publisher, &other, 2).await;
    let mut again = connect(&other, None).await;
    let resumed = join(&mut again, "d.a", Some(position(&subscribed, cursor))).await;
    assert_eq!(resumed.recovered, Some(false));
    let (from, to) = range(&next_lost(&mut again).await);
    assert!(
        from <= missed[0] && (missed[14]..missed[15]).contains(&to),
        "{from} to {to}"
    );
    expect(&mut again, &missed[15..], 16..=20).await;
    edge.stop().await;
    other.stop().await;
}
