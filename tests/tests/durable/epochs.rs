//! The stream begins anew, is purged, or loses its sync message while an edge serves it.

use std::cell::Cell;
use std::time::Duration;

use async_nats::jetstream::stream;
use futures_util::TryStreamExt as _;
use tailwater_broker::epoch;
use tailwater_edge::client::Client;
use tailwater_edge::config::Config;
use tailwater_edge::nats::broker_config;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Unsubscribe};
use tailwater_protocol::error::ErrorCode;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Epoch, Offset, Since};
use tailwater_protocol::push::{LostReason, Push};
use tailwater_protocol::reply::Reply;
use tailwater_protocol::timestamp::Timestamp;
use tailwater_tests::durable::{
    DURABLE, Publisher, Tally, audited, connect, expect, join, next_lost, next_stored, position,
    subscribe_since,
};
use tailwater_tests::process::config_file;
use tailwater_tests::{Edge, NatsServer, eventually, next};

/// The sync message of the stream: its sequence and what it says.
async fn sync_message(publisher: &Publisher) -> Option<(u64, String)> {
    let stream = publisher.jetstream().get_stream("D").await.ok()?;
    let message = stream.get_last_raw_message_by_subject("_tw.sync.D").await.ok()?;
    Some((
        message.sequence,
        String::from_utf8_lossy(&message.payload).into_owned(),
    ))
}

/// The client is told that the stream began anew, and where; gives the new epoch.
async fn told_of_a_new_epoch(client: &mut Client) -> Epoch {
    let lost = next_lost(client).await;
    assert_eq!(lost.reason, LostReason::EpochChanged, "{lost:?}");
    match next(client).await.body {
        ServerBody::Push(Push::Position { offset, epoch, .. }) => {
            assert_eq!(offset.get(), 0);
            epoch
        }
        other => panic!("expected a position, got {other:?}"),
    }
}

/// Reads updates of `d.a` until `count` have come; others are passed over, and no loss may be told.
async fn read_a(client: &mut Client, tally: &mut Tally, count: u64) {
    while tally.count("d.a") < count {
        let update = next_stored(client).await;
        if update.subject.as_deref().is_none_or(|subject| subject == "d.a") {
            tally.add(&update);
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_created_anew_is_told_once_and_read_from_its_start_in_order() {
    let nats = NatsServer::start().await;
    let edges = [
        Edge::start_with(nats.url(), DURABLE).await,
        Edge::start_with(nats.url(), DURABLE).await,
    ];
    let publisher = Publisher::connect(nats.url()).await;
    let mut clients = Vec::new();
    let mut before = None;
    for edge in &edges {
        for (codec, channel) in [(Codec::Json, "d.a"), (Codec::MessagePack, "d.*")] {
            let mut client = connect(edge, Some(codec)).await;
            before = Some(join(&mut client, channel, None).await);
            clients.push((client, Tally::default()));
        }
    }
    let before = before.expect("somebody has joined");
    let old = publisher.store_all("d.a", 0..40).await;
    for (client, tally) in &mut clients {
        read_a(client, tally, 40).await;
        tally.start_over();
    }

    let context = publisher.jetstream();
    let config = context.get_stream("D").await.expect("it is there");
    let config = config.cached_info().config.clone();
    context.delete_stream("D").await.expect("an admin may");
    context.create_stream(config).await.expect("an admin may");
    publisher.store_all("d.a", 0..10).await;
    let mut epochs = Vec::new();
    for (client, tally) in &mut clients {
        epochs.push(told_of_a_new_epoch(client).await);
        read_a(client, tally, 10).await;
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "all edges tell the same epoch: {epochs:?}");
    assert_ne!(Some(&epochs[0]), before.epoch.as_ref());

    let (_, said) = sync_message(&publisher).await.expect("it was stored");
    assert!(said.contains(epochs[0].as_str()), "{said} and {epochs:?}");
    let stream = context.get_stream("D").await.expect("it is there");
    let subjects = stream
        .info_with_subjects("_tw.sync.D")
        .await
        .expect("it is there");
    let counts: Vec<(String, usize)> = subjects.try_collect().await.expect("its subjects");
    assert_eq!(
        counts,
        [("_tw.sync.D".to_owned(), 1)],
        "one edge gives an epoch, the other takes it"
    );

    // Nobody changes his mind in the audits that follow.
    for edge in &edges {
        audited(&publisher, edge, 2).await;
    }
    publisher.store_all("d.a", 10..12).await;
    for (client, tally) in &mut clients {
        read_a(client, tally, 12).await;
    }
    for edge in &edges {
        let mut late = connect(edge, None).await;
        let resumed = join(&mut late, "d.a", Some(position(&before, old[2]))).await;
        assert_eq!(
            (resumed.recovered, resumed.epoch),
            (Some(false), Some(epochs[0].clone()))
        );
        assert_eq!(next_lost(&mut late).await.reason, LostReason::EpochChanged);
        Tally::default().read(&mut late, &[("d.a", 12)]).await;
    }
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test]
async fn who_subscribes_while_a_stream_begins_anew_is_never_told_that_nats_is_away() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    publisher.store_all("d.a", 0..10).await;
    let context = publisher.jetstream();
    let config = context.get_stream("D").await.expect("it is there");
    let config = config.cached_info().config.clone();
    let is_done = Cell::new(false);
    let begin_anew = async {
        // Keeps the interest, which is settled anew each time.
        let mut holder = connect(&edge, None).await;
        let mut epoch = join(&mut holder, "d.a", None).await.epoch;
        for _ in 0..8 {
            context.delete_stream("D").await.expect("an admin may");
            context.create_stream(config.clone()).await.expect("an admin may");
            publisher.store_all("d.a", 0..10).await;
            epoch = eventually("the new life is known", async || {
                let mut client = connect(&edge, None).await;
                let asked = subscribe_since("d.a", None);
                client.send(None, asked).await.expect("the connection lives");
                match next(&mut client).await.body {
                    ServerBody::Reply(Reply::Subscribed(told)) if told.epoch != epoch => Some(told.epoch),
                    _ => None,
                }
            })
            .await;
        }
        is_done.set(true);
    };
    let subscribe = async |since: Since| {
        let mut client = connect(&edge, None).await;
        let mut subscribed = 0;
        while !is_done.get() {
            let asked = subscribe_since("d.a", Some(since.clone()));
            client.send(Some(1), asked).await.expect("the connection lives");
            let answer = loop {
                let answer = next(&mut client).await;
                if answer.id == Some(1) {
                    break answer;
                }
            };
            match answer.body {
                ServerBody::Reply(Reply::Subscribed(_)) => subscribed += 1,
                ServerBody::Push(Push::Error(error)) => {
                    assert_eq!(error.code, ErrorCode::Unavailable, "{error:?}");
                    // The stream was gone when it was to be read, or went while it was.
                    let true_reasons = ["nobody answers on `$JS.API.", "NATS did not answer within "];
                    let is_true = true_reasons
                        .iter()
                        .any(|reason| error.message.starts_with(reason));
                    assert!(is_true, "{error:?}");
                    continue;
                }
                other => panic!("expected an answer, got {other:?}"),
            }
            let channel = Channel::new("d.a").expect("a channel");
            let left = client
                .send(Some(1), Command::Unsubscribe(Unsubscribe { channel }))
                .await;
            left.expect("the connection lives");
            while next(&mut client).await.id != Some(1) {}
        }
        assert!(subscribed > 0);
    };
    let time = Timestamp::new("2001-01-01T00:00:00Z").expect("a time");
    let sinces = [Since::Last(1), Since::Last(5), Since::Last(7), Since::Time(time)];
    tokio::join!(begin_anew, futures_util::future::join_all(sinces.map(subscribe)));
    edge.stop().await;
}

#[tokio::test]
async fn what_was_purged_is_told_to_who_comes_back_and_to_nobody_else() {
    let nats = NatsServer::start().await;
    let publisher = Publisher::connect(nats.url()).await;
    let config = stream::Config {
        name: "D".to_owned(),
        subjects: vec!["d.>".to_owned()],
        ..stream::Config::default()
    };
    let context = publisher.jetstream();
    context.create_stream(config).await.expect("an admin may");
    let edge = Edge::start_with(nats.url(), &format!("{DURABLE}max_age_secs = 0\nmax_bytes = 0\n")).await;
    let mut exact = connect(&edge, None).await;
    let mut pattern = connect(&edge, Some(Codec::MessagePack)).await;
    let subscribed = join(&mut exact, "d.a", None).await;
    join(&mut pattern, "d.*", None).await;
    let offsets = publisher.store_all("d.a", 0..10).await;
    expect(&mut exact, &offsets, 0..10).await;
    expect(&mut pattern, &offsets, 0..10).await;
    let (sync, said) = sync_message(&publisher).await.expect("it was stored");

    let stream = context.get_stream("D").await.expect("it is there");
    stream.purge().await.expect("an admin may");
    let mut late = connect(&edge, None).await;
    eventually("the sync message is back", async || {
        sync_message(&publisher).await.filter(|(place, _)| *place > sync)
    })
    .await;
    assert_eq!(
        sync_message(&publisher).await.map(|(_, said)| said),
        Some(said),
        "the epoch stays"
    );
    let more = publisher.store_all("d.a", 10..13).await;
    expect(&mut exact, &more, 10..13).await;
    expect(&mut pattern, &more, 10..13).await;

    // What this edge remembers it still gives.
    let resumed = join(&mut late, "d.a", Some(position(&subscribed, offsets[4]))).await;
    assert_eq!(resumed.epoch, subscribed.epoch);
    let fresh = Edge::start_with(nats.url(), &format!("{DURABLE}max_age_secs = 0\nmax_bytes = 0\n")).await;
    let mut late = connect(&fresh, None).await;
    let resumed = join(&mut late, "d.a", Some(position(&subscribed, offsets[4]))).await;
    assert_eq!(
        (resumed.recovered, &resumed.epoch),
        (Some(false), &subscribed.epoch)
    );
    let lost = next_lost(&mut late).await;
    assert_eq!(lost.reason, LostReason::Trimmed);
    let (from, to) = (lost.from.map_or(0, Offset::get), lost.to.map_or(0, Offset::get));
    assert!(
        from <= offsets[5] && to >= offsets[9] && to < more[0],
        "{from} to {to}"
    );
    expect(&mut late, &more, 10..13).await;
    for edge in [edge, fresh] {
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_sync_message_that_would_expire_is_stored_again_and_nobody_hears_of_it() {
    let nats = NatsServer::start().await;
    let config = format!("{DURABLE}max_age_secs = 2\nduplicate_window_secs = 1\n");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut exact = connect(&edge, None).await;
    let mut pattern = connect(&edge, Some(Codec::MessagePack)).await;
    let subscribed = join(&mut exact, "d.a", None).await;
    join(&mut pattern, "d.*", None).await;
    let (first, said) = sync_message(&publisher).await.expect("it was stored");
    let stream = publisher.jetstream().get_stream("D").await.expect("it is there");
    eventually("the first sync message has expired", async || {
        stream.get_raw_message(first).await.err()
    })
    .await;
    let (_, says) = eventually("there is another", async || sync_message(&publisher).await).await;
    assert_eq!(says, said, "the epoch stays");
    let offset = publisher.store("d.a", "0").await;
    expect(&mut exact, &[offset], [0]).await;
    expect(&mut pattern, &[offset], [0]).await;
    let mut late = connect(&edge, None).await;
    assert_eq!(join(&mut late, "d.a", None).await.epoch, subscribed.epoch);
    edge.stop().await;
}

#[tokio::test]
async fn an_epoch_that_an_operator_renews_is_noticed_by_the_next_audit() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut exact = connect(&edge, None).await;
    let mut pattern = connect(&edge, Some(Codec::MessagePack)).await;
    let subscribed = join(&mut exact, "d.a", None).await;
    join(&mut pattern, "d.*", None).await;
    publisher.store_all("d.a", 0..10).await;
    for client in [&mut exact, &mut pattern] {
        Tally::default().read(client, &[("d.a", 10)]).await;
    }
    let url = [("nats.url", nats.url().to_owned())];
    let file = config_file(DURABLE);
    let config = Config::load(Some(file.path()), [], &url).expect("it is right");
    let config = broker_config(&config.nats).expect("it is right");
    let renewed = epoch::renew(&config, None, "D", Duration::from_secs(10)).await;
    let renewed = renewed.expect("the stream is there");
    assert_eq!(Some(&renewed.old), subscribed.epoch.as_ref());
    let asked = std::time::Instant::now();
    for client in [&mut exact, &mut pattern] {
        assert_eq!(told_of_a_new_epoch(client).await, renewed.new);
        Tally::default().read(client, &[("d.a", 10)]).await;
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    publisher.store("d.a", "10").await;
    for client in [&mut exact, &mut pattern] {
        assert_eq!(
            tailwater_tests::durable::number(&next_stored(client).await.payload),
            10
        );
    }
    edge.stop().await;
}
