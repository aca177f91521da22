//! Pages of what is stored, in both orders, for clients that need no subscription.

use std::num::NonZeroU32;

use async_nats::Subscriber;
use futures_util::{FutureExt as _, StreamExt as _};
use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, History, Order};
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Epoch, Offset, Position, Since};
use tailwater_protocol::push::{LostReason, Push};
use tailwater_protocol::reply::{self, Reply};
use tailwater_protocol::timestamp::Timestamp;
use tailwater_tests::durable::{DURABLE, Publisher, connect, expect, join, next_stored, text};
use tailwater_tests::nats_process::free_port;
use tailwater_tests::{Edge, NatsProcess, NatsServer, eventually, next, soon};

use crate::live::raw_publish;

/// A page of `channel` with nothing else said.
fn of(channel: &str, order: Order) -> History {
    History {
        channel: Channel::new(channel).expect("a channel"),
        since: None,
        before: None,
        order,
        limit: None,
    }
}

fn limited(history: History, limit: u32) -> History {
    History {
        limit: NonZeroU32::new(limit),
        ..history
    }
}

fn at(offset: u64, epoch: &Epoch) -> Position {
    Position {
        offset: Offset::new(offset).expect("an offset"),
        epoch: epoch.clone(),
    }
}

fn since(history: History, offset: u64, epoch: &Epoch) -> History {
    History {
        since: Some(Since::Position(at(offset, epoch))),
        ..history
    }
}

fn before(history: History, offset: u64, epoch: &Epoch) -> History {
    History {
        before: Some(at(offset, epoch)),
        ..history
    }
}

async fn answer(client: &mut Client, history: History) -> ServerBody {
    let sent = client.send(Some(3), Command::History(history)).await;
    sent.expect("the connection lives");
    loop {
        let message = next(client).await;
        if message.id == Some(3) || matches!(message.body, ServerBody::Push(Push::Error(_))) {
            return message.body;
        }
    }
}

async fn page(client: &mut Client, history: History) -> reply::History {
    match answer(client, history).await {
        ServerBody::Reply(Reply::History(page)) => page,
        other => panic!("expected a page, got {other:?}"),
    }
}

async fn refused(client: &mut Client, history: History) -> ErrorMessage {
    match answer(client, history).await {
        ServerBody::Push(Push::Error(error)) => error,
        other => panic!("expected an error, got {other:?}"),
    }
}

fn offsets(page: &reply::History) -> Vec<u64> {
    page.publications
        .iter()
        .map(|publication| publication.offset.get())
        .collect()
}

fn lost(page: &reply::History) -> Option<(Option<u64>, Option<u64>, LostReason)> {
    let gap = page.lost.as_ref()?;
    Some((
        gap.from.map(Offset::get),
        gap.to.map(Offset::get),
        gap.reason.clone(),
    ))
}

/// Reads page after page until there is no `next`, and gives all offsets.
async fn all(client: &mut Client, history: History) -> Vec<u64> {
    let (mut asked, mut got) = (history.clone(), Vec::new());
    loop {
        let page = page(client, asked).await;
        assert_eq!(page.lost, None);
        got.extend(offsets(&page));
        let Some(next) = page.next else { return got };
        asked = match history.order {
            Order::Oldest => since(history.clone(), next.get(), &page.epoch),
            Order::Newest => before(history.clone(), next.get(), &page.epoch),
        };
    }
}

/// Stores one publication on each of so many channels below `d.many`, and gives their offsets.
async fn store_each(publisher: &Publisher, count: u64) -> Vec<u64> {
    let mut sent = Vec::new();
    for number in 0..count {
        let subject = format!("d.many.{number}");
        let publication = publisher.jetstream().publish(subject, "1".into()).await;
        sent.push(publication.expect("the connection lives").into_future());
    }
    let stored = soon("acknowledgements", futures_util::future::try_join_all(sent)).await;
    let stored = stored.expect("the stream stores them");
    stored.into_iter().map(|stored| stored.sequence).collect()
}

fn reversed(mut offsets: Vec<u64>) -> Vec<u64> {
    offsets.reverse();
    offsets
}

#[tokio::test]
async fn paging_in_either_order_gives_everything_once_in_both_codecs() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    // Dense at the start and at the end, thin in the middle.
    let mut stored = publisher.store_all("d.a", 0..500).await;
    for number in 500..600 {
        publisher.store_all("d.other", 0..20).await;
        stored.push(publisher.store("d.a", number.to_string()).await);
    }
    stored.extend(publisher.store_all("d.a", 600..1200).await);
    for codec in Codec::ALL {
        let mut client = connect(&edge, Some(codec)).await;
        for limit in [70, 100, 999, 1000] {
            let oldest = limited(of("d.a", Order::Oldest), limit);
            assert_eq!(all(&mut client, oldest).await, stored, "{limit}");
            let newest = limited(of("d.a", Order::Newest), limit);
            assert_eq!(reversed(all(&mut client, newest).await), stored, "{limit}");
        }
        let first = page(&mut client, of("d.a", Order::Newest)).await;
        assert_eq!(reversed(offsets(&first)), stored[1100..]);
        assert_eq!(first.upto.get(), stored[1199]);
        assert_eq!(text(&first.publications[0].payload), "1199");
        assert_eq!(first.publications[0].subject, None);
        assert!(
            first.publications[0]
                .time
                .as_ref()
                .is_some_and(|time| time.len() == 24)
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_page_of_a_pattern_holds_only_what_matches_and_says_where_it_belongs() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut stored = Vec::new();
    for number in 0..60 {
        stored.push(publisher.store("d.room.a", number.to_string()).await);
        publisher.store_all("d.elsewhere", 0..30).await;
        stored.push(publisher.store("d.room.b", number.to_string()).await);
        publisher.store("d.room.b.deeper", "no").await;
    }
    let mut client = connect(&edge, None).await;
    for limit in [1, 17, 1000] {
        let oldest = limited(of("d.room.*", Order::Oldest), limit);
        assert_eq!(all(&mut client, oldest).await, stored);
        let newest = limited(of("d.room.*", Order::Newest), limit);
        assert_eq!(reversed(all(&mut client, newest).await), stored);
    }
    let newest = page(&mut client, limited(of("d.room.*", Order::Newest), 2)).await;
    let subjects: Vec<_> = newest
        .publications
        .iter()
        .map(|one| one.subject.as_deref())
        .collect();
    assert_eq!(subjects, [Some("d.room.b"), Some("d.room.a")]);
    assert_eq!(newest.upto.get(), stored[119] + 1);
    edge.stop().await;
}

#[tokio::test]
async fn both_ends_of_a_range_are_left_out() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut stored = Vec::new();
    for number in 0..20 {
        stored.push(publisher.store("d.a", number.to_string()).await);
        publisher.store("d.b", "other").await;
    }
    let mut client = connect(&edge, None).await;
    let epoch = page(&mut client, of("d.a", Order::Newest)).await.epoch;
    for channel in ["d.a", "d.*"] {
        let wanted = |from: u64, to: u64| -> Vec<u64> {
            let all = from + 1..to;
            all.filter(|offset| channel == "d.*" || stored.contains(offset))
                .collect()
        };
        for (from, to) in [
            (stored[3], stored[9]),
            (stored[3] + 1, stored[9] - 1),
            (0, stored[0]),
            (stored[4], stored[4] + 1),
            (stored[9], stored[3]),
            (stored[19] + 1, stored[19] + 2),
        ] {
            for order in [Order::Oldest, Order::Newest] {
                let asked = before(since(of(channel, order), from, &epoch), to, &epoch);
                let page = page(&mut client, asked).await;
                let mut got = offsets(&page);
                got.sort_unstable();
                let mut expected = wanted(from, to);
                expected.retain(|offset| *offset >= stored[0]);
                assert_eq!(got, expected, "{channel} {from} {to} {order:?}");
                assert_eq!(
                    (page.next, page.lost),
                    (None, None),
                    "{channel} {from} {to} {order:?}"
                );
            }
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn every_form_of_since_bounds_a_page() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut stored = Vec::new();
    for number in 0..40 {
        stored.push(publisher.store("d.a", number.to_string()).await);
        publisher.store("d.b", "other").await;
    }
    let mut client = connect(&edge, None).await;
    let whole = page(&mut client, of("d.a", Order::Oldest)).await;
    let time = whole.publications[20].time.clone().expect("a time");
    let time = Timestamp::new(&time).expect("a time");
    let later = Timestamp::new("2100-01-01T00:00:00+02:00").expect("a time");
    for (since, from) in [
        (Since::Beginning, 0),
        (Since::Last(7), 33),
        (Since::Last(0), 40),
        (Since::Last(40), 0),
        (Since::Last(u32::MAX), 0),
        (Since::Time(later), 40),
    ] {
        for order in [Order::Oldest, Order::Newest] {
            let asked = History {
                since: Some(since.clone()),
                ..of("d.a", order)
            };
            let page = page(&mut client, asked).await;
            let mut got = offsets(&page);
            got.sort_unstable();
            assert_eq!(got, stored[from..], "{since:?}");
            assert_eq!((page.next, page.lost), (None, None), "{since:?}");
        }
    }
    let asked = History {
        since: Some(Since::Time(time)),
        ..of("d.a", Order::Oldest)
    };
    let got = offsets(&page(&mut client, asked).await);
    assert!(
        got[0] <= stored[20] && got[0] > stored[0] && got.ends_with(&stored[20..]),
        "{got:?}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_subscription_behind_the_newest_page_goes_on_without_a_gap_or_a_double() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    const COUNT: u64 = 3000;
    let publish = async {
        for number in 0..COUNT {
            publisher.store("d.a", number.to_string()).await;
        }
    };
    let read = async {
        for round in 0..12 {
            let codec = Codec::ALL[round % 2];
            let channel = if round % 3 == 0 { "d.*" } else { "d.a" };
            let mut client = connect(&edge, Some(codec)).await;
            let newest = page(&mut client, limited(of(channel, Order::Newest), 5)).await;
            let numbers: Vec<u64> = newest
                .publications
                .iter()
                .map(|one| text(&one.payload).parse().expect("a number"))
                .collect();
            let mut expected = numbers.first().map_or(0, |newest| newest + 1);
            for (place, number) in numbers.iter().enumerate() {
                assert_eq!(*number + place as u64 + 1, expected);
            }
            let since = Since::Position(at(newest.upto.get(), &newest.epoch));
            assert_eq!(
                join(&mut client, channel, Some(since)).await.recovered,
                Some(true)
            );
            let until = (expected + 50).min(COUNT);
            while expected < until {
                assert_eq!(
                    text(&next_stored(&mut client).await.payload),
                    expected.to_string()
                );
                expected += 1;
            }
        }
    };
    tokio::join!(publish, read);
    edge.stop().await;
}

#[tokio::test]
async fn what_a_client_has_just_stored_is_in_its_newest_page() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    for number in 0..50 {
        let offset = publisher.store("d.a", number.to_string()).await;
        for channel in ["d.a", "d.>"] {
            let newest = page(&mut client, limited(of(channel, Order::Newest), 1)).await;
            assert_eq!((offsets(&newest), newest.upto.get()), (vec![offset], offset));
            assert_eq!(newest.next.is_some(), number > 0);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn in_a_cluster_a_page_holds_what_was_stored_before_whichever_replica_answers() {
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let routes: Vec<String> = ports
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let mut servers = Vec::new();
    let mut stores = Vec::new();
    for (name, port) in ports.iter().enumerate() {
        let store = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "server_name: n{name}\njetstream {{ store_dir: {:?} }}\ncluster {{ name: c, listen: \"127.0.0.1:{port}\", \
             routes: [{}] }}",
            store.path(),
            routes.join(", ")
        );
        servers.push(NatsProcess::start(&config).await);
        stores.push(store);
    }
    let config = DURABLE.replace("[stream.D]", "[stream.D]\nreplicas = 3");
    for server in &servers {
        let edge = Edge::start_with(&server.url(), &config).await;
        let publisher = Publisher::connect(&servers[0].url()).await;
        let mut client = connect(&edge, None).await;
        for number in 0..60 {
            let mut stored = publisher.store_all("d.other", 0..20).await;
            stored.push(publisher.store("d.a", number.to_string()).await);
            for channel in ["d.a", "d.>"] {
                let newest = page(&mut client, limited(of(channel, Order::Newest), 1)).await;
                assert_eq!(
                    (offsets(&newest), newest.upto.get()),
                    (vec![stored[20]], stored[20])
                );
            }
            let since = since(
                of("d.*", Order::Oldest),
                stored[0] - 1,
                &page(&mut client, of("d.a", Order::Newest)).await.epoch,
            );
            assert_eq!(offsets(&page(&mut client, since).await), stored);
        }
        edge.stop().await;
    }
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let nats = NatsServer::start().await;
    let config = format!(
        "{DURABLE}[namespace.live]\nchannels = \"live.>\"\nanonymous = true\n[namespace.hidden]\nchannels = \"hidden.>\"\n"
    );
    let edge = Edge::start_with(nats.url(), &config).await;
    let mut client = connect(&edge, None).await;
    for (history, code) in [
        (limited(of("d.a", Order::Newest), 1001), ErrorCode::Limit),
        (limited(of("d.a", Order::Oldest), 1_000_000), ErrorCode::Limit),
        (of("live.a", Order::Newest), ErrorCode::NotDurable),
        (
            limited(of("live.a", Order::Newest), 1_000_000),
            ErrorCode::NotDurable,
        ),
        (of("hidden.a", Order::Newest), ErrorCode::Forbidden),
        (of("nowhere", Order::Newest), ErrorCode::NoSuchChannel),
    ] {
        let channel = history.channel.clone();
        let error = refused(&mut client, history).await;
        assert_eq!((error.code, error.id), (code, Some(3)), "{error:?}");
        assert_eq!(error.channel.as_deref(), Some(channel.as_str()));
        if code == ErrorCode::Limit {
            assert!(error.message.contains("1000"), "{error:?}");
        }
    }
    for body in [
        r#"{"type":"history","id":3,"channel":"d.a","limit":0}"#,
        r#"{"type":"history","id":3,"channel":"d.a","limit":-1}"#,
        r#"{"type":"history","id":3,"channel":"d.a","limit":5000000000}"#,
        r#"{"type":"history","id":3,"channel":"d.a","order":"random"}"#,
        r#"{"type":"history","id":3,"channel":"d.a","before":"beginning"}"#,
        r#"{"type":"history","id":3}"#,
    ] {
        client
            .send_body(body.as_bytes())
            .await
            .expect("the connection lives");
        match next(&mut client).await.body {
            ServerBody::Push(Push::Error(error)) => assert_eq!(error.id, Some(3), "{body}"),
            other => panic!("expected an error, got {other:?} to {body}"),
        }
    }
    // The connection has survived all that.
    assert!(
        page(&mut client, of("d.a", Order::Newest))
            .await
            .publications
            .is_empty()
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_foreign_cursor_is_told_and_left_out_of_account() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let stored = publisher.store_all("d.a", 0..3).await;
    let mut client = connect(&edge, None).await;
    let epoch = page(&mut client, of("d.a", Order::Newest)).await.epoch;
    let foreign = Epoch::new("another-1").expect("an epoch");
    for order in [Order::Oldest, Order::Newest] {
        for asked in [
            since(of("d.a", order), stored[1], &foreign),
            since(of("d.a", order), 1_000_000, &epoch),
            before(of("d.a", order), stored[1], &foreign),
            before(of("d.a", order), 1_000_000, &epoch),
        ] {
            let page = page(&mut client, asked).await;
            let mut got = offsets(&page);
            got.sort_unstable();
            assert_eq!((got, page.next), (stored.clone(), None));
            assert_eq!(lost(&page), Some((None, None, LostReason::EpochChanged)));
            assert_eq!(page.epoch, epoch);
        }
    }
    // The place behind the last is not in the future.
    let all = page(
        &mut client,
        before(of("d.a", Order::Newest), stored[2] + 1, &epoch),
    )
    .await;
    assert_eq!((all.publications.len(), all.lost), (3, None));
    let none = page(&mut client, since(of("d.a", Order::Newest), stored[2], &epoch)).await;
    assert_eq!((none.publications.len(), none.lost), (0, None));
    edge.stop().await;
}

#[tokio::test]
async fn what_the_stream_has_trimmed_is_told_to_who_gave_a_position() {
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("[stream.D]", "[stream.D]\nmax_messages_per_channel = 10");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let stored = publisher.store_all("d.a", 0..30).await;
    let mut client = connect(&edge, None).await;
    for order in [Order::Oldest, Order::Newest] {
        let whole = page(&mut client, of("d.a", order)).await;
        assert_eq!((whole.publications.len(), &whole.lost), (10, &None));
        for channel in ["d.a", "d.>"] {
            let behind = page(&mut client, since(of(channel, order), stored[4], &whole.epoch)).await;
            assert_eq!(behind.publications.len(), 10);
            let (gone, kept) = (stored[5], stored[20]);
            assert_eq!(
                lost(&behind),
                Some((Some(gone), Some(kept - 1), LostReason::Trimmed)),
                "{channel}"
            );
            // The client's own last is gone, and all behind it is there.
            for from in [stored[19], stored[20], stored[25]] {
                let behind = page(&mut client, since(of(channel, order), from, &whole.epoch)).await;
                let mut got = offsets(&behind);
                got.sort_unstable();
                let first = stored.partition_point(|offset| *offset <= from);
                assert_eq!(
                    (got, behind.lost),
                    (stored[first..].to_vec(), None),
                    "{channel} {from}"
                );
            }
        }
        // Only the page that comes to the place tells what is missing there.
        let asked = limited(since(of("d.a", order), stored[4], &whole.epoch), 4);
        let first = page(&mut client, asked).await;
        assert_eq!(first.lost.is_some(), order == Order::Oldest);
        assert!(first.next.is_some());
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_empty_channel_has_an_empty_page_that_one_can_subscribe_behind() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    for channel in ["d.empty", "d.nothing.*"] {
        for order in [Order::Oldest, Order::Newest] {
            let page = page(&mut client, of(channel, order)).await;
            assert_eq!((page.publications.len(), page.next, page.lost), (0, None, None));
        }
    }
    let other = publisher.store("d.other", "1").await;
    let empty = page(&mut client, of("d.empty", Order::Newest)).await;
    assert_eq!(empty.upto.get(), other);
    let offset = publisher.store("d.empty", "5").await;
    let since = Since::Position(at(empty.upto.get(), &empty.epoch));
    let subscribed = join(&mut client, "d.empty", Some(since)).await;
    assert_eq!(subscribed.recovered, Some(true));
    expect(&mut client, &[offset], [5]).await;
    edge.stop().await;
}

#[tokio::test]
async fn large_payloads_make_pages_smaller_and_no_publication_is_too_large_for_one() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut stored = Vec::new();
    // Small, then growing to almost all that NATS takes, then small again.
    for bytes in [
        10, 1000, 100_000, 300_000, 900_000, 1_000_000, 600_000, 40_000, 10, 10,
    ] {
        for _ in 0..4 {
            stored.push(publisher.store("d.a", "x".repeat(bytes)).await);
        }
    }
    let mut client = connect(&edge, None).await;
    for channel in ["d.a", "d.*"] {
        for order in [Order::Oldest, Order::Newest] {
            let mut asked = of(channel, order);
            let mut got = Vec::new();
            loop {
                let page = page(&mut client, asked).await;
                let bytes: usize = page.publications.iter().map(|one| one.payload.byte_len()).sum();
                // A text has two quotes.
                assert!(bytes <= 512 * 1024 || page.publications.len() == 1, "{bytes}");
                assert!(!page.publications.is_empty());
                got.extend(offsets(&page));
                let Some(next) = page.next else { break };
                asked = match order {
                    Order::Oldest => since(of(channel, order), next.get(), &page.epoch),
                    Order::Newest => before(of(channel, order), next.get(), &page.epoch),
                };
            }
            if order == Order::Newest {
                got.reverse();
            }
            assert_eq!(got, stored, "{channel} {order:?}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn forged_headers_in_history_end_no_page_and_move_nothing() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let address = nats.url().strip_prefix("nats://").expect("a URL");
    let mut stored = vec![publisher.store("d.a", "0").await];
    for block in [
        &b"NATS/1.0\r\nNats-Sequence: 999999\r\nNats-Stream: OTHER\r\nNats-Subject: x\r\nNats-Time-Stamp: never\r\n\r\n"[..],
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 404 Message Not Found\r\n\r\n",
        b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-UpTo-Sequence: 1\r\n\r\n",
        b"NATS/1.0\r\n\xff\xfe: \xff\r\nno colon\r\n\r\n",
    ] {
        for payload in [&b"1"[..], b"", b"\xff\x00"] {
            raw_publish(address, "d.a", block, payload).await;
            stored.push(stored[stored.len() - 1] + 1);
        }
    }
    stored.push(publisher.store("d.a", "2").await);
    let mut client = connect(&edge, None).await;
    for channel in ["d.a", "d.*"] {
        for limit in [1, 3, 100] {
            let oldest = limited(of(channel, Order::Oldest), limit);
            assert_eq!(all(&mut client, oldest).await, stored);
            let newest = limited(of(channel, Order::Newest), limit);
            assert_eq!(reversed(all(&mut client, newest).await), stored);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn without_nats_a_page_is_unavailable_and_the_session_goes_on() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let mut client = connect(&edge, None).await;
    page(&mut client, of("d.a", Order::Newest)).await;
    nats.stop().await;
    let error = refused(&mut client, of("d.a", Order::Newest)).await;
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.retry_after_ms.is_some());
    client
        .send(None, Command::Ping)
        .await
        .expect("the connection lives");
    assert_eq!(next(&mut client).await.kind(), "pong");
    edge.stop().await;
}

#[tokio::test]
async fn a_page_of_a_pattern_with_thousands_of_channels_is_answered() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let stored = store_each(&publisher, 1500).await;
    let mut client = connect(&edge, None).await;
    let newest = limited(of("d.many.*", Order::Newest), 600);
    assert_eq!(reversed(all(&mut client, newest).await), stored);
    let oldest = limited(of("d.many.*", Order::Oldest), 600);
    assert_eq!(all(&mut client, oldest).await, stored);
    edge.stop().await;
}

#[tokio::test]
async fn a_page_is_answered_although_the_stream_has_lost_its_sync_message() {
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("[stream.D]", "[stream.D]\nmax_bytes = 65536");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    let mut stored = Vec::new();
    for _ in 0..20 {
        stored.push(publisher.store("d.a", "x".repeat(8000)).await);
    }
    let stream = publisher.jetstream().get_stream("D").await.expect("a stream");
    let sync = stream.get_last_raw_message_by_subject("_tw.sync.D").await;
    assert!(sync.is_err(), "trimmed");
    let empty = page(&mut client, of("d.b", Order::Newest)).await;
    assert_eq!((empty.publications.len(), empty.upto.get()), (0, stored[19]));
    let newest = page(&mut client, limited(of("d.a", Order::Newest), 1)).await;
    assert_eq!((offsets(&newest), newest.epoch), (vec![stored[19]], empty.epoch));
    let sync = stream.get_last_raw_message_by_subject("_tw.sync.D").await;
    assert!(sync.is_ok(), "stored again");
    edge.stop().await;
}

#[tokio::test]
async fn a_stream_that_outlives_its_sync_message_keeps_its_epoch() {
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("[stream.D]", "[stream.D]\nmax_bytes = 65536");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    let subscribed = join(&mut client, "d.a", None).await;
    for _ in 0..20 {
        let offset = publisher.store("d.a", "x".repeat(8000)).await;
        assert_eq!(
            next_stored(&mut client).await.offset.map(Offset::get),
            Some(offset)
        );
    }
    let stream = publisher.jetstream().get_stream("D").await.expect("a stream");
    let sync = async || stream.get_last_raw_message_by_subject("_tw.sync.D").await.ok();
    // An audit stores it again.
    eventually("the sync message is back", sync).await;
    let other = Edge::start_with(nats.url(), &config).await;
    let mut again = connect(&other, None).await;
    assert_eq!(join(&mut again, "d.a", None).await.epoch, subscribed.epoch);
    edge.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_pattern_of_many_channels_is_resumed_although_the_newest_publication_has_expired() {
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("[stream.D]", "[stream.D]\nallow_message_ttl = true");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let last = store_each(&publisher, 1100).await[1099];
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-TTL", "1s");
    let sent = publisher
        .jetstream()
        .publish_with_headers("d.many.brief", headers, "1".into());
    let brief = sent.await.expect("the connection lives").await.expect("stored");
    let stream = publisher.jetstream().get_stream("D").await.expect("a stream");
    let expired = async || stream.get_raw_message(brief.sequence).await.err();
    eventually("it expires", expired).await;
    let mut client = connect(&edge, None).await;
    let newest = page(&mut client, limited(of("d.many.*", Order::Newest), 1)).await;
    assert_eq!(
        (offsets(&newest), newest.upto.get()),
        (vec![last], brief.sequence)
    );
    let since = Since::Position(at(last, &newest.epoch));
    // Where the expired one was, something is missing.
    assert_eq!(
        join(&mut client, "d.many.*", Some(since)).await.recovered,
        Some(false)
    );
    edge.stop().await;
}

/// Counts what the edge asks of NATS.
struct Tap(Vec<Subscriber>);

impl Tap {
    async fn new(publisher: &Publisher) -> Self {
        let mut taps = Vec::new();
        for subject in ["$JS.API.DIRECT.GET.D", "$JS.API.STREAM.MSG.GET.D", "_tw.sync.D"] {
            let tap = publisher.client().subscribe(subject).await;
            taps.push(tap.expect("the connection lives"));
        }
        publisher.client().flush().await.expect("the connection lives");
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
