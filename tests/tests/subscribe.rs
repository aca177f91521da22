//! Publications on plain NATS reach subscribers, as they were published.

use tailwater_edge::client::Client;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::frame;
use tailwater_tests::{Edge, NatsServer, RawSocket, next, next_update, subscriber};

fn json(payload: &Payload) -> &str {
    match payload {
        Payload::Json(json) => json.get(),
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

#[tokio::test]
async fn the_tutorial_client_gets_byte_for_byte_what_the_readme_says() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    let (first, welcome) = socket.next_answer().await.unwrap();
    let welcome = String::from_utf8(welcome).unwrap();
    assert_eq!(first, 0x81);
    assert!(welcome.starts_with(r#"{"type":"connected","#), "{welcome}");
    assert!(welcome.contains(r#""message":"Welcome!""#), "{welcome}");
    socket
        .send(&frame(0x81, br#"{"type":"subscribe","channel":"deployments"}"#))
        .await;
    let (_, subscribed) = socket.next_answer().await.unwrap();
    assert_eq!(
        subscribed,
        br#"{"type":"subscribed","channel":"deployments","durable":false}"#
    );
    let publisher = nats.client().await;
    publisher
        .publish("deployments", r#"{"id":7,"state":"live"}"#.into())
        .await
        .unwrap();
    let (first, update) = socket.next_answer().await.unwrap();
    assert_eq!(first, 0x81);
    let expected = r#"{"type":"update","channel":"deployments","payload":{"id":7,"state":"live"}}"#;
    assert_eq!(String::from_utf8(update).unwrap(), expected);
    edge.stop().await;
}

#[tokio::test]
async fn a_publication_right_after_subscribed_is_never_missed() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let publisher = nats.client().await;
    for round in 0..200 {
        let channel = format!("fresh.{round}");
        let mut client = subscriber(&edge, None, &[&channel]).await;
        publisher
            .publish(channel, round.to_string().into())
            .await
            .unwrap();
        assert_eq!(json(&next_update(&mut client).await.payload), round.to_string());
    }
    edge.stop().await;
}

#[tokio::test]
async fn every_payload_arrives_as_the_protocol_says_in_both_codecs() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let publisher = nats.client().await;
    let deep = "[".repeat(129) + &"]".repeat(129);
    let large = format!("\"{}\"", "x".repeat(1024 * 1024 - 2));
    let text = |text: &str| serde_json::to_string(text).unwrap();
    let cases: Vec<(Vec<u8>, Option<String>)> = vec![
        (
            br#"{"a":[1,2.5,null,true,"x"]}"#.to_vec(),
            Some(r#"{"a":[1,2.5,null,true,"x"]}"#.into()),
        ),
        (b"17".to_vec(), Some("17".into())),
        (b"".to_vec(), Some("\"\"".into())),
        (
            b"plain text \"with\" quotes\n".to_vec(),
            Some(text("plain text \"with\" quotes\n")),
        ),
        ("grüße 🦀".into(), Some(text("grüße 🦀"))),
        (deep.clone().into(), Some(text(&deep))),
        (large.clone().into(), Some(large.clone())),
        (vec![0xff, 0x00, 0xfe], None),
    ];
    for codec in [Codec::Json, Codec::MessagePack] {
        let mut client = subscriber(&edge, Some(codec), &["corners"]).await;
        for (published, expected) in &cases {
            publisher
                .publish("corners", published.clone().into())
                .await
                .unwrap();
            let update = next_update(&mut client).await;
            match expected {
                Some(expected) => assert_eq!(json(&update.payload), expected, "{codec:?}"),
                None => assert_eq!(
                    update.payload,
                    Payload::Binary(published.clone().into()),
                    "{codec:?}"
                ),
            }
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_pattern_brings_its_channels_with_their_names_and_nothing_else() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let publisher = nats.client().await;
    let mut client = subscriber(&edge, None, &["deployments.*.status"]).await;
    for subject in [
        "deployments.1.log",
        "deployments.status",
        "other.1.status",
        "deployments.1.status",
    ] {
        publisher.publish(subject, subject.into()).await.unwrap();
    }
    let update = next_update(&mut client).await;
    assert_eq!(update.channel.as_str(), "deployments.*.status");
    assert_eq!(update.subject.as_deref(), Some("deployments.1.status"));
    edge.stop().await;
}

#[tokio::test]
async fn all_subscribers_get_everything_once_and_in_order_and_batches_form_under_load() {
    let nats = NatsServer::start().await;
    // Room for all of it: here nobody is too slow.
    let config = format!("{OPEN}[outbox]\nmax_messages = 10_000");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = nats.client().await;
    let mut clients = Vec::new();
    for index in 0..20 {
        let codec = if index % 2 == 0 {
            Codec::Json
        } else {
            Codec::MessagePack
        };
        clients.push(subscriber(&edge, Some(codec), &["counter"]).await);
    }
    let readers = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            for expected in 0..5_000 {
                assert_eq!(
                    json(&next_update(&mut client).await.payload),
                    expected.to_string()
                );
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for number in 0..5_000 {
        publisher
            .publish("counter", number.to_string().into())
            .await
            .unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_prefix_of_the_namespace_is_invisible_to_clients() {
    let nats = NatsServer::start().await;
    let config = "[namespace.prod]\nchannels = \"orders.>\"\nanonymous = true\npublish = true\nsubject_prefix = \"prod.eu\"";
    let edge = Edge::start_with(nats.url(), config).await;
    let publisher = nats.client().await;
    let mut client = subscriber(&edge, None, &["orders.*"]).await;
    publisher.publish("orders.1", "outside".into()).await.unwrap();
    publisher
        .publish("prod.eu.orders.2", "inside".into())
        .await
        .unwrap();
    let update = next_update(&mut client).await;
    assert_eq!(update.subject.as_deref(), Some("orders.2"));
    edge.stop().await;
}

#[tokio::test]
async fn after_unsubscribed_nothing_comes_and_a_second_subscribe_is_no_second_copy() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let publisher = nats.client().await;
    let mut client = subscriber(&edge, None, &["a", "b", "a"]).await;
    publisher.publish("a", "1".into()).await.unwrap();
    publisher.publish("b", "2".into()).await.unwrap();
    let mut got = [next_update(&mut client).await, next_update(&mut client).await];
    got.sort_by_key(|update| update.channel.to_string());
    assert_eq!(got.each_ref().map(|update| json(&update.payload)), ["1", "2"]);
    client
        .send_body(br#"{"type":"unsubscribe","channel":"a","id":9}"#)
        .await
        .unwrap();
    assert_eq!(next(&mut client).await.kind(), "unsubscribed");
    publisher.publish("a", "3".into()).await.unwrap();
    publisher.publish("b", "4".into()).await.unwrap();
    assert_eq!(json(&next_update(&mut client).await.payload), "4");
    edge.stop().await;
}

#[tokio::test]
async fn clients_publish_where_the_namespace_allows_and_nowhere_else() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    for codec in [Codec::Json, Codec::MessagePack] {
        let mut reader = subscriber(&edge, None, &["chat.room"]).await;
        let mut writer = subscriber(&edge, Some(codec), &[]).await;
        let publish = |channel: &str| {
            tailwater_protocol::command::Command::Publish(tailwater_protocol::command::Publish {
                channel: tailwater_protocol::channel::Channel::new(channel).unwrap(),
                payload: Payload::from_json(&serde_json::json!({"text": "hello"})).unwrap(),
                key: None,
            })
        };
        writer.send(Some(1), publish("chat.room")).await.unwrap();
        let answer = next(&mut writer).await;
        assert!(
            matches!(answer.body, ServerBody::Reply(Reply::Published { .. })),
            "{answer:?}"
        );
        assert_eq!(
            json(&next_update(&mut reader).await.payload),
            r#"{"text":"hello"}"#
        );
        for (channel, code) in [("deployments", "forbidden"), ("chat.*", "bad_message")] {
            writer.send(Some(2), publish(channel)).await.unwrap();
            match next(&mut writer).await.body {
                ServerBody::Push(Push::Error(error)) => {
                    assert_eq!((error.id, error.code.as_str()), (Some(2), code), "{channel}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_silent_client_costs_the_others_nothing_when_it_vanishes() {
    let nats = NatsServer::start().await;
    let edge = Edge::start(&nats).await;
    let publisher = nats.client().await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..50 {
        clients.push(subscriber(&edge, None, &["rooms.1"]).await);
    }
    // Every second one goes, without a word, while publications come.
    for number in 0..100 {
        if number % 4 == 0 {
            clients.remove(number / 4);
        }
        publisher
            .publish("rooms.1", number.to_string().into())
            .await
            .unwrap();
    }
    for client in &mut clients {
        for number in 0..100 {
            assert_eq!(json(&next_update(client).await.payload), number.to_string());
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_delay_joins_publications_and_loses_none_whoever_comes_meanwhile() {
    let nats = NatsServer::start().await;
    let config = "[namespace.slow]\nchannels = \"slow.>\"\nanonymous = true\nmax_delay_ms = 300";
    let edge = Edge::start_with(nats.url(), config).await;
    let publisher = nats.client().await;
    let mut first = subscriber(&edge, None, &["slow.1"]).await;
    publisher.publish("slow.1", "0".into()).await.unwrap();
    publisher.flush().await.unwrap();
    let published = std::time::Instant::now();
    // Who comes while one is held back gets what is published from then on.
    let mut second = subscriber(&edge, Some(Codec::MessagePack), &["slow.1"]).await;
    for number in 1..100 {
        publisher
            .publish("slow.1", number.to_string().into())
            .await
            .unwrap();
    }
    for number in 1..100 {
        let mut update = next_update(&mut second).await;
        if number == 1 && json(&update.payload) == "0" {
            update = next_update(&mut second).await;
        }
        assert_eq!(json(&update.payload), number.to_string());
    }
    for number in 0..100 {
        assert_eq!(json(&next_update(&mut first).await.payload), number.to_string());
    }
    assert!(
        published.elapsed() >= std::time::Duration::from_millis(250),
        "{:?}",
        published.elapsed()
    );
    edge.stop().await;
}
