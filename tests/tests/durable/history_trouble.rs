//! Pages of history when something is wrong: with the cursor, the stream, its messages or NATS.

use tailwater_protocol::command::{Command, Order};
use tailwater_protocol::error::ErrorCode;
use tailwater_protocol::position::{Epoch, Offset, Since};
use tailwater_protocol::push::LostReason;
use tailwater_tests::durable::{DURABLE, Publisher, audited, connect, join, next_stored};
use tailwater_tests::{Cluster, Edge, NatsServer, eventually, next};

use crate::live::raw_publish;
use crate::pages::{all, at, before, limited, lost, of, offsets, page, refused, reversed, since, store_each};
use crate::trimmed::{limit_to_five, twenty};

#[tokio::test]
async fn in_a_cluster_a_page_holds_what_was_stored_before_whichever_replica_answers() {
    let cluster = Cluster::start().await;
    let urls: Vec<String> = cluster
        .addresses()
        .iter()
        .map(|address| format!("nats://{address}"))
        .collect();
    let config = DURABLE.replace("[stream.D]", "[stream.D]\nreplicas = 3");
    for url in &urls {
        let edge = Edge::start_with(url, &config).await;
        let publisher = Publisher::connect(&urls[0]).await;
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
async fn what_a_limit_removes_that_an_operator_sets_later_is_told_after_an_audit() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    let cursor = publisher.store("d.a", "0").await;
    let epoch = page(&mut client, of("d.a", Order::Newest)).await.epoch;
    limit_to_five(&publisher).await;
    let missed = twenty(&publisher).await;
    audited(&publisher, &edge, 2).await;
    for order in [Order::Oldest, Order::Newest] {
        for channel in ["d.a", "d.*"] {
            let behind = page(&mut client, since(of(channel, order), cursor, &epoch)).await;
            let gap = behind.lost.clone().expect("a loss is told");
            assert_eq!(gap.reason, LostReason::Trimmed);
            let (from, to) = (gap.from.map_or(0, Offset::get), gap.to.map_or(0, Offset::get));
            let mut got = offsets(&behind);
            got.sort_unstable();
            let untold = missed
                .iter()
                .filter(|offset| !got.contains(offset) && !(from..=to).contains(offset));
            assert_eq!(
                untold.count(),
                0,
                "{channel} {order:?}: {from} to {to} and {got:?}"
            );
            assert!(got.ends_with(&[missed[19]]) || channel == "d.*", "{got:?}");
        }
        // Nothing is missing behind what is still stored.
        let behind = page(&mut client, since(of("d.a", order), missed[15], &epoch)).await;
        assert_eq!((behind.publications.len(), behind.lost), (4, None));
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
