//! Joins while others publish: a client gets everything behind the cursor that it is given, once.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tailwater_protocol::codec::Codec;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Offset, Since};
use tailwater_protocol::push::Push;
use tailwater_tests::durable::{
    DURABLE, Publisher, Tally, connect, join, next_stored, number, position, subscribe_since,
};
use tailwater_tests::{Edge, NatsServer, next};

#[tokio::test]
async fn whoever_joins_at_any_moment_gets_all_that_is_behind_its_cursor() {
    const FOLLOWED: u64 = 10;
    let nats = NatsServer::start().await;
    let edges = [
        Edge::start_with(nats.url(), DURABLE).await,
        Edge::start_with(nats.url(), DURABLE).await,
    ];
    let publisher = Publisher::connect(nats.url()).await;
    let is_done = Cell::new(false);
    let publish = async {
        let mut offsets = Vec::new();
        for number in 0.. {
            if is_done.get() {
                break;
            }
            offsets.push(publisher.store("d.a", number.to_string()).await);
        }
        offsets
    };
    let follow = async {
        let mut began = Vec::new();
        // Also on channels that this process has no subscription for, and with a codec that nobody else speaks.
        for round in 0..80 {
            let channel = ["d.a", "d.*", "d.>"][round % 3];
            let mut client = connect(&edges[round % 2], Some(Codec::ALL[round / 2 % 2])).await;
            let cursor = join(&mut client, channel, None)
                .await
                .offset
                .expect("durable")
                .get();
            let mut expected = None;
            for _ in 0..FOLLOWED {
                let update = next_stored(&mut client).await;
                let number = number(&update.payload);
                if let Some(expected) = expected {
                    assert_eq!(number, expected, "{channel}");
                } else {
                    began.push((cursor, update.offset.map_or(0, Offset::get)));
                }
                expected = Some(number + 1);
            }
        }
        is_done.set(true);
        began
    };
    let (offsets, began) = tokio::join!(publish, follow);
    for (cursor, first) in began {
        let behind = offsets.iter().find(|offset| **offset > cursor);
        assert_eq!(behind, Some(&first), "behind {cursor}");
    }
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test]
async fn who_joins_while_a_publication_is_held_back_for_others_gets_it_without_waiting_for_the_next() {
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("publish = true", "publish = true\nmax_delay_ms = 300");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    for (round, channel) in ["d.a", "d.*", "d.b", "d.>"].into_iter().enumerate() {
        let mut first = connect(&edge, Some(Codec::ALL[round % 2])).await;
        join(&mut first, channel, None).await;
        let subject = if round == 2 { "d.b" } else { "d.a" };
        let stored = publisher.store(subject, "1").await;
        let mut second = connect(&edge, Some(Codec::ALL[(round + 1) % 2])).await;
        let cursor = join(&mut second, channel, None)
            .await
            .offset
            .map_or(0, Offset::get);
        let update = next_stored(&mut first).await;
        assert_eq!(update.offset.map(Offset::get), Some(stored));
        if cursor < stored {
            let update = tokio::time::timeout(Duration::from_secs(5), next_stored(&mut second)).await;
            let update = update.expect("nothing more has to be published for it");
            assert_eq!(update.offset.map(Offset::get), Some(stored), "{channel}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_and_goes_between_edges_follows_a_busy_channel_without_gap_or_double() {
    const ROUNDS: usize = 60;
    let nats = NatsServer::start().await;
    let edges = [
        Edge::start_with(nats.url(), DURABLE).await,
        Edge::start_with(nats.url(), DURABLE).await,
    ];
    let publisher = Publisher::connect(nats.url()).await;
    let is_done = Cell::new(false);
    let publish = async {
        for number in 0.. {
            if is_done.get() {
                break;
            }
            publisher.store("d.a", number.to_string()).await;
        }
    };
    let follow = async {
        let mut since = None;
        let mut tally = Tally::default();
        for round in 0..ROUNDS {
            let mut client = connect(&edges[round % 2], Some(Codec::ALL[round / 2 % 2])).await;
            let begin = since.take().unwrap_or(Since::Beginning);
            let subscribed = join(&mut client, "d.a", Some(begin)).await;
            assert_eq!(subscribed.recovered, Some(true), "{round}");
            let mut last = subscribed.offset.map_or(0, Offset::get);
            // From none to more than is live.
            for _ in 0..round % 7 * 6 {
                let update = next_stored(&mut client).await;
                tally.add(&update);
                last = update.offset.map_or(0, Offset::get);
            }
            since = Some(position(&subscribed, last));
        }
        // The same by a pattern, from the position that is safe: what came behind it comes again, and nothing is missing.
        let mut safe = None;
        let mut next_number = 0;
        for round in 0..12 {
            let mut client = connect(&edges[round % 2], Some(Codec::ALL[round / 2 % 2])).await;
            let begin = safe.take().unwrap_or(Since::Beginning);
            let subscribed = join(&mut client, "d.*", Some(begin)).await;
            assert_eq!(subscribed.recovered, Some(true), "{round}");
            let mut certain = subscribed.offset.map_or(0, Offset::get);
            let mut numbers = Vec::new();
            let mut positions = 0;
            while positions < 2 {
                match next(&mut client).await.body {
                    ServerBody::Push(Push::Update(update)) => numbers.push(number(&update.payload)),
                    ServerBody::Push(Push::Position { offset, .. }) => {
                        assert!(offset.get() >= certain, "never back");
                        certain = offset.get();
                        positions += 1;
                    }
                    other => panic!("expected updates and positions, got {other:?}"),
                }
            }
            assert!(
                numbers.first().is_none_or(|first| *first <= next_number),
                "{numbers:?}"
            );
            assert!(
                numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
                "{numbers:?}"
            );
            next_number = numbers
                .last()
                .map_or(next_number, |last| next_number.max(last + 1));
            safe = Some(position(&subscribed, certain));
        }
        is_done.set(true);
    };
    tokio::join!(publish, follow);
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_join_does_not_wait_for_an_audit_of_many_patterns() {
    const PATTERNS: usize = 2000;
    let nats = NatsServer::start().await;
    let limit = format!("{DURABLE}[outbox]\nmax_bytes = 16777216\n[limits]\ncommands_per_sec = 0\n");
    let limit = limit.replace("[websocket]", "[websocket]\nmax_channels_per_session = 10000");
    let edge = Edge::start_with(nats.url(), &limit).await;
    let publisher = Publisher::connect(nats.url()).await;
    publisher.store("d.0.x", "0").await;
    let mut many = connect(&edge, None).await;
    for index in 0..PATTERNS {
        many.send(Some(1), subscribe_since(&format!("d.{index}.*"), None))
            .await
            .expect("the connection lives");
    }
    let mut joined = 0;
    while joined < PATTERNS {
        joined += usize::from(next(&mut many).await.kind() == "subscribed");
    }
    let mut slowest = Duration::ZERO;
    let begin = Instant::now();
    let mut client = connect(&edge, None).await;
    for index in 0.. {
        let asked = Instant::now();
        join(&mut client, &format!("d.new.{index}"), None).await;
        slowest = slowest.max(asked.elapsed());
        if begin.elapsed() > Duration::from_secs(4) {
            break;
        }
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    edge.stop().await;
}
