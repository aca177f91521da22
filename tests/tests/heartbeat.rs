//! Pings find the clients that are gone, and nobody else: not those that are slow, silent between
//! pings, or waiting for the edge itself.

use std::time::{Duration, Instant};

use tailwater_protocol::close::CloseCode;
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::frame;
use tailwater_tests::{Edge, NatsServer, RawSocket, eventually, soon};

/// A ping every two seconds, one second to answer it.
const QUICK: &str = "[websocket]\nping_interval_secs = 2\npong_timeout_secs = 1\n";

const PING: u8 = 0x89;

fn pong(body: &[u8]) -> Vec<u8> {
    frame(0x8a, body)
}

#[tokio::test]
async fn pings_come_at_their_interval_and_who_answers_stays() {
    let edge = Edge::start_alone(QUICK).await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    let welcome = socket.next_json().await;
    assert_eq!(welcome["ping_interval_ms"], 2000);
    let mut pings = Vec::new();
    while pings.len() < 3 {
        let (first, body) = socket.next_frame().await.expect("the edge keeps the session");
        assert_eq!(first, PING);
        pings.push(Instant::now());
        socket.send(&pong(&body)).await;
    }
    for pair in pings.windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause > Duration::from_millis(1500), "{pause:?}");
        assert!(pause < Duration::from_millis(3500), "{pause:?}");
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn any_bytes_count_as_an_answer() {
    let edge = Edge::start_alone(QUICK).await;
    let command = frame(0x81, br#"{"type":"unsubscribe","channel":"a"}"#);
    // A pong to no ping, a mistake, and a command of which a few bytes come each time.
    let answers: [Vec<Vec<u8>>; 3] = [
        vec![pong(b"something else"); 2],
        vec![frame(0x81, b"}"); 2],
        command.chunks(command.len() - 5).map(<[u8]>::to_vec).collect(),
    ];
    let clients = answers.map(async |answers| {
        let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
        for answer in answers {
            while socket.next_frame().await.expect("the edge keeps the session").0 != PING {}
            socket.send(&answer).await;
        }
        while socket.next_frame().await.expect("the edge keeps the session").0 != PING {}
    });
    soon("three pings", futures_util::future::join_all(clients)).await;
    edge.stop().await;
}

#[tokio::test]
async fn who_does_not_answer_is_closed_with_4411_in_time() {
    let edge = Edge::start_alone(QUICK).await;
    let clients = (0..5).map(async |_| {
        let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
        let begin = Instant::now();
        while let Some((first, body)) = socket.next_frame().await {
            if first == 0x88 {
                assert_eq!(body[..2], CloseCode::PingTimeout.code().to_be_bytes());
                assert_eq!(&body[2..], CloseCode::PingTimeout.reason().as_bytes());
            }
        }
        // An interval until the ping, then the time to answer it; and less than twice that.
        assert!(
            begin.elapsed() < Duration::from_millis(5900),
            "{:?}",
            begin.elapsed()
        );
    });
    futures_util::future::join_all(clients).await;
    edge.stop().await;
}

#[tokio::test]
async fn who_neither_reads_nor_answers_loses_its_place() {
    let nats = NatsServer::start().await;
    let config = format!(
        "{OPEN}{QUICK}close_timeout_secs = 1\nmax_connections = 2\n[outbox]\nsend_buffer_bytes = 4096\n\
         stall_timeout_secs = 2"
    );
    let edge = Edge::start_with(nats.url(), &config).await;
    let address = edge.server().public_addr();
    // One has a full outbox, the other asks and asks until the edge reads it no more.
    let mut deaf = RawSocket::open_narrow(address).await.upgrade().await;
    deaf.send(&frame(0x81, br#"{"type":"subscribe","channel":"a"}"#))
        .await;
    let rude = RawSocket::open_narrow(address).await.upgrade().await;
    let pings = frame(0x81, br#"{"type":"ping"}"#).repeat(1000);
    let publisher = nats.client().await;
    eventually("two places", async || {
        publisher.publish("a", vec![b'x'; 100_000].into()).await.unwrap();
        let _ = rude.stream().try_write(&pings);
        let mut next = RawSocket::open(address).await;
        let head = next.request("GET /nothing HTTP/1.1", &["Host: edge"]).await;
        let mut other = RawSocket::open(address).await;
        let other = other.request("GET /nothing HTTP/1.1", &["Host: edge"]).await;
        [head, other]
            .iter()
            .all(|head| head.starts_with("HTTP/1.1 404 "))
            .then_some(())
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_its_backlog_slowly_is_not_taken_for_dead() {
    let nats = NatsServer::start().await;
    let config = format!("{OPEN}{QUICK}[outbox]\nmax_bytes = 4_000_000\nsend_buffer_bytes = 4096");
    let edge = Edge::start_with(nats.url(), &config).await;
    let mut socket = RawSocket::open_narrow(edge.server().public_addr())
        .await
        .upgrade()
        .await;
    socket.next_json().await;
    assert_eq!(
        socket.ask(r#"{"type":"subscribe","channel":"a"}"#).await["type"],
        "subscribed"
    );
    let publisher = nats.client().await;
    for _ in 0..700 {
        publisher.publish("a", vec![b'x'; 1000].into()).await.unwrap();
    }
    // Seven hundred kilobytes at two hundred kilobytes a second: pings wait behind it for longer than their answer
    // may take, but what is read shows that somebody reads.
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut updates = 0;
    while updates < 700 {
        tick.tick().await;
        match socket.next_frame().await.expect("the edge keeps the session") {
            (PING, body) => socket.send(&pong(&body)).await,
            (0x81, _) => updates += 1,
            other => panic!("closed after {updates} updates: {other:?}"),
        }
    }
    drop(socket);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_whose_command_waits_for_nats_is_not_taken_for_dead() {
    let edge = Edge::start_alone(QUICK).await;
    let mut socket = RawSocket::upgraded(edge.server().public_addr()).await;
    socket.next_json().await;
    socket
        .send(&frame(0x81, br#"{"type":"subscribe","channel":"a","id":1}"#))
        .await;
    let answer = loop {
        match socket.next_frame().await.expect("the edge keeps the session") {
            (PING, body) => socket.send(&pong(&body)).await,
            (_, body) => break String::from_utf8_lossy(&body).into_owned(),
        }
    };
    assert!(answer.contains(r#""code":"unavailable""#), "{answer}");
    assert!(answer.contains(r#""retry_after_ms":"#), "{answer}");
    drop(socket);
    edge.stop().await;
}
