//! What one client may take from the others: connections, handshakes, channels, commands, bytes, memory, time. In each
//! test there is one who takes all it can get, and one beside it who is served.

mod addresses;
mod memory;
mod origins;
mod pace;
mod proxies;
mod sessions;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{RawSocket, soon};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where attackers come from.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));

/// Where nobody does anything wrong.
const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Connects and asks for a WebSocket, with more headers: the session, or the response that refuses it.
async fn handshake(from: IpAddr, address: SocketAddr, more: &[&str]) -> Result<RawSocket, String> {
    let mut socket = RawSocket::open_from(from, address).await;
    let headers = [&HANDSHAKE[..], more].concat();
    match socket.request("GET /ws HTTP/1.1", &headers).await {
        head if head.starts_with("HTTP/1.1 101 ") => Ok(socket),
        head => Err(head),
    }
}

/// As [`handshake`], over TLS.
async fn secure_handshake(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
) -> io::Result<Result<RawSocket<TlsStream<TcpStream>>, String>> {
    let tcp = soon("a connection", TcpStream::connect(address)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(config.clone()).connect(name, tcp);
    let mut socket = RawSocket::over(soon("a TLS handshake", connecting).await?);
    let head = socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
    Ok(if head.starts_with("HTTP/1.1 101 ") {
        Ok(socket)
    } else {
        Err(head)
    })
}

/// The status of a refusal and its `Retry-After`.
#[track_caller]
fn refusal(head: &str) -> (&str, u64) {
    let status = head.split(' ').nth(1).expect("a status");
    let lower = head.to_ascii_lowercase();
    let retry = lower
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "))
        .unwrap_or_else(|| panic!("no Retry-After in {head}"));
    (status, retry.parse().expect("whole seconds"))
}

/// A client that behaves.
struct Honest(RawSocket);

impl Honest {
    async fn connect(address: SocketAddr) -> Self {
        let mut socket = handshake(HONEST, address, &[]).await.expect("it is let in");
        assert_eq!(socket.next_json().await["type"], "connected");
        Self(socket)
    }

    /// Asks something and is answered at once.
    async fn is_served(&mut self) {
        let asked = Instant::now();
        assert_eq!(self.0.ask(r#"{"type":"ping"}"#).await["type"], "pong");
        let waited = asked.elapsed();
        assert!(waited < Duration::from_secs(1), "{waited:?} for a pong");
    }

    /// Is served for as long as an attack lasts.
    async fn is_served_during<T>(&mut self, attack: &tokio::task::JoinHandle<T>) {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while !attack.is_finished() {
            self.is_served().await;
            tick.tick().await;
        }
    }
}
