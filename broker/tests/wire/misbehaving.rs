//! Servers that are none, or are broken.

use std::time::Duration;

use tailwater_broker::config::NatsConfig;
use tailwater_broker::wire::Incident;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::witness::{Client, Heard, accepted, config};

const INFO: &str = "INFO {\"server_name\":\"fake\",\"max_payload\":1000000,\"headers\":true}\r\n";

async fn listen() -> (TcpListener, NatsConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut config = config(&[format!("nats://{address}")]);
    config.connect_timeout = Duration::from_millis(500);
    (listener, config)
}

/// A server that says this to everybody, and nothing more.
async fn saying(bytes: &[u8]) -> NatsConfig {
    let (listener, config) = listen().await;
    let bytes = bytes.to_vec();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(&bytes).await;
            open.push(socket);
        }
    });
    config
}

/// A connection that has been accepted, up to our inbox, and the other end of it.
async fn accepting() -> (Client, TcpStream) {
    let (listener, mut config) = listen().await;
    config.ping_interval = Duration::from_secs(60);
    let client = Client::open(&config).expect("a good configuration");
    let (mut socket, _) = listener.accept().await.expect("it connects");
    socket.write_all(INFO.as_bytes()).await.expect("sent");
    read_until(&mut socket, "PING\r\n").await;
    socket.write_all(b"PONG\r\n").await.expect("sent");
    read_until(&mut socket, "PING\r\n").await;
    socket.write_all(b"PONG\r\n").await.expect("sent");
    client
        .witness
        .hears(&Heard::Incident(Incident::Connected { again: false }))
        .await;
    (client, socket)
}

async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        assert!(socket.read_buf(&mut heard).await.expect("read") > 0);
    }
    String::from_utf8(heard).expect("text")
}

async fn reason_for(bytes: &[u8]) -> String {
    accepted(&saying(bytes).await).await.expect_err("no server")
}

#[tokio::test]
async fn what_is_no_nats_server_is_told_from_one_that_does_not_answer() {
    assert!(
        reason_for(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .contains("not NATS: `HTTP/1.1 400")
    );
    assert!(reason_for(b"SSH-2.0\r\n").await.contains("not NATS"));
    assert!(reason_for(b"PING\r\n").await.contains("INFO"));
    assert!(
        reason_for(b"INFO {]\r\n")
            .await
            .contains("INFO that cannot be read")
    );
    assert!(reason_for(b"").await.contains("no answer within 500ms"));
    assert!(
        reason_for(INFO.as_bytes())
            .await
            .contains("no answer within 500ms")
    );
    assert!(reason_for(b"INFO {}\r\n").await.contains("no headers"));
    assert!(
        reason_for(b"-ERR 'maximum connections exceeded'\r\n")
            .await
            .contains("it said: maximum connections")
    );
    let mut endless = b"INFO ".to_vec();
    endless.resize(2_000_000, b'x');
    assert!(
        reason_for(&endless)
            .await
            .contains("a line of more than 1048576 bytes")
    );
}

#[tokio::test]
async fn nothing_that_came_in_the_clear_is_taken_for_something_that_came_encrypted() {
    let injected = "INFO {\"tls_required\":true,\"headers\":true}\r\nINFO {\"nonce\":\"x\"}\r\n";
    let reason = reason_for(injected.as_bytes()).await;
    assert!(
        reason.contains("between its INFO and the TLS handshake"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named_in_the_reason() {
    let reason = accepted(&config(&["nats://127.0.0.1:1".to_owned()]))
        .await
        .expect_err("nobody");
    assert!(
        reason.starts_with("127.0.0.1:1: ") && reason.contains("refused"),
        "{reason}"
    );
    let reason = accepted(&config(&["nats://no.such.name.invalid:1".to_owned()]))
        .await
        .expect_err("nobody");
    assert!(reason.contains("cannot be resolved"), "{reason}");
}

#[tokio::test]
async fn a_line_that_is_not_nats_ends_the_connection_after_what_came_before() {
    let (client, mut socket) = accepting().await;
    client.wire.subscribe("a", "a".to_owned()).await.expect("room");
    let told = read_until(&mut socket, "PING\r\n").await;
    assert_eq!(told, "SUB a 1\r\nPING\r\n");
    socket
        .write_all(b"PONG\r\nMSG a 1 5\r\nhello\r\nMSG a 1 x\r\n")
        .await
        .expect("sent");
    let reason = "a malformed message line: `MSG a 1 x`".to_owned();
    client
        .witness
        .hears(&Heard::Incident(Incident::Disconnected { reason }))
        .await;
    assert_eq!(client.witness.payloads("a"), ["hello"]);
}

#[tokio::test]
async fn bytes_that_trickle_in_are_put_together() {
    let (client, mut socket) = accepting().await;
    client.wire.subscribe("a", "a".to_owned()).await.expect("room");
    read_until(&mut socket, "PING\r\n").await;
    socket.set_nodelay(true).expect("TCP");
    for byte in b"PONG\r\nHMSG a 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\nPING\r\n" {
        socket.write_all(&[*byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    client.receives("a", &["hello"]).await;
    assert_eq!(read_until(&mut socket, "\n").await, "PONG\r\n");
}

#[tokio::test]
async fn why_a_server_closes_is_told_with_what_it_said_last() {
    let (client, mut socket) = accepting().await;
    socket
        .write_all(b"-ERR 'Stale Connection'\r\n")
        .await
        .expect("sent");
    drop(socket);
    let reason = "the server said: Stale Connection".to_owned();
    client
        .witness
        .hears(&Heard::Incident(Incident::Disconnected { reason }))
        .await;
    assert!(
        client
            .witness
            .incidents()
            .contains(&Incident::ServerError("Stale Connection".to_owned()))
    );
}

#[tokio::test]
async fn messages_and_answers_that_nobody_waits_for_are_ignored() {
    let (client, mut socket) = accepting().await;
    let lines = "MSG a 1 1\r\nx\r\nMSG a 18446744073709551615 1\r\nx\r\nMSG b 0 1\r\nx\r\nPONG\r\nPONG\r\n+OK\r\nPING\r\n";
    socket.write_all(lines.as_bytes()).await.expect("sent");
    assert_eq!(read_until(&mut socket, "\n").await, "PONG\r\n");
    assert!(client.wire.is_connected());
}

#[tokio::test]
async fn a_server_that_only_asks_and_never_reads_does_not_fill_our_memory() {
    let (client, mut socket) = accepting().await;
    let pings = b"PING\r\n".repeat(10_000);
    // 120 MB of questions; the answers that nobody reads stay within a megabyte and the sockets.
    for _ in 0..2000 {
        socket.write_all(&pings).await.expect("it goes on reading");
    }
    assert!(client.wire.is_connected());
}
