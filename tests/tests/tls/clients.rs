//! Clients that speak TLS and may break every rule behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tailwater_tests::raw_socket::HANDSHAKE;
use tailwater_tests::{RawSocket, soon};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A WebSocket over TLS that may break every rule.
pub(crate) type Secure = RawSocket<TlsStream<TcpStream>>;

/// Connects and speaks TLS.
pub(crate) async fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Secure {
    attempt(config, address).await.expect("the edge speaks TLS")
}

/// Connects and speaks TLS, if the edge has room for one more.
pub(crate) async fn attempt(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<Secure> {
    let tcp = soon("a connection", TcpStream::connect(address)).await?;
    over(config, tcp).await
}

/// As [`connect`], with a small receive buffer, so that what is not read backs up into the edge at once.
pub(crate) async fn connect_narrow(config: &Arc<ClientConfig>, address: SocketAddr) -> Secure {
    let socket = TcpSocket::new_v4().expect("the system has sockets");
    socket
        .set_recv_buffer_size(4096)
        .expect("a receive buffer may be small");
    let tcp = soon("a connection", socket.connect(address))
        .await
        .expect("somebody listens");
    over(config, tcp).await.expect("the edge speaks TLS")
}

async fn over(config: &Arc<ClientConfig>, tcp: TcpStream) -> io::Result<Secure> {
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = soon(
        "a TLS handshake",
        TlsConnector::from(config.clone()).connect(name, tcp),
    )
    .await?;
    Ok(RawSocket::over(stream))
}

/// Makes the WebSocket handshake, subscribes in JSON and reads the confirmations.
pub(crate) async fn subscribed(mut socket: Secure, channels: &[&str]) -> Secure {
    let response = socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    assert_eq!(socket.next_json().await["type"], "connected");
    for channel in channels {
        let command = format!("{{\"type\":\"subscribe\",\"channel\":\"{channel}\"}}");
        assert_eq!(socket.ask(&command).await["type"], "subscribed");
    }
    socket
}
