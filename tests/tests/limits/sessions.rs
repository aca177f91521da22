//! One session, and connections in all: channels, places, what is read and answered, memory.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::{HANDSHAKE, frame};
use tailwater_tests::{Edge, NatsServer, Process, RawSocket, eventually, next_update, subscriber};

#[tokio::test]
async fn a_session_holds_so_many_channels_and_giving_one_up_frees_its_place() {
    let nats = NatsServer::start().await;
    let config = format!("{OPEN}[websocket]\nmax_channels_per_session = 3");
    let edge = Edge::start_with(nats.url(), &config).await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    socket.next_json().await;
    let subscribe = |channel: &str| json!({"type": "subscribe", "id": 1, "channel": channel}).to_string();
    for channel in ["a", "b.*", "c"] {
        assert_eq!(socket.ask(&subscribe(channel)).await["type"], "subscribed");
    }
    // What is held already is no further channel, and what is refused for another reason says that.
    assert_eq!(socket.ask(&subscribe("a")).await["type"], "subscribed");
    assert_eq!(socket.ask(&subscribe("a.*.c.>.d")).await["code"], "bad_message");
    let refused = socket.ask(&subscribe("d")).await;
    assert_eq!(
        (&refused["code"], &refused["id"], &refused["channel"]),
        (&json!("limit"), &json!(1), &json!("d"))
    );
    assert!(refused["message"].as_str().unwrap().contains('3'), "{refused}");
    // Others have places of their own.
    let mut other = subscriber(&edge, None, &["d", "e", "f"]).await;
    for _ in 0..5 {
        assert_eq!(
            socket.ask(r#"{"type":"unsubscribe","channel":"b.*"}"#).await["type"],
            "unsubscribed"
        );
        assert_eq!(socket.ask(&subscribe("d")).await["type"], "subscribed");
        assert_eq!(socket.ask(&subscribe("b.*")).await["code"], "limit");
        assert_eq!(
            socket.ask(r#"{"type":"unsubscribe","channel":"d"}"#).await["type"],
            "unsubscribed"
        );
        assert_eq!(socket.ask(&subscribe("b.*")).await["type"], "subscribed");
    }
    let publisher = nats.client().await;
    publisher.publish("d", "1".into()).await.unwrap();
    publisher.publish("b.1", "2".into()).await.unwrap();
    assert_eq!(next_update(&mut other).await.channel.as_str(), "d");
    assert_eq!(socket.next_json().await["payload"], 2);
    drop((socket, other));
    edge.stop().await;
}

/// Tries to connect: the session, or the response that refuses it.
async fn try_connect(address: SocketAddr) -> Result<RawSocket, String> {
    let mut socket = RawSocket::open(address).await;
    match socket.request("GET /ws HTTP/1.1", &HANDSHAKE).await {
        head if head.starts_with("HTTP/1.1 101 ") => Ok(socket),
        head => Err(head),
    }
}

#[tokio::test]
async fn connections_above_the_limit_are_told_503_and_places_come_back() {
    let edge = Edge::start_alone("[websocket]\nmax_connections = 3").await;
    let address = edge.server().public_addr();
    for round in 0..4 {
        let mut held = Vec::new();
        // The places of the round before come back in their own time.
        while held.len() < 2 {
            let connected = eventually("a place", async || try_connect(address).await.ok()).await;
            held.push(connected);
        }
        // A connection that has not said anything holds a place too.
        let silent = eventually("the last place", async || {
            let mut silent = RawSocket::open(address).await;
            let first = silent.request("GET /nothing HTTP/1.1", &["Host: edge"]).await;
            first.starts_with("HTTP/1.1 404 ").then_some(silent)
        })
        .await;
        for _ in 0..20 {
            let Err(refused) = try_connect(address).await else {
                panic!("a place too many in round {round}");
            };
            assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
            assert!(refused.to_lowercase().contains("retry-after: 1\r\n"), "{refused}");
        }
        for socket in &mut held {
            assert_eq!(socket.next_json().await["type"], "connected");
            assert_eq!(socket.ask(r#"{"type":"ping"}"#).await["type"], "pong");
        }
        // However they leave.
        held[0].stream().set_zero_linger().unwrap();
        held[1].send(&frame(0x88, b"")).await;
        drop((held, silent));
    }
    edge.stop().await;
}

/// Sends the same bytes again and again without reading anything, until the edge takes no more.
/// Gives the number of bytes that went.
pub(crate) async fn flood(socket: &RawSocket, bytes: &[u8]) -> usize {
    let mut sent = 0;
    while let Ok(ready) = tokio::time::timeout(Duration::from_millis(250), socket.stream().writable()).await {
        ready.expect("the connection lives");
        match socket.stream().try_write(&bytes[sent % bytes.len()..]) {
            Ok(count) => sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(sent < 64 << 20, "the edge goes on reading");
    }
    sent
}

#[tokio::test]
async fn who_does_not_read_its_http_responses_loses_its_place() {
    let config =
        "[websocket]\nheader_timeout_secs = 1\nmax_connections = 1\n[outbox]\nsend_buffer_bytes = 4096";
    let edge = Edge::start_alone(config).await;
    let address = edge.server().public_addr();
    let rude = RawSocket::open_narrow(address).await;
    flood(
        &rude,
        &b"GET /nothing HTTP/1.1\r\nHost: edge\r\n\r\n".repeat(1000),
    )
    .await;
    eventually("its place", async || try_connect(address).await.ok()).await;
    drop(rude);
    edge.stop().await;
}

#[tokio::test]
async fn who_asks_without_reading_is_not_read_any_more_and_gets_every_answer_later() {
    let nats = NatsServer::start().await;
    let config = format!(
        "{OPEN}[outbox]\nmax_bytes = 65536\nsend_buffer_bytes = 4096\n[limits]\ncommands_per_sec = 0"
    );
    let edge = Edge::start_with(nats.url(), &config).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(subscriber(&edge, None, &["news"]).await);
    }
    let mut rude = RawSocket::open_narrow(edge.server().public_addr())
        .await
        .upgrade()
        .await;
    let ping = frame(0x81, br#"{"type":"ping"}"#);
    let sent = flood(&rude, &ping.repeat(500)).await;
    let publisher = nats.client().await;
    for number in 0..100 {
        publisher
            .publish("news", number.to_string().into())
            .await
            .unwrap();
        for other in &mut others {
            next_update(other).await;
        }
    }
    assert_eq!(rude.next_json().await["type"], "connected");
    for _ in 0..sent / ping.len() {
        assert_eq!(
            rude.next_answer().await,
            Some((0x81, br#"{"type":"pong"}"#.to_vec()))
        );
    }
    drop((rude, others));
    edge.stop().await;
}

#[tokio::test]
async fn who_asks_without_a_pause_and_reads_every_answer_does_not_hold_up_the_others() {
    let edge = Edge::start_alone("[limits]\ncommands_per_sec = 0\nbytes_per_sec = 0").await;
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut other = RawSocket::upgraded(edge.server().public_addr()).await;
        other.next_json().await;
        others.push(other);
    }
    // In threads of its own, so that it is never short of something to ask.
    let mut asking = std::net::TcpStream::connect(edge.server().public_addr()).unwrap();
    let mut reading = asking.try_clone().unwrap();
    let handshake = format!("GET /ws HTTP/1.1\r\n{}\r\n\r\n", HANDSHAKE.join("\r\n"));
    asking.write_all(handshake.as_bytes()).unwrap();
    let pings = frame(0x81, br#"{"type":"ping"}"#).repeat(3000);
    let asker = std::thread::spawn(move || while asking.write_all(&pings).is_ok() {});
    let reader = std::thread::spawn(move || {
        let mut answers = vec![0; 1 << 20];
        while reading.read(&mut answers).is_ok_and(|count| count > 0) {}
    });
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    while begin.elapsed() < Duration::from_secs(2) {
        for other in &mut others {
            let asked = Instant::now();
            assert_eq!(other.ask(r#"{"type":"ping"}"#).await["type"], "pong");
            longest = longest.max(asked.elapsed());
        }
    }
    assert!(longest < Duration::from_millis(1500), "{longest:?} for a pong");
    drop(others);
    edge.stop().await;
    asker.join().unwrap();
    reader.join().unwrap();
}

/// Memory of a process in bytes.
pub(crate) fn memory(pid: u64) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line for it");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .expect("a number")
        * 1024
}

#[tokio::test]
async fn small_commands_with_large_answers_do_not_fill_the_memory_of_the_edge() {
    let config = format!(
        "{OPEN}[outbox]\nmax_bytes = 65536\nsend_buffer_bytes = 4096\n[limits]\ncommands_per_sec = 0"
    );
    let (process, ready) = Process::serve("nats://127.0.0.1:1", &config).await;
    let pid = ready.0["pid"].as_u64().unwrap();
    let before = memory(pid);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let client = RawSocket::open_narrow(ready.address("ws")).await;
        clients.push(client.upgrade().await);
    }
    // Each element of two bytes has an answer of a hundred.
    let batch = frame(0x81, format!("[{}0]", "0,".repeat(1023)).as_bytes()).repeat(30);
    join_all(clients.iter().map(|client| flood(client, &batch))).await;
    let taken = memory(pid).saturating_sub(before) / clients.len();
    assert!(taken < 1 << 20, "{taken} bytes a client");
    // Pings are read for ever, because all of them together have one answer.
    let mut pinging = RawSocket::open_narrow(ready.address("ws")).await.upgrade().await;
    let before = memory(pid);
    for _ in 0..20 {
        pinging.send(&frame(0x89, b"x").repeat(10_000)).await;
    }
    let taken = memory(pid).saturating_sub(before);
    assert!(taken < 1 << 20, "{taken} bytes for pings");
    drop(process);
}
