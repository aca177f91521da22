//! What strangers do to an edge, each from an address of its own on the loopback, and bounded in everything.

#![expect(
    clippy::disallowed_methods,
    reason = "an attacker paces itself, and waits for nothing"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::raw_socket::{HANDSHAKE, frame};

/// Connections of one attack at a time.
const CONNECTIONS: usize = 300;

/// No attack does anything more often than this in one connection.
const PAUSE: Duration = Duration::from_micros(200);

/// What a stranger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Opens connections and keeps them.
    Connections,
    /// Connects, shakes hands and leaves, again and again.
    Handshakes,
    /// Sends its request headers byte by byte.
    SlowHeaders,
    /// Sends commands without a pause.
    Commands,
    /// Sends large publications without a pause.
    Bytes,
    /// Subscribes to channels without end.
    Channels,
    /// Subscribes and never reads.
    Silence,
    /// Announces messages of gigabytes, and sends fragments without end.
    Messages,
    /// Presents forged tokens.
    Tokens,
    /// Sends noise.
    Noise,
    /// Sends pings without a pause.
    Pings,
    /// Sends requests over HTTP without a pause, on connections that stay.
    Requests,
}

impl Attack {
    /// Its name on the command line.
    ///
    /// # Panics
    /// Never: all have one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Handshakes => "handshakes",
            Self::SlowHeaders => "slow-headers",
            Self::Commands => "commands",
            Self::Bytes => "bytes",
            Self::Channels => "channels",
            Self::Silence => "silence",
            Self::Messages => "messages",
            Self::Tokens => "tokens",
            Self::Noise => "noise",
            Self::Pings => "pings",
            Self::Requests => "requests",
        }
    }

    /// Attacks `edge` for `time`, then lets go of everything.
    pub async fn run(self, edge: SocketAddr, time: Duration) {
        let end = Instant::now() + time;
        let mut attackers = JoinSet::new();
        for _ in 0..self.connections() {
            attackers.spawn(async move {
                while Instant::now() < end {
                    let left = end.saturating_duration_since(Instant::now());
                    // That the edge ends a connection is what it should do.
                    let _ = timeout(left, self.once(edge)).await;
                    sleep(PAUSE).await;
                }
            });
        }
        while attackers.join_next().await.is_some() {}
    }

    fn connections(self) -> usize {
        match self {
            Self::Connections | Self::SlowHeaders | Self::Silence => CONNECTIONS,
            Self::Handshakes | Self::Tokens | Self::Noise => 20,
            _ => 4,
        }
    }

    /// One connection of the attack.
    async fn once(self, edge: SocketAddr) -> std::io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        // Not the address of the honest clients: limits are by address.
        socket.bind((Ipv4Addr::new(127, 0, 0, 66), 0).into())?;
        if self == Self::Silence {
            socket.set_recv_buffer_size(4096)?;
        }
        let mut stream = socket.connect(edge).await?;
        match self {
            Self::SlowHeaders => {
                for byte in "GET /ws HTTP/1.1\r\nHost: edge\r\nX: "
                    .bytes()
                    .chain(std::iter::repeat(b'x'))
                {
                    stream.write_all(&[byte]).await?;
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(())
            }
            Self::Noise => {
                let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(4096).collect();
                stream.write_all(&noise).await?;
                until_the_end(&mut stream).await
            }
            Self::Tokens => {
                let forged = format!("Authorization: Bearer e30.e30.{}", fastrand::u64(..));
                shake(&mut stream, &[&forged]).await?;
                until_the_end(&mut stream).await
            }
            Self::Handshakes => shake(&mut stream, &[]).await,
            Self::Requests => self.in_session(&mut stream).await,
            _ => {
                shake(&mut stream, &[]).await?;
                self.in_session(&mut stream).await
            }
        }
    }

    async fn in_session(self, stream: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Self::Connections => return until_the_end(stream).await,
            Self::Silence => {
                stream
                    .write_all(&frame(0x81, br#"{"type":"subscribe","channel":"honest.news"}"#))
                    .await?;
                // Its own publications fill its outbox.
                stream
                    .write_all(&frame(0x81, br#"{"type":"subscribe","channel":"open.flood"}"#))
                    .await?;
                sleep(Duration::from_secs(3600)).await;
            }
            _ => {}
        }
        let (mut reader, mut writer) = stream.split();
        let reading = async {
            let mut buffer = vec![0; 1 << 16];
            while reader.read(&mut buffer).await? > 0 {}
            Ok::<(), std::io::Error>(())
        };
        let writing = async {
            let mut number = 0_u64;
            loop {
                writer.write_all(&self.message(number)).await?;
                number += 1;
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        }
    }

    fn message(self, number: u64) -> Vec<u8> {
        match self {
            Self::Commands => {
                let command = frame(0x81, json!({"type": "ping", "id": 1}).to_string().as_bytes());
                command.repeat(64)
            }
            Self::Bytes => {
                let payload = "x".repeat(60_000);
                let publish = json!({"type": "publish", "channel": "open.flood", "payload": payload});
                frame(0x81, publish.to_string().as_bytes())
            }
            Self::Channels => {
                let subscribe = json!({"type": "subscribe", "channel": format!("open.{number}")});
                frame(0x81, subscribe.to_string().as_bytes())
            }
            Self::Pings => frame(0x89, b"are you there?").repeat(64),
            Self::Requests => {
                let path = if number.is_multiple_of(2) {
                    "nothing"
                } else {
                    "poll?channel=open.a&wait=0"
                };
                format!("GET /{path} HTTP/1.1\r\nHost: edge\r\n\r\n")
                    .repeat(32)
                    .into()
            }
            // A fragment of a message that never ends, or the head of one of a gigabyte.
            _ if number.is_multiple_of(2) => frame(if number == 0 { 0x01 } else { 0x00 }, &[b'x'; 1000]),
            _ => {
                let mut head = vec![0x80, 0xff];
                head.extend_from_slice(&(1_u64 << 30).to_be_bytes());
                head
            }
        }
    }
}

async fn shake(stream: &mut TcpStream, headers: &[&str]) -> std::io::Result<()> {
    let headers = [&HANDSHAKE[..], headers].concat().join("\r\n");
    let request = format!("GET /ws HTTP/1.1\r\n{headers}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 512];
    match stream.read(&mut answer).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn until_the_end(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
