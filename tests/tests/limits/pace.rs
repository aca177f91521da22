//! Commands and bytes of one session.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tailwater_tests::raw_socket::frame;
use tailwater_tests::{Edge, RawSocket, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{ATTACKER, Honest, handshake};

const PING: &[u8] = br#"{"type":"ping"}"#;
const PONG: &[u8] = br#"{"type":"pong"}"#;

/// What became of an attacker.
struct Flooded {
    /// Everything that the edge sent.
    answers: Vec<u8>,
    /// How many bytes it has taken.
    sent: usize,
    lasted: Duration,
}

impl Flooded {
    fn count(&self, what: &[u8]) -> usize {
        let windows = self.answers.windows(what.len());
        windows.filter(|window| *window == what).count()
    }

    /// The frame with which the edge closes stands last.
    fn close_code(&self) -> u16 {
        let reason = b"too many commands: send fewer, reconnect with back-off";
        let close = self.answers.len() - reason.len() - 4;
        assert_eq!(
            self.answers[close..close + 2],
            [0x88, u8::try_from(reason.len() + 2).expect("a short one")]
        );
        u16::from_be_bytes([self.answers[close + 2], self.answers[close + 3]])
    }
}

/// Sends the same bytes again and again, as fast as it can, and reads all answers until the edge ends it or `longest` is
/// over.
async fn flood(address: SocketAddr, bytes: Vec<u8>, longest: Duration) -> JoinHandle<Flooded> {
    let mut socket = handshake(ATTACKER, address, &[]).await.expect("it is let in");
    assert_eq!(socket.next_json().await["type"], "connected");
    let tcp: TcpStream = socket.into_stream();
    let (mut reading, mut writing) = tcp.into_split();
    let began = Instant::now();
    let writer = tokio::spawn(async move {
        let mut sent = 0;
        while let Ok(count) = writing.write(&bytes[sent % bytes.len()..]).await {
            sent += count;
        }
        sent
    });
    tokio::spawn(async move {
        let mut answers = Vec::new();
        let reader = async { while reading.read_buf(&mut answers).await.is_ok_and(|count| count > 0) {} };
        let _ = tokio::time::timeout(longest, reader).await;
        let lasted = began.elapsed();
        drop(reading);
        let sent = soon("the end of a flood", writer).await;
        Flooded {
            answers,
            sent: sent.expect("it does not panic"),
            lasted,
        }
    })
}

#[tokio::test]
async fn a_flood_of_commands_is_slowed_down_and_closed_if_it_goes_on() {
    let config = "[limits]\ncommands_per_sec = 50\nburst_secs = 1\ngrace_secs = 2";
    for bytes in [
        frame(0x81, PING).repeat(500),
        // Many in one message.
        frame(
            0x81,
            format!("[{}]", [r#"{"type":"ping"}"#; 60].join(",")).as_bytes(),
        )
        .repeat(10),
    ] {
        let edge = Edge::start_alone(config).await;
        let address = edge.server().public_addr();
        let mut honest = Honest::connect(address).await;
        let flood = flood(address, bytes, Duration::from_secs(12)).await;
        honest.is_served_during(&flood).await;
        let flooded = flood.await.unwrap();
        // One second's worth at once, and two seconds of grace.
        let pongs = flooded.count(PONG);
        assert!((100..=200).contains(&pongs), "{pongs} pongs");
        assert_eq!(flooded.count(br#""code":"rate_limited""#), 1);
        assert_eq!(flooded.count(br#""retry_after_ms":"#), 1);
        assert_eq!(flooded.close_code(), 4429);
        assert!(flooded.lasted < Duration::from_secs(8), "{:?}", flooded.lasted);
        edge.stop().await;
    }
}

#[tokio::test]
async fn what_is_no_command_counts_too() {
    let config = "[limits]\ncommands_per_sec = 50\nburst_secs = 1\ngrace_secs = 1";
    let edge = Edge::start_alone(config).await;
    let address = edge.server().public_addr();
    for message in [
        frame(0x89, b""),
        frame(0x8A, b""),
        frame(0x81, b"nonsense"),
        frame(0x81, b"[]"),
    ] {
        let flood = flood(address, message.repeat(500), Duration::from_secs(12)).await;
        assert_eq!(flood.await.unwrap().close_code(), 4429);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_flood_of_bytes_is_slowed_down_though_no_message_is_ever_whole() {
    let config = "[limits]\nbytes_per_sec = 100000\nburst_secs = 1\ngrace_secs = 2\n\
                  [websocket]\nmax_message_bytes = 67108864";
    let edge = Edge::start_alone(config).await;
    let address = edge.server().public_addr();
    let mut honest = Honest::connect(address).await;
    let flood = flood(address, frame(0x82, &vec![0; 32 << 20]), Duration::from_secs(12)).await;
    honest.is_served_during(&flood).await;
    let flooded = flood.await.unwrap();
    assert_eq!(flooded.close_code(), 4429);
    assert!(flooded.lasted < Duration::from_secs(8), "{:?}", flooded.lasted);
    // What the kernels hold between the two is not the edge's.
    assert!(flooded.sent < 40 << 20, "{} bytes", flooded.sent);
    edge.stop().await;
}

#[tokio::test]
async fn who_pauses_in_time_is_slowed_down_and_answered_in_full() {
    let config = "[limits]\ncommands_per_sec = 50\nburst_secs = 1\ngrace_secs = 6\n\
                  [websocket]\nping_interval_secs = 2\npong_timeout_secs = 1";
    let edge = Edge::start_alone(config).await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    socket.next_json().await;
    let began = Instant::now();
    // A second's worth at once, the rest at the rate. The edge's own pings get no answer meanwhile, nor could it read one.
    socket.send(&frame(0x81, PING).repeat(220)).await;
    for _ in 0..220 {
        assert_eq!(socket.next_json().await["type"], "pong");
    }
    let lasted = began.elapsed();
    assert!(lasted > Duration::from_secs(3), "{lasted:?}");
    edge.stop().await;
}
