//! Cursors that are none, and commands that come at odd moments: a client is told what to do, and the session lives.

use serde_json::{Value, json};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Unsubscribe};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Offset, Since};
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;
use tailwater_tests::durable::{DURABLE, Publisher, Tally, connect, expect, join, next_stored, position};
use tailwater_tests::{Edge, NatsServer, RawSocket, next};

async fn session(edge: &Edge) -> RawSocket {
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    assert_eq!(socket.next_json().await["type"], "connected");
    socket
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused_with_the_place_of_the_mistake_and_the_session_lives() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let mut socket = session(&edge).await;
    for (since, says) in [
        (json!({"offset": -1, "epoch": "e"}), "offset"),
        (json!({"offset": "5", "epoch": "e"}), "offset"),
        (json!({"offset": 5.5, "epoch": "e"}), "offset"),
        (json!({"offset": 9_007_199_254_740_992_u64, "epoch": "e"}), "2^53"),
        (json!({"offset": 5}), "{offset, epoch}"),
        (json!({"epoch": "e"}), "{offset, epoch}"),
        (json!({"offset": 5, "epoch": "e".repeat(65)}), "epoch"),
        (json!({"offset": 5, "epoch": ""}), "epoch"),
        (json!({"offset": 5, "epoch": "a b"}), "epoch"),
        (json!("end"), "beginning"),
        (json!(5), "cursor"),
        (json!([5, "e"]), "cursor"),
        (json!({"last": -1}), "last"),
        (json!({"last": 1.5}), "last"),
        (json!({"time": "yesterday"}), "time"),
        (json!({"time": "2026-13-01T00:00:00Z"}), "time"),
        (json!({"last": 1, "time": "2026-01-01T00:00:00Z"}), "exactly one"),
    ] {
        let command = json!({"type": "subscribe", "id": 3, "channel": "d.a", "since": since});
        let answer = socket.ask(&command.to_string()).await;
        assert_eq!(
            (
                &answer["type"],
                &answer["code"],
                &answer["id"],
                &answer["channel"]
            ),
            (&json!("error"), &json!("bad_cursor"), &json!(3), &json!("d.a")),
            "{since}: {answer}"
        );
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("since") && message.contains(says),
            "{since}: {message}"
        );
        assert_eq!(answer.get("retry_after_ms"), None, "{answer}");
    }
    let bad = json!({"type": "subscribe", "id": 3, "channel": "d.a", "latest": "yes"});
    assert_eq!(socket.ask(&bad.to_string()).await["code"], "bad_message");
    assert_eq!(socket.ask(r#"{"type":"ping","id":4}"#).await["type"], "pong");
    let good = json!({"type": "subscribe", "id": 5, "channel": "d.a", "since": null});
    assert_eq!(socket.ask(&good.to_string()).await["type"], "subscribed");
    edge.stop().await;
}

#[tokio::test]
async fn a_live_channel_has_no_start() {
    let nats = NatsServer::start().await;
    let live = "[namespace.live]\nchannels = \"live.>\"\nanonymous = true\n";
    let edge = Edge::start_with(nats.url(), &format!("{DURABLE}{live}")).await;
    let mut socket = session(&edge).await;
    for since in [
        json!("beginning"),
        json!({"last": 0}),
        json!({"offset": 0, "epoch": "e"}),
        json!({"time": "2026-01-01T00:00:00Z"}),
    ] {
        let command = json!({"type": "subscribe", "id": 3, "channel": "live.a", "since": since});
        let answer = socket.ask(&command.to_string()).await;
        assert_eq!(answer["code"], "not_durable", "{answer}");
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|text| text.contains("leave out"))
        );
    }
    let plain = json!({"type": "subscribe", "id": 3, "channel": "live.a"});
    let answer: Value = socket.ask(&plain.to_string()).await;
    assert_eq!(
        (&answer["type"], &answer["durable"]),
        (&json!("subscribed"), &json!(false))
    );
    assert!(
        answer.get("offset").is_none() && answer.get("epoch").is_none(),
        "{answer}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn who_subscribes_again_is_told_its_cursor_and_gets_nothing_twice() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    for (codec, channel) in [(Codec::Json, "d.a"), (Codec::MessagePack, "d.a.*")] {
        let subject = channel.replace('*', "x");
        let mut client = connect(&edge, Some(codec)).await;
        let subscribed = join(&mut client, channel, None).await;
        let offsets = publisher.store_all(&subject, 0..10).await;
        expect(&mut client, &offsets, 0..10).await;
        for since in [
            None,
            Some(Since::Beginning),
            Some(position(&subscribed, 0)),
            Some(Since::Last(5)),
        ] {
            let again = join(&mut client, channel, since).await;
            assert_eq!((&again.epoch, again.recovered), (&subscribed.epoch, None));
            let offset = again.offset.map_or(0, Offset::get);
            if channel == "d.a" {
                assert_eq!(offset, offsets[9]);
            } else {
                // Of a pattern it is where a resume is safe.
                assert!((subscribed.offset.map_or(0, Offset::get)..=offsets[9]).contains(&offset));
            }
        }
        let last = publisher.store(&subject, "10").await;
        expect(&mut client, &[last], [10]).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn to_unsubscribe_stops_what_is_being_caught_up_and_a_new_cursor_goes_on_from_there() {
    const COUNT: u64 = 4000;
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut offsets = Vec::new();
    for start in (0..COUNT).step_by(500) {
        offsets.extend(publisher.store_all("d.a", start..start + 500).await);
    }
    for (codec, channel) in [(Codec::Json, "d.a"), (Codec::MessagePack, "d.*")] {
        let mut client = connect(&edge, Some(codec)).await;
        let mut tally = Tally::default();
        let mut since = Some(Since::Beginning);
        let mut rounds = 0;
        while tally.count("d.a") < COUNT {
            let subscribed = join(&mut client, channel, since.take()).await;
            assert_eq!(subscribed.recovered, Some(true));
            let update = next_stored(&mut client).await;
            tally.add(&update);
            let channel = tailwater_protocol::channel::Channel::new(channel).expect("a channel");
            let unsubscribe = Command::Unsubscribe(Unsubscribe { channel });
            client
                .send(Some(9), unsubscribe)
                .await
                .expect("the connection lives");
            let mut has = update.offset.expect("durable").get();
            loop {
                match next(&mut client).await.body {
                    ServerBody::Push(Push::Update(update)) => {
                        tally.add(&update);
                        has = update.offset.expect("durable").get();
                    }
                    ServerBody::Push(Push::Position { .. }) => {}
                    ServerBody::Reply(Reply::Unsubscribed { .. }) => break,
                    other => panic!("expected updates, got {other:?}"),
                }
            }
            // After the answer nothing comes any more.
            client
                .send(Some(10), Command::Ping)
                .await
                .expect("the connection lives");
            assert_eq!(next(&mut client).await.kind(), "pong");
            since = Some(position(&subscribed, has));
            rounds += 1;
        }
        assert!(rounds < COUNT, "{rounds}");
    }
    edge.stop().await;
}
