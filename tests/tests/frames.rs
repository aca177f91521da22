//! Frames that break RFC 6455 end their own connection with the code of the RFC, and nobody else
//! notices; frames that keep it are read however they are cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tailwater_protocol::codec::Codec;
use tailwater_protocol::payload::Payload;
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::{HANDSHAKE, frame};
use tailwater_tests::{Edge, NatsServer, RawSocket, next_update, soon, subscriber};
use tokio::task::JoinHandle;

const LIMIT: usize = 1024;
const PING: &[u8] = br#"{"type":"ping","id":1}"#;

async fn limited_edge() -> (NatsServer, Edge) {
    let nats = NatsServer::start().await;
    let config = format!("{OPEN}[websocket]\nmax_message_bytes = {LIMIT}\n[outbox]\nmax_messages = 100_000");
    let edge = Edge::start_with(nats.url(), &config).await;
    (nats, edge)
}

/// Clients in order on both workers, while others misbehave: they must get every number once.
struct Bystanders {
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<usize>,
    readers: Vec<JoinHandle<usize>>,
}

const LAST: usize = usize::MAX;

impl Bystanders {
    async fn start(nats: &NatsServer, edge: &Edge) -> Self {
        let mut readers = Vec::new();
        for codec in [Codec::Json, Codec::MessagePack, Codec::Json, Codec::MessagePack] {
            let mut client = subscriber(edge, Some(codec), &["steady"]).await;
            readers.push(tokio::spawn(async move {
                for expected in 0.. {
                    let Payload::Json(number) = next_update(&mut client).await.payload else {
                        panic!("a number is JSON");
                    };
                    match number.get().parse().expect("a number") {
                        LAST => return expected,
                        number => assert_eq!(number, expected, "{codec:?}"),
                    }
                }
                unreachable!("it returns at the last number");
            }));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (client, stopped) = (nats.client().await, stop.clone());
        let publisher = tokio::spawn(async move {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(1));
            let publish = async |number: usize| {
                client
                    .publish("steady", number.to_string().into())
                    .await
                    .expect("NATS is there")
            };
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    publish(LAST).await;
                    client.flush().await.expect("NATS is there");
                    return number;
                }
                publish(number).await;
                tick.tick().await;
            }
            unreachable!("it returns when it is stopped");
        });
        Self {
            stop,
            publisher,
            readers,
        }
    }

    /// Fails if any of them missed something.
    async fn missed_nothing(self) {
        self.stop.store(true, Ordering::Relaxed);
        let published = soon("the publisher's end", self.publisher)
            .await
            .expect("no panic");
        assert!(published > 0, "publications came while others misbehaved");
        for reader in self.readers {
            assert_eq!(
                soon("a bystander's end", reader).await.expect("no panic"),
                published
            );
        }
    }
}

fn with_length(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first, 0xff];
    header.extend(length.to_be_bytes());
    header
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes()[..], reason].concat())
}

#[tokio::test]
async fn every_breach_of_the_rfc_is_closed_with_its_code_and_bystanders_miss_nothing() {
    let (nats, edge) = limited_edge().await;
    let bystanders = Bystanders::start(&nats, &edge).await;
    let unmasked = |first: u8, body: &[u8]| [&[first, u8::try_from(body.len()).unwrap()], body].concat();
    let half = |first: u8| frame(first, &[b' '; LIMIT / 2 + 1]);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked text", unmasked(0x81, PING), 1002),
        ("unmasked ping", unmasked(0x89, b""), 1002),
        ("unmasked close", unmasked(0x88, &[3, 232]), 1002),
        ("first reserved bit", frame(0xc1, PING), 1002),
        ("second reserved bit", frame(0xa1, PING), 1002),
        ("third reserved bit", frame(0x91, PING), 1002),
        ("reserved bit of a ping", frame(0xc9, b""), 1002),
        ("reserved data opcode", frame(0x83, b""), 1002),
        ("last reserved data opcode", frame(0x87, b""), 1002),
        ("reserved control opcode", frame(0x8b, b""), 1002),
        ("last reserved control opcode", frame(0x8f, b""), 1002),
        ("fragmented ping", frame(0x09, b""), 1002),
        ("fragmented pong", frame(0x0a, b""), 1002),
        ("fragmented close", frame(0x08, &[3, 232]), 1002),
        ("long ping", frame(0x89, &[b'x'; 126]), 1002),
        ("long pong", frame(0x8a, &[b'x'; 126]), 1002),
        ("long close", close(1000, &[b'x'; 124]), 1002),
        ("ping of 64-bit length", with_length(0x89, 1), 1002),
        ("continuation of nothing", frame(0x80, PING), 1002),
        ("unfinished continuation of nothing", frame(0x00, PING), 1002),
        (
            "text inside a text",
            [frame(0x01, b"{"), frame(0x81, b"}")].concat(),
            1002,
        ),
        (
            "binary inside a text",
            [frame(0x01, b"{"), frame(0x02, b"}")].concat(),
            1002,
        ),
        ("bad UTF-8", frame(0x81, b"\"\xff\""), 1007),
        ("overlong UTF-8", frame(0x81, b"\xc0\xaf"), 1007),
        ("a surrogate in UTF-8", frame(0x81, b"\xed\xa0\x80"), 1007),
        ("beyond Unicode", frame(0x81, b"\xf4\x90\x80\x80"), 1007),
        ("half a character", frame(0x81, b"\xe2\x82"), 1007),
        (
            "half a character in fragments",
            [frame(0x01, b"\xe2"), frame(0x80, b"\x82")].concat(),
            1007,
        ),
        (
            "bad UTF-8 before the message is whole",
            frame(0x01, b"\"\xff"),
            1007,
        ),
        ("text over the limit", frame(0x81, &[b' '; LIMIT + 1]), 1009),
        (
            "the announcement of 2^63 bytes",
            with_length(0x81, u64::MAX),
            1009,
        ),
        ("the announcement of a gigabyte", with_length(0x82, 1 << 30), 1009),
        (
            "fragments over the limit",
            [half(0x01), half(0x00)].concat(),
            1009,
        ),
        ("half a close code", frame(0x88, &[3]), 1002),
        ("bad UTF-8 in a close reason", close(1000, b"\xff"), 1007),
        ("binary in a JSON session", frame(0x82, PING), 1003),
        (
            "binary fragments in a JSON session",
            [frame(0x02, b"{"), frame(0x80, b"}")].concat(),
            1003,
        ),
    ];
    for (name, bytes, code) in cases {
        let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
        // What is right before it is answered; what follows it is not.
        let bytes = [frame(0x81, PING), bytes, frame(0x81, PING)].concat();
        socket.send(&bytes).await;
        assert_eq!(socket.next_json().await["type"], "connected", "{name}");
        assert_eq!(socket.next_json().await["type"], "pong", "{name}");
        let (first, payload) = socket.next_answer().await.unwrap();
        assert_eq!(
            (first, &payload[..2]),
            (0x88, &code.to_be_bytes()[..]),
            "{name}: {payload:?}"
        );
        let reason = std::str::from_utf8(&payload[2..]).unwrap();
        assert!(!reason.is_empty() && reason.len() <= 123, "{name}: {reason}");
        assert!(
            socket.read_to_end().await.is_empty(),
            "{name}: nothing after the close"
        );
    }
    for code in [
        0,
        1,
        999,
        1004,
        1005,
        1006,
        1015,
        1016,
        1999,
        2999,
        5000,
        u16::MAX,
    ] {
        let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
        socket.send(&close(code, b"")).await;
        assert_eq!(socket.close_code().await, 1002, "{code}");
    }
    bystanders.missed_nothing().await;
    edge.stop().await;
}

#[tokio::test]
async fn text_in_a_messagepack_session_is_closed_with_1003() {
    let edge = Edge::start_alone("").await;
    let mut headers = HANDSHAKE.to_vec();
    headers.push("Sec-WebSocket-Protocol: tailwater.v1.msgpack");
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    socket.request("GET /ws HTTP/1.1", &headers).await;
    socket.send(&frame(0x81, PING)).await;
    assert_eq!(socket.close_code().await, 1003);
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_close_is_echoed_with_its_code_and_the_edge_ends_the_connection() {
    let edge = Edge::start_alone("").await;
    let mut cases = vec![(frame(0x88, b""), Vec::new())];
    for code in [
        1000_u16, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
    ] {
        cases.push((close(code, "adiós".as_bytes()), code.to_be_bytes().to_vec()));
    }
    for (bytes, echo) in cases {
        let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
        socket.next_json().await;
        // Nothing may be acted on behind a close.
        socket.send(&[bytes, frame(0x81, PING)].concat()).await;
        assert_eq!(socket.next_answer().await, Some((0x88, echo.clone())));
        assert_eq!(
            socket.next_answer().await,
            None,
            "{echo:?}: the edge ends the connection first"
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn fragments_make_one_message_and_a_ping_between_them_is_answered_first() {
    let edge = Edge::start_alone("").await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    socket.next_json().await;
    let message = r#"{"type":"ping","id":3,"note":"ü€𝄞"}"#.as_bytes();
    // Every cut, also through a character, with an empty fragment and pings in between.
    for cut in 0..=message.len() {
        let (begin, rest) = message.split_at(cut);
        let mut bytes = frame(0x01, begin);
        bytes.extend(frame(0x89, b"one"));
        bytes.extend(frame(0x00, b""));
        bytes.extend(frame(0x8a, b"unasked"));
        bytes.extend(frame(0x89, b""));
        bytes.extend(frame(0x80, rest));
        bytes.extend(frame(0x89, &[b'x'; 125]));
        socket.send(&bytes).await;
        assert_eq!(socket.next_answer().await, Some((0x8a, b"one".to_vec())));
        assert_eq!(socket.next_answer().await, Some((0x8a, Vec::new())));
        let answer = socket.next_json().await;
        assert_eq!(
            (&answer["type"], &answer["id"]),
            (&"pong".into(), &3.into()),
            "cut at {cut}"
        );
        assert_eq!(socket.next_answer().await, Some((0x8a, vec![b'x'; 125])));
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_message_of_exactly_the_limit_is_read_whole_or_in_fragments_again_and_again() {
    let (_nats, edge) = limited_edge().await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    socket.next_json().await;
    let full = format!(
        "{}{}",
        std::str::from_utf8(PING).unwrap(),
        " ".repeat(LIMIT - PING.len())
    );
    for _ in 0..3 {
        assert_eq!(socket.ask(&full).await["type"], "pong");
        for piece in [1, 7, LIMIT / 2, LIMIT - 1] {
            let pieces: Vec<&[u8]> = full.as_bytes().chunks(piece).collect();
            let mut bytes = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                let opcode = u8::from(index == 0);
                let last = if index + 1 == pieces.len() { 0x80 } else { 0 };
                bytes.extend(frame(opcode | last, piece));
            }
            socket.send(&bytes).await;
            assert_eq!(socket.next_json().await["type"], "pong", "in pieces of {piece}");
        }
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn bytes_that_come_one_at_a_time_are_read_as_if_they_came_together() {
    let edge = Edge::start_alone("").await;
    let mut socket = RawSocket::open(edge.server().public_addr()).await;
    socket.stream().set_nodelay(true).unwrap();
    let mut bytes = format!("GET /ws HTTP/1.1\r\n{}\r\n\r\n", HANDSHAKE.join("\r\n")).into_bytes();
    bytes.extend(frame(0x81, PING));
    bytes.extend(frame(0x89, b"hello"));
    bytes.extend(frame(0x01, &PING[..5]));
    bytes.extend(frame(0x80, &PING[5..]));
    // The long form of a length, though it fits the short one.
    let short = frame(0x81, PING);
    bytes.extend([0x81, 0xfe, 0, short[1] & 0x7f]);
    bytes.extend(&short[2..]);
    bytes.extend(close(1000, b""));
    for byte in bytes {
        // Without a delay to gather them, each goes in a segment of its own.
        socket.send(&[byte]).await;
    }
    assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(socket.next_json().await["type"], "connected");
    assert_eq!(socket.next_json().await["type"], "pong");
    assert_eq!(socket.next_answer().await, Some((0x8a, b"hello".to_vec())));
    assert_eq!(socket.next_json().await["type"], "pong");
    assert_eq!(socket.next_json().await["type"], "pong");
    assert_eq!(socket.close_code().await, 1000);
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn clients_that_leave_in_the_middle_of_a_frame_or_by_a_reset_harm_nobody() {
    let (nats, edge) = limited_edge().await;
    let bystanders = Bystanders::start(&nats, &edge).await;
    let whole = frame(0x81, br#"{"type":"subscribe","channel":"steady"}"#);
    for cut in 0..whole.len() {
        let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
        socket.send(&whole[..cut]).await;
        if cut % 2 == 0 {
            // A reset instead of an orderly end.
            socket.stream().set_zero_linger().unwrap();
        }
    }
    for _ in 0..20 {
        let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
        socket.send(&whole).await;
        socket.next_json().await;
        socket.stream().set_zero_linger().unwrap();
    }
    bystanders.missed_nothing().await;
    edge.stop().await;
}
