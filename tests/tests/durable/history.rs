//! Pages of what is stored, in both orders, for clients that need no subscription.

use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{History, Order};
use tailwater_protocol::error::ErrorCode;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::Since;
use tailwater_protocol::push::Push;
use tailwater_protocol::timestamp::Timestamp;
use tailwater_tests::durable::{DURABLE, Publisher, connect, expect, join, next_stored, text};
use tailwater_tests::{Edge, NatsServer, next};

use crate::pages::{all, at, before, limited, of, offsets, page, refused, reversed, since, store_each};

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
