//! A client that reads too slowly loses what its channel's policy says and is told exactly what; who
//! keeps up beside it misses nothing.

use std::collections::HashMap;

use tailwater_edge::client::Client;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::message::{ServerBody, ServerMessage};
use tailwater_protocol::payload::Payload;
use tailwater_protocol::push::{LostReason, Push, Update};
use tailwater_tests::raw_socket::{HANDSHAKE, frame};
use tailwater_tests::{Edge, NatsServer, RawSocket, next_update, subscriber};

/// Little room everywhere, so that a client is slow after a few kilobytes.
const CONFIG: &str = r#"
[namespace.dropping]
channels = "dropping.>"
anonymous = true
[namespace.newest]
channels = "newest.>"
anonymous = true
slow_consumer = "latest"
[namespace.strict]
channels = "strict.>"
anonymous = true
slow_consumer = "disconnect"
[outbox]
max_messages = 50
max_bytes = 65536
send_buffer_bytes = 4096
unsent_low_water_bytes = 1024
[websocket]
close_timeout_secs = 15
"#;

/// Publications of a burst: fewer than an outbox holds, so that who reads keeps up.
const BURST: usize = 25;

/// A client that reads only when it is told to.
struct Slow {
    socket: RawSocket,
    codec: Codec,
    /// By subject: the number that comes next.
    expected: HashMap<String, usize>,
    received: usize,
    lost: usize,
}

impl Slow {
    async fn subscribe(edge: &Edge, codec: Codec, channels: &[&str]) -> Self {
        let socket = RawSocket::open_narrow(edge.server().public_addr()).await;
        Self::subscribe_over(socket, codec, channels).await
    }

    async fn subscribe_over(mut socket: RawSocket, codec: Codec, channels: &[&str]) -> Self {
        let subprotocol = format!("Sec-WebSocket-Protocol: {}", codec.subprotocol());
        let headers = [&HANDSHAKE[..], &[&subprotocol]].concat();
        socket.request("GET /ws HTTP/1.1", &headers).await;
        let expected = HashMap::new();
        let mut slow = Self {
            socket,
            codec,
            expected,
            received: 0,
            lost: 0,
        };
        assert_eq!(slow.message().await.expect("an answer").kind(), "connected");
        for channel in channels {
            slow.send(Some(1), tailwater_tests::subscribe(channel)).await;
            assert_eq!(slow.message().await.expect("an answer").kind(), "subscribed");
        }
        slow
    }

    async fn send(&mut self, id: Option<u32>, command: tailwater_protocol::command::Command) {
        let message = tailwater_protocol::command::CommandMessage { id, command };
        let body = self.codec.encode_command(&message);
        let first = if self.codec == Codec::Json { 0x81 } else { 0x82 };
        self.socket.send(&frame(first, &body)).await;
    }

    /// The next message; nothing if the edge closes.
    async fn message(&mut self) -> Option<ServerMessage> {
        match self.socket.next_answer().await {
            Some((0x81 | 0x82, body)) => self.codec.decode_server(&body).expect("it can be read").pop(),
            _ => None,
        }
    }

    /// Reads one message and checks that it stands where it must: each channel in order, and each gap
    /// announced in its place with its size. Gives anything else but updates and losses.
    async fn read(&mut self) -> Option<ServerMessage> {
        let message = self.message().await.expect("the edge keeps the session");
        match message.body {
            ServerBody::Push(Push::Update(update)) => {
                let expected = self.expected.entry(subject(&update)).or_default();
                assert_eq!(number(&update), *expected, "{}", update.channel);
                *expected += 1;
                self.received += 1;
                None
            }
            ServerBody::Push(Push::Lost(lost)) => {
                assert_eq!(lost.reason, LostReason::SlowConsumer);
                let count = usize::try_from(lost.count.expect("it is known")).expect("it fits");
                assert!(count > 0, "nothing is announced where nothing is lost");
                *self.expected.entry(lost.channel.to_string()).or_default() += count;
                self.lost += count;
                None
            }
            _ => Some(message),
        }
    }

    /// Reads until everything of this subject up to `count` has come or has been announced.
    async fn read_up_to(&mut self, subject: &str, count: usize) {
        while self
            .expected
            .get(subject)
            .is_none_or(|expected| *expected < count)
        {
            assert!(self.read().await.is_none(), "only updates and losses");
        }
    }
}

fn subject(update: &Update) -> String {
    update
        .subject
        .clone()
        .unwrap_or_else(|| update.channel.to_string())
}

/// Publications are texts that begin with their number.
fn text(number: usize, bytes: usize) -> String {
    format!("{number:08}{}", "x".repeat(bytes - 8))
}

fn number(update: &Update) -> usize {
    match &update.payload {
        Payload::Json(json) => json.get()[1..9].parse().expect("a number"),
        Payload::Binary(bytes) => panic!("binary: {bytes:?}"),
    }
}

/// Publishes the numbers, no faster than the `fast` clients read them; these must get every one.
async fn publish(
    nats: &async_nats::Client,
    subject: &str,
    numbers: std::ops::Range<usize>,
    bytes: usize,
    fast: &mut [Client],
) {
    let burst = if bytes > 1024 { 1 } else { BURST };
    for start in numbers.clone().step_by(burst) {
        let numbers = start..numbers.end.min(start + burst);
        for number in numbers.clone() {
            nats.publish(subject.to_owned(), text(number, bytes).into())
                .await
                .expect("NATS is there");
        }
        nats.flush().await.expect("NATS is there");
        for client in &mut *fast {
            for expected in numbers.clone() {
                let update = next_update(client).await;
                assert_eq!(
                    (self::subject(&update).as_str(), number(&update)),
                    (subject, expected)
                );
            }
        }
    }
}

async fn fast_clients(edge: &Edge, channels: &[&str]) -> Vec<Client> {
    let mut fast = Vec::new();
    for codec in [Codec::Json, Codec::MessagePack, Codec::Json, Codec::MessagePack] {
        fast.push(subscriber(edge, Some(codec), channels).await);
    }
    fast
}

#[tokio::test]
async fn every_gap_of_a_slow_client_is_announced_with_its_size_and_the_others_have_none() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let publisher = nats.client().await;
    let mut fast = fast_clients(&edge, &["dropping.a"]).await;
    for codec in Codec::ALL {
        let mut slow = Slow::subscribe(&edge, codec, &["dropping.a"]).await;
        let mut published = 0;
        // Stalls of different lengths, between which it reads a little or all.
        for round in 0..12 {
            publish(
                &publisher,
                "dropping.a",
                published..published + 50 * round,
                200,
                &mut fast,
            )
            .await;
            published += 50 * round;
            for _ in 0..round * 3 {
                if slow
                    .expected
                    .get("dropping.a")
                    .is_none_or(|expected| *expected < published)
                {
                    slow.read().await;
                }
            }
            if round % 4 == 3 {
                slow.read_up_to("dropping.a", published).await;
            }
        }
        slow.read_up_to("dropping.a", published).await;
        assert_eq!(slow.received + slow.lost, published);
        assert!(
            slow.lost > published / 4,
            "it was slow: {} of {published} lost",
            slow.lost
        );
        // Level again, it misses nothing.
        let lost = slow.lost;
        for number in published..published + 100 {
            publish(&publisher, "dropping.a", number..number + 1, 200, &mut fast).await;
            slow.read().await;
        }
        assert_eq!((slow.lost, slow.received + slow.lost), (lost, published + 100));
    }
    drop(fast);
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_client_of_several_channels_is_told_of_each_and_gets_all_its_replies() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let publisher = nats.client().await;
    let channels = ["dropping.a", "dropping.b", "dropping.c"];
    let mut fast = fast_clients(&edge, &channels).await;
    for codec in Codec::ALL {
        let mut slow = Slow::subscribe(&edge, codec, &channels).await;
        let mut pongs = 0..;
        let mut expect_pong = |message: Option<ServerMessage>| {
            if let Some(message) = message {
                assert_eq!((message.kind(), message.id), ("pong", pongs.next()));
            }
            pongs.start
        };
        for round in 0..20_usize {
            for (index, channel) in channels.iter().enumerate() {
                let numbers = round * 30..(round + 1) * 30;
                let bytes = 20 + 300 * index;
                publish(&publisher, channel, numbers, bytes, &mut fast).await;
            }
            slow.send(
                Some(u32::try_from(round).unwrap()),
                tailwater_protocol::command::Command::Ping,
            )
            .await;
            for _ in 0..round {
                expect_pong(slow.read().await);
            }
        }
        while channels
            .iter()
            .any(|channel| slow.expected.get(*channel) != Some(&600))
        {
            expect_pong(slow.read().await);
        }
        slow.send(Some(20), tailwater_protocol::command::Command::Ping)
            .await;
        while expect_pong(slow.read().await) < 21 {}
        assert_eq!(slow.received + slow.lost, 1800);
        assert!(slow.lost > 100, "it was slow: {} lost", slow.lost);
    }
    drop(fast);
    edge.stop().await;
}

#[tokio::test]
async fn of_a_conflated_channel_a_slow_client_ends_with_the_newest_value_of_each_subject() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let publisher = nats.client().await;
    let subjects: Vec<String> = (0..20).map(|index| format!("newest.{index}")).collect();
    let mut fast = fast_clients(&edge, &["newest.*"]).await;
    for codec in Codec::ALL {
        let mut slow = Slow::subscribe(&edge, codec, &["newest.*"]).await;
        for round in 0..100 {
            for subject in &subjects {
                publish(&publisher, subject, round..round + 1, 300, &mut fast).await;
            }
        }
        let mut newest: HashMap<String, usize> = HashMap::new();
        let mut count = 0;
        while subjects.iter().any(|subject| newest.get(subject) != Some(&99)) {
            // There is room for all subjects, so nothing is lost, only replaced.
            let message = slow.message().await.unwrap();
            let ServerBody::Push(Push::Update(update)) = message.body else {
                panic!("{message:?}");
            };
            let before = newest.insert(subject(&update), number(&update));
            assert!(
                before.is_none_or(|before| before < number(&update)),
                "never back in time"
            );
            count += 1;
        }
        assert!(count < 1000, "{count} of 2000 were worth sending");
        slow.send(Some(5), tailwater_protocol::command::Command::Ping)
            .await;
        assert_eq!(
            slow.message().await.unwrap().kind(),
            "pong",
            "the newest values were the last"
        );
    }
    drop(fast);
    edge.stop().await;
}

#[tokio::test]
async fn where_the_policy_is_to_disconnect_a_slow_client_is_closed_with_4413_and_the_others_miss_nothing() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    let publisher = nats.client().await;
    let mut fast = fast_clients(&edge, &["strict.a"]).await;
    for (bytes, count) in [(200, 300), (100_000, 30)] {
        let mut slow = Vec::new();
        for codec in [Codec::Json, Codec::MessagePack, Codec::Json] {
            slow.push(Slow::subscribe(&edge, codec, &["strict.a"]).await);
        }
        // One of them does not even wait for its end.
        slow[2].socket.stream().set_zero_linger().unwrap();
        slow.truncate(2);
        publish(&publisher, "strict.a", 0..count, bytes, &mut fast).await;
        for slow in &mut slow {
            // What it had in order before the end is whole, and the close comes right behind it.
            let mut expected = 0;
            let code = loop {
                match slow.socket.next_answer().await.expect("a close frame") {
                    (0x88, body) => break u16::from_be_bytes([body[0], body[1]]),
                    (_, body) => {
                        let message = slow.codec.decode_server(&body).unwrap().pop().unwrap();
                        let ServerBody::Push(Push::Update(update)) = message.body else {
                            panic!("{message:?}");
                        };
                        assert_eq!(number(&update), expected);
                        expected += 1;
                    }
                }
            };
            assert_eq!(code, 4413);
            assert!(expected < count, "it was slow");
            assert!(
                slow.socket.read_to_end().await.is_empty(),
                "nothing after the close"
            );
        }
    }
    drop(fast);
    edge.stop().await;
}

#[tokio::test]
async fn publications_larger_than_an_outbox_reach_slow_clients_whole_or_are_announced() {
    const MEBIBYTE: usize = 1024 * 1024;
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &CONFIG.replace("4096", "65536")).await;
    let publisher = nats.client().await;
    let mut fast = vec![subscriber(&edge, None, &["dropping.a"]).await];
    for codec in Codec::ALL {
        // A usual receive buffer: through a narrow one, megabytes would take long.
        let socket = RawSocket::open(edge.server().public_addr()).await;
        let mut slow = Slow::subscribe_over(socket, codec, &["dropping.a"]).await;
        for round in 0..2 {
            let numbers = round * 6..(round + 1) * 6;
            publish(&publisher, "dropping.a", numbers, MEBIBYTE, &mut fast).await;
            slow.read_up_to("dropping.a", (round + 1) * 6).await;
        }
        assert!(
            slow.lost > 0 && slow.received >= 2,
            "{} lost, {} received",
            slow.lost,
            slow.received
        );
        publish(&publisher, "dropping.a", 12..32, 100, &mut fast).await;
        slow.read_up_to("dropping.a", 32).await;
        assert_eq!(slow.received + slow.lost, 32);
    }
    drop(fast);
    edge.stop().await;
}
