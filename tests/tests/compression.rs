//! Publications of namespaces that compress reach those who offer `permessage-deflate` compressed and all others as ever,
//! each once and in order; compressed messages of clients are read, within their limit.

use std::net::SocketAddr;

use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, CommandMessage};
use tailwater_protocol::deflate::{deflate, inflate};
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::message::{ServerBody, ServerMessage};
use tailwater_protocol::payload::Payload;
use tailwater_protocol::position::Since;
use tailwater_protocol::push::{LostReason, Push};
use tailwater_protocol::reply::{Reply, Subscribed};
use tailwater_tests::durable::{Publisher, position, subscribe_since};
use tailwater_tests::raw_socket::{HANDSHAKE, frame};
use tailwater_tests::{Edge, NatsServer, RawSocket};

/// What a WebSocket may agree on.
const FRAMES: [Encoding; 4] = [
    Encoding::plain(Codec::Json),
    Encoding::plain(Codec::MessagePack),
    Encoding::deflated(Codec::Json),
    Encoding::deflated(Codec::MessagePack),
];

const CONFIG: &str = r#"
[namespace.packed]
channels = "packed.>"
anonymous = true
compress = true
[namespace.plain]
channels = "plain.>"
anonymous = true
[namespace.d]
channels = "d.>"
durable = true
anonymous = true
compress = true
stream = "D"
[outbox]
max_messages = 50
send_buffer_bytes = 4096
unsent_low_water_bytes = 1024
[websocket]
max_message_bytes = 4096
"#;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
const AGREED: &str = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";

/// A client that may have agreed to compression.
struct Client {
    socket: RawSocket,
    encoding: Encoding,
    /// How many frames came compressed, and how many did not.
    frames: (usize, usize),
}

impl Client {
    async fn connect(edge: &Edge, encoding: Encoding) -> Self {
        let socket = RawSocket::open(edge.server().public_addr()).await;
        Self::connect_over(socket, encoding).await
    }

    async fn connect_over(mut socket: RawSocket, encoding: Encoding) -> Self {
        let subprotocol = format!("Sec-WebSocket-Protocol: {}", encoding.codec.subprotocol());
        let mut headers = [&HANDSHAKE[..], &[&subprotocol]].concat();
        headers.extend(encoding.is_deflated().then_some(OFFER));
        let answer = socket.request("GET /ws HTTP/1.1", &headers).await;
        assert_eq!(answer.contains(AGREED), encoding.is_deflated(), "{answer}");
        let mut client = Self {
            socket,
            encoding,
            frames: (0, 0),
        };
        assert_eq!(client.message().await.kind(), "connected");
        client
    }

    async fn subscriber(edge: &Edge, encoding: Encoding, channel: &str) -> Self {
        let mut client = Self::connect(edge, encoding).await;
        client.subscribe(channel, None).await;
        client
    }

    async fn subscribe(&mut self, channel: &str, since: Option<Since>) -> Subscribed {
        self.send(subscribe_since(channel, since)).await;
        match self.message().await.body {
            ServerBody::Reply(Reply::Subscribed(subscribed)) => subscribed,
            other => panic!("expected `subscribed`, got {other:?}"),
        }
    }

    /// Sends a command, compressed if that was agreed on: as one frame or, by the id, as two.
    async fn send(&mut self, command: Command) {
        let body = self
            .encoding
            .codec
            .encode_command(&CommandMessage { id: Some(1), command });
        let first = self.encoding.codec.opcode() as u8;
        if !self.encoding.is_deflated() {
            return self.socket.send(&frame(0x80 | first, &body)).await;
        }
        // Stored, not compressed: short as it is.
        let length = u16::try_from(body.len()).expect("a short command");
        let mut packed = vec![0];
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&(!length).to_le_bytes());
        packed.extend_from_slice(&body);
        packed.push(0);
        let (one, two) = packed.split_at(packed.len() / 2);
        self.socket.send(&frame(0x40 | first, one)).await;
        self.socket.send(&frame(0x80, two)).await;
    }

    async fn message(&mut self) -> ServerMessage {
        let opcode = self.encoding.codec.opcode() as u8;
        let (first, body) = self
            .socket
            .next_answer()
            .await
            .expect("the edge keeps the session");
        let body = if first == 0xC0 | opcode {
            assert!(
                self.encoding.is_deflated(),
                "only who agreed gets compressed messages"
            );
            self.frames.0 += 1;
            inflate(&body, 1 << 20).expect("the edge compresses by the RFC")
        } else {
            assert_eq!(first, 0x80 | opcode);
            self.frames.1 += 1;
            body
        };
        let mut messages = self.encoding.codec.decode_server(&body).expect("it can be read");
        messages.pop().expect("a message")
    }

    /// The number of the next update, or how many were lost before it.
    async fn number(&mut self) -> Result<usize, usize> {
        loop {
            match self.message().await.body {
                ServerBody::Push(Push::Update(update)) => return Ok(number(&update.payload)),
                ServerBody::Push(Push::Lost(lost)) => {
                    assert_eq!(lost.reason, LostReason::SlowConsumer);
                    return Err(usize::try_from(lost.count.expect("it is known")).expect("it fits"));
                }
                ServerBody::Push(Push::Position { .. }) => {}
                other => panic!("expected an update, got {other:?}"),
            }
        }
    }

    async fn expect_all(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for expected in numbers {
            assert_eq!(self.number().await, Ok(expected), "{:?}", self.encoding);
        }
    }
}

/// A payload of about this size, half of which compression saves.
fn payload(number: usize, size: usize) -> String {
    let mut text = format!(r#"{{"number":{number},"text":""#);
    let mut state = number as u64 + 1;
    while text.len() < size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:x}", state >> 33));
    }
    text + "\"}"
}

fn number(payload: &Payload) -> usize {
    let Payload::Json(json) = payload else {
        panic!("expected JSON, got {payload:?}");
    };
    let value: serde_json::Value = serde_json::from_str(json.get()).expect("JSON");
    usize::try_from(value["number"].as_u64().expect("a number")).expect("it fits")
}

async fn start() -> (NatsServer, Edge) {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), CONFIG).await;
    (nats, edge)
}

#[tokio::test]
async fn the_extension_is_agreed_on_only_where_a_namespace_compresses() {
    let offered = async |address: SocketAddr| {
        let mut socket = RawSocket::open(address).await;
        let headers = [&HANDSHAKE[..], &[OFFER]].concat();
        socket.request("GET /ws HTTP/1.1", &headers).await
    };
    let (nats, edge) = start().await;
    let answer = offered(edge.server().public_addr()).await;
    assert!(answer.contains(AGREED), "{answer}");
    let without = Edge::start(&nats).await;
    let answer = offered(without.server().public_addr()).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.contains("sec-websocket-extensions"), "{answer}");
}

#[tokio::test]
async fn everybody_gets_the_same_publications_in_order_and_compressed_only_who_agreed() {
    let (nats, edge) = start().await;
    let publisher = nats.client().await;
    let mut clients = Vec::new();
    // Twice, so that both workers have some.
    for encoding in [FRAMES, FRAMES].concat() {
        clients.push(Client::subscriber(&edge, encoding, "packed.a").await);
        clients.push(Client::subscriber(&edge, encoding, "packed.*").await);
        clients.push(Client::subscriber(&edge, encoding, "plain.a").await);
    }
    // Every third is too short to be compressed.
    let size = |number: usize| if number.is_multiple_of(3) { 50 } else { 2000 };
    for number in 0..30 {
        for subject in ["packed.a", "plain.a"] {
            let payload = payload(number, size(number));
            publisher
                .publish(subject, payload.into())
                .await
                .expect("NATS is there");
        }
    }
    for (index, client) in clients.iter_mut().enumerate() {
        client.frames = (0, 0);
        client.expect_all(0..30).await;
        let compresses = client.encoding.is_deflated() && index % 3 != 2;
        assert_eq!(client.frames, if compresses { (20, 10) } else { (0, 30) });
    }
}

#[tokio::test]
async fn a_durable_channel_is_resumed_compressed_from_the_ring_and_from_the_stream() {
    let (nats, edge) = start().await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut first = Client::connect(&edge, Encoding::deflated(Codec::Json)).await;
    let subscribed = first.subscribe("d.a", None).await;
    let store = async |numbers: std::ops::Range<usize>| {
        let mut offsets = Vec::new();
        for number in numbers {
            offsets.push(publisher.store("d.a", payload(number, 1500)).await);
        }
        offsets
    };
    let offsets = store(0..20).await;
    first.expect_all(0..20).await;
    assert_eq!(first.frames.0, 20);
    // The ring holds what the feed has brought for one encoding; what others lack comes from the stream, and so does all of
    // it on an edge that has just begun.
    let other = Edge::start_with(nats.url(), CONFIG).await;
    for (edge, channel) in [(&edge, "d.a"), (&edge, "d.*"), (&other, "d.a"), (&other, "d.*")] {
        for encoding in [FRAMES, FRAMES].concat() {
            let mut client = Client::connect(edge, encoding).await;
            client.frames = (0, 0);
            let resumed = client
                .subscribe(channel, Some(position(&subscribed, offsets[4])))
                .await;
            assert_eq!(resumed.recovered, Some(true));
            client.expect_all(5..20).await;
            assert_eq!(
                client.frames.0,
                if encoding.is_deflated() { 15 } else { 0 },
                "{channel}"
            );
        }
    }
    // In step again, all of them, and live.
    let mut clients = Vec::new();
    for encoding in FRAMES {
        for channel in ["d.a", "d.*"] {
            let mut client = Client::connect(&edge, encoding).await;
            client.subscribe(channel, Some(Since::Last(3))).await;
            client.expect_all(17..20).await;
            clients.push(client);
        }
    }
    store(20..40).await;
    for client in &mut clients {
        client.expect_all(20..40).await;
        assert!(client.frames.0 == if client.encoding.is_deflated() { 23 } else { 0 });
    }
}

#[tokio::test]
async fn a_slow_client_of_compressed_publications_is_told_exactly_what_it_lost() {
    let (nats, edge) = start().await;
    let publisher = nats.client().await;
    for codec in Codec::ALL {
        let mut quick = Client::subscriber(&edge, Encoding::deflated(codec), "packed.slow").await;
        let socket = RawSocket::open_narrow(edge.server().public_addr()).await;
        let mut slow = Client::connect_over(socket, Encoding::deflated(codec)).await;
        slow.subscribe("packed.slow", None).await;
        for burst in 0..40 {
            for number in burst * 25..burst * 25 + 25 {
                let payload = payload(number, 3000);
                publisher
                    .publish("packed.slow", payload.into())
                    .await
                    .expect("NATS is there");
            }
            quick.expect_all(burst * 25..burst * 25 + 25).await;
        }
        let (mut next, mut lost) = (0, 0);
        while next < 1000 {
            match slow.number().await {
                Ok(number) => {
                    assert_eq!(number, next);
                    next += 1;
                }
                Err(count) => {
                    next += count;
                    lost += count;
                }
            }
        }
        assert!(lost > 100, "it was slow: {lost}");
    }
}

#[tokio::test]
async fn a_compressed_message_that_breaks_the_rules_ends_its_own_connection_alone() {
    let (nats, edge) = start().await;
    let mut bystander = Client::subscriber(&edge, Encoding::deflated(Codec::Json), "packed.a").await;
    let bomb = deflate(&vec![b' '; 200_000]).expect("it is smaller");
    assert!(bomb.len() < 4096);
    let not_text = deflate(&[0xff; 1000]).expect("it is smaller");
    let at_limit = deflate(&[b' '; 4096]).expect("it is smaller");
    let beyond = deflate(&[b' '; 4097]).expect("it is smaller");
    let cases = [
        (frame(0xC1, &bomb), 1009),
        (frame(0xC1, &beyond), 1009),
        (frame(0xC1, &not_text), 1007),
        (frame(0xC1, b"{\"type\":\"ping\"}"), 1007),
        (frame(0xC1, &at_limit[..at_limit.len() - 3]), 1007),
        (frame(0xC2, &at_limit), 1003),
        (frame(0xC0, &at_limit), 1002),
        (frame(0xC9, b""), 1002),
        (frame(0xA1, b"{}"), 1002),
    ];
    for (bytes, code) in cases {
        let mut client = Client::connect(&edge, Encoding::deflated(Codec::Json)).await;
        client.socket.send(&bytes).await;
        assert_eq!(client.socket.close_code().await, code);
        let mut client = Client::connect(&edge, Encoding::plain(Codec::Json)).await;
        client.socket.send(&frame(0xC1, &at_limit)).await;
        assert_eq!(client.socket.close_code().await, 1002, "nothing was agreed on");
    }
    // At the limit it is read: an error of ours, and the session lives.
    let mut client = Client::connect(&edge, Encoding::deflated(Codec::Json)).await;
    client.socket.send(&frame(0xC1, &at_limit)).await;
    assert_eq!(client.message().await.kind(), "error");
    client.send(Command::Ping).await;
    assert_eq!(client.message().await.kind(), "pong");
    let publisher = nats.client().await;
    publisher
        .publish("packed.a", payload(7, 1000).into())
        .await
        .expect("NATS is there");
    bystander.expect_all([7]).await;
}
