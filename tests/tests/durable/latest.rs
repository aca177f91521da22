//! The last value of each subject first, then everything that follows it.

use std::collections::HashMap;

use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Subscribe};
use tailwater_protocol::error::ErrorCode;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Offset, Since};
use tailwater_protocol::push::Push;
use tailwater_tests::durable::{DURABLE, Publisher, ask, connect, next_stored, number};
use tailwater_tests::{Edge, NatsServer, next};

fn latest(channel: &str, since: Option<Since>) -> Command {
    Command::Subscribe(Subscribe {
        channel: Channel::new(channel).expect("a channel"),
        since,
        latest: true,
    })
}

async fn refused(client: &mut Client, command: Command) -> ErrorCode {
    client.send(Some(4), command).await.expect("the connection lives");
    let answer = next(client).await;
    let code = match answer.body {
        ServerBody::Push(Push::Error(error)) => {
            assert_eq!(error.id, Some(4), "{error:?}");
            error.code
        }
        other => panic!("expected an error, got {other:?}"),
    };
    // Nothing of it comes nevertheless.
    client
        .send(Some(5), Command::Ping)
        .await
        .expect("the connection lives");
    assert_eq!(next(client).await.kind(), "pong");
    code
}

#[tokio::test]
async fn one_value_of_each_subject_comes_first_and_then_each_that_follows_while_others_publish() {
    const COUNT: u64 = 1500;
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let subjects = ["d.a", "d.b", "d.c"];
    for subject in subjects {
        publisher.store(subject, "0").await;
    }
    let publish = async {
        for number in 1..COUNT {
            for subject in subjects {
                publisher.store_all(subject, [number]).await;
            }
        }
    };
    let read = async {
        let mut readers = Vec::new();
        for round in 0..20 {
            let codec = Codec::ALL[round % 2];
            let channel = ["d.*", "d.b", "d.>"][round % 3];
            let mut client = connect(&edge, Some(codec)).await;
            let subscribed = ask(&mut client, latest(channel, None)).await;
            assert!(subscribed.recovered.is_none() && subscribed.durable);
            // The values are the last ones up to here, and a client that keeps it loses nothing.
            let upto = subscribed.offset.expect("durable").get();
            let expected = if channel == "d.b" { 1 } else { 3 };
            let mut newest = HashMap::new();
            for _ in 0..expected {
                let update = next_stored(&mut client).await;
                assert!(
                    update.offset.is_some_and(|offset| offset.get() <= upto),
                    "{update:?}"
                );
                let subject = update.subject.unwrap_or_else(|| "d.b".to_owned());
                let twice = newest.insert(subject, number(&update.payload));
                assert_eq!(twice, None, "one value each");
            }
            readers.push((client, newest));
        }
        for (client, newest) in &mut readers {
            while newest.values().any(|number| *number < COUNT - 1) {
                let update = next_stored(client).await;
                let subject = update.subject.unwrap_or_else(|| "d.b".to_owned());
                let newest = newest.get_mut(&subject).expect("its value came first");
                *newest += 1;
                assert_eq!(number(&update.payload), *newest, "{subject}");
            }
        }
    };
    tokio::join!(publish, read);
    edge.stop().await;
}

#[tokio::test]
async fn an_empty_channel_has_no_last_value_and_goes_on_from_now() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    for (codec, channel) in [(Codec::Json, "d.a"), (Codec::MessagePack, "d.*")] {
        let mut client = connect(&edge, Some(codec)).await;
        if channel == "d.a" {
            ask(&mut client, latest(channel, None)).await;
            let stored = publisher.store("d.a", "7").await;
            let update = next_stored(&mut client).await;
            assert_eq!(update.offset.map(Offset::get), Some(stored));
        } else {
            ask(&mut client, latest(channel, None)).await;
            assert_eq!(number(&next_stored(&mut client).await.payload), 7);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn more_than_a_thousand_subjects_are_refused_whole() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let subject = |index: u64| format!("d.many.{index}");
    for index in 0..1000 {
        let sent = publisher
            .client()
            .publish(subject(index), index.to_string().into());
        sent.await.expect("the connection lives");
    }
    publisher.store("d.other", "0").await;
    let mut client = connect(&edge, None).await;
    ask(&mut client, latest("d.many.*", None)).await;
    for index in 0..1000 {
        assert_eq!(number(&next_stored(&mut client).await.payload), index);
    }
    publisher.store(&subject(1000), "1000").await;
    assert_eq!(number(&next_stored(&mut client).await.payload), 1000);
    // One beyond, and so many that the server does not list them.
    for count in [1001, 1200] {
        for index in 1001..count {
            publisher.store(&subject(index), "0").await;
        }
        let mut client = connect(&edge, None).await;
        let code = refused(&mut client, latest("d.many.*", None)).await;
        assert_eq!(code, ErrorCode::Limit, "{count}");
        // The session holds nothing of it, and may ask for less.
        ask(&mut client, latest("d.many.5", None)).await;
        assert_eq!(number(&next_stored(&mut client).await.payload), 5);
    }
    edge.stop().await;
}

#[tokio::test]
async fn last_values_together_with_a_start_or_of_a_live_channel_are_refused() {
    let nats = NatsServer::start().await;
    let live = "[namespace.live]\nchannels = \"live.>\"\nanonymous = true\n";
    let edge = Edge::start_with(nats.url(), &format!("{DURABLE}{live}")).await;
    let mut client = connect(&edge, None).await;
    for (command, expected) in [
        (latest("d.a", Some(Since::Beginning)), ErrorCode::BadMessage),
        (latest("d.*", Some(Since::Last(3))), ErrorCode::BadMessage),
        (latest("live.a", None), ErrorCode::NotDurable),
        (latest("live.*", None), ErrorCode::NotDurable),
    ] {
        assert_eq!(refused(&mut client, command).await, expected);
    }
    edge.stop().await;
}
