//! A drain with a window: clients are told to leave one after the other, and served until they do.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tailwater_edge::client::{Client, ClientError};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Position, Since};
use tailwater_protocol::push::Push;
use tailwater_tests::durable::{DURABLE, Publisher, ask, number, subscribe_since};
use tailwater_tests::process::Ready;
use tailwater_tests::raw_socket::{self, frame};
use tailwater_tests::{EventSource, NatsProcess, NatsServer, Process, RawSocket, eventually, next, soon};
use tokio::net::TcpStream;

use crate::{config, is_ready, readyz, subscriber};

/// Longer than any test.
const NEVER_ENDS: &str = "[drain]\nlinger_secs = 0\nwindow_secs = 60\n";

/// The time in the next message, which is `drain`.
async fn hint(client: &mut Client) -> Duration {
    match next(client).await.body {
        ServerBody::Push(Push::Drain { reconnect_after_ms }) => {
            Duration::from_millis(reconnect_after_ms.into())
        }
        other => panic!("{other:?}"),
    }
}

/// Asks the admin listener: the status and the body.
async fn operator(ready: &Ready, line: &str, headers: &[&str]) -> (u16, Value) {
    let mut socket = RawSocket::open(ready.address("admin")).await;
    let mut all = vec!["Host: localhost", "Content-Length: 0"];
    all.extend(headers);
    let head = socket.request(&format!("{line} HTTP/1.1"), &all).await;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = socket.body(&head).await;
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status.expect("a status"), body)
}

const JSON: &[&str] = &["Content-Type: application/json"];

#[tokio::test]
async fn the_times_are_spread_evenly_over_the_window_whichever_worker_a_client_has_and_all_are_served_meanwhile()
 {
    let nats = NatsProcess::start("").await;
    let two_workers = config(NEVER_ENDS).replace("workers = 1", "workers = 2");
    let (mut edge, ready) = Process::serve(&nats.url(), &two_workers).await;
    is_ready(&ready).await;
    let mut clients = Vec::new();
    for _ in 0..48 {
        clients.push(subscriber(&ready, &["a"]).await);
    }
    edge.signal(Signal::TERM);
    let mut hints = Vec::new();
    for client in &mut clients {
        hints.push(hint(client).await);
    }
    hints.sort();
    assert!(*hints.last().unwrap() <= Duration::from_secs(60), "{hints:?}");
    for tenth in 0..6 {
        let part = Duration::from_secs(tenth * 10)..Duration::from_secs(tenth * 10 + 10);
        let count = hints.iter().filter(|hint| part.contains(*hint)).count();
        assert!((7..=9).contains(&count), "{count} of 48 in {part:?}: {hints:?}");
    }
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    publisher.publish("a", "\"still here\"".into()).await.unwrap();
    for client in &mut clients {
        // Once: this is the next message.
        assert_eq!(next(client).await.kind(), "update");
    }
    assert!(edge.is_running(), "{}", edge.stderr());
    edge.signal(Signal::TERM);
    assert_eq!(edge.end().await.code(), Some(1), "{}", edge.stderr());
}

#[tokio::test]
async fn who_stays_is_closed_with_1012_at_its_time_and_who_leaves_is_not() {
    let nats = NatsProcess::start("").await;
    let short = "[drain]\nlinger_secs = 0\nwindow_secs = 2\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(short)).await;
    is_ready(&ready).await;
    let mut staying = Vec::new();
    for _ in 0..3 {
        staying.push(subscriber(&ready, &["a"]).await);
    }
    let mut leaving = RawSocket::upgraded(ready.address("ws")).await;
    assert_eq!(leaving.next_json().await["type"], "connected");
    edge.signal(Signal::TERM);
    let staying = staying.into_iter().map(async |mut client| {
        let hint = hint(&mut client).await;
        let told = Instant::now();
        match soon("the close", client.next()).await {
            Err(ClientError::Closed { code, reason }) => {
                assert_eq!(code, 1012);
                assert!(reason.contains("`drain`"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        // The message took a moment to come; the time itself is behind it.
        assert!(told.elapsed() + Duration::from_secs(1) > hint, "{hint:?}");
        assert!(told.elapsed() < hint + Duration::from_secs(3), "{hint:?}");
    });
    assert_eq!(leaving.next_json().await["type"], "drain");
    leaving.send(&frame(0x88, &1000_u16.to_be_bytes())).await;
    assert_eq!(leaving.close_code().await, 1000);
    futures_util::future::join_all(staying).await;
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
    assert!(!edge.stderr().contains("cut off"), "{}", edge.stderr());
}

#[tokio::test]
async fn new_clients_are_taken_and_told_until_the_linger_is_over_and_then_no_more() {
    let nats = NatsProcess::start("").await;
    let lingering = "[drain]\nlinger_secs = 3\nwindow_secs = 60\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(lingering)).await;
    is_ready(&ready).await;
    let mut early = subscriber(&ready, &[]).await;
    edge.signal(Signal::TERM);
    assert!(hint(&mut early).await >= Duration::from_millis(2500));
    assert_eq!(raw_socket::get(ready.address("admin"), "/readyz").await.0, 503);
    let mut late = subscriber(&ready, &[]).await;
    let from_now = hint(&mut late).await;
    // The second place is the middle of the window.
    assert!(from_now > Duration::from_secs(30), "{from_now:?}");
    assert!(from_now < Duration::from_secs(35), "{from_now:?}");
    let public = ready.address("ws");
    eventually("new connections are refused", async || {
        TcpStream::connect(public).await.err()
    })
    .await;
    // Who is here stays.
    late.send(Some(1), tailwater_tests::subscribe("a")).await.unwrap();
    assert_eq!(next(&mut late).await.kind(), "subscribed");
    edge.signal(Signal::TERM);
    assert_eq!(edge.end().await.code(), Some(1), "{}", edge.stderr());
}

#[tokio::test]
async fn an_edge_that_nobody_is_connected_to_ends_when_the_linger_is_over() {
    let nats = NatsProcess::start("").await;
    let lingering = "[drain]\nlinger_secs = 1\nwindow_secs = 3600\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(lingering)).await;
    is_ready(&ready).await;
    let asked = Instant::now();
    edge.signal(Signal::TERM);
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn an_operators_drain_empties_the_edge_and_leaves_the_process() {
    let nats = NatsProcess::start("").await;
    let short = "[drain]\nlinger_secs = 0\nwindow_secs = 1\ntimeout_secs = 2\n";
    let token = "[admin]\ntoken = \"0123456789abcdef\"\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(&format!("{short}{token}"))).await;
    is_ready(&ready).await;
    let mut client = subscriber(&ready, &["a"]).await;
    let bearer = "Authorization: Bearer 0123456789abcdef";
    assert_eq!(operator(&ready, "POST /drain", JSON).await.0, 401);
    assert_eq!(operator(&ready, "POST /drain", &[bearer]).await.0, 415);
    is_ready(&ready).await;
    for _ in 0..2 {
        let drained = operator(&ready, "POST /drain", &[bearer, JSON[0]]).await;
        assert_eq!(drained, (200, json!({"ok": true, "sessions": 1})));
    }
    assert!(readyz(&ready, 503).await.contains("draining"));
    hint(&mut client).await;
    match soon("the close", client.next()).await {
        Err(ClientError::Closed { code, .. }) => assert_eq!(code, 1012),
        other => panic!("{other:?}"),
    }
    eventually("the session is gone", async || {
        let (_, answer) = operator(&ready, "POST /drain", &[bearer, JSON[0]]).await;
        (answer["sessions"] == 0).then_some(())
    })
    .await;
    assert!(TcpStream::connect(ready.address("ws")).await.is_err());
    assert_eq!(raw_socket::get(ready.address("admin"), "/livez").await.0, 200);
    assert_eq!(raw_socket::get(ready.address("admin"), "/readyz").await.0, 503);
    assert!(edge.is_running(), "{}", edge.stderr());
    edge.signal(Signal::TERM);
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
}

#[tokio::test]
async fn a_client_that_goes_to_another_edge_when_told_misses_nothing() {
    let nats = NatsServer::start().await;
    let short = format!("{DURABLE}[drain]\nlinger_secs = 0\nwindow_secs = 4\n");
    let (mut first, here) = Process::serve(nats.url(), &short).await;
    let (_second, there) = Process::serve(nats.url(), &short).await;
    is_ready(&here).await;
    is_ready(&there).await;
    let publisher = Publisher::connect(nats.url()).await;
    let _other = subscriber(&here, &["d.a"]).await;
    let mut client = subscriber(&here, &[]).await;
    let subscribed = ask(&mut client, subscribe_since("d.a", None)).await;
    let mut epoch = subscribed.epoch;
    // It may be told to leave before it has read anything.
    let (mut last, mut offset) = (0, subscribed.offset);
    let mut stored = publisher.store_all("d.a", 1..=10).await;
    first.signal(Signal::TERM);
    let leave = loop {
        match next(&mut client).await.body {
            ServerBody::Push(Push::Update(update)) => {
                last += 1;
                assert_eq!(number(&update.payload), last);
                offset = update.offset;
            }
            ServerBody::Push(Push::Drain { reconnect_after_ms }) => {
                break Instant::now() + Duration::from_millis(reconnect_after_ms.into());
            }
            other => panic!("{other:?}"),
        }
    };
    // It is served until then, and publications never pause.
    let mut number_next = 11;
    while Instant::now() < leave {
        stored.extend(publisher.store_all("d.a", number_next..number_next + 5).await);
        number_next += 5;
        while last < number_next - 1 {
            if let ServerBody::Push(Push::Update(update)) = next(&mut client).await.body {
                last += 1;
                assert_eq!(number(&update.payload), last);
                offset = update.offset;
            }
        }
    }
    drop(client);
    publisher.store_all("d.a", number_next..number_next + 20).await;
    let mut client = subscriber(&there, &[]).await;
    let since = Since::Position(Position {
        offset: offset.expect("a durable channel"),
        epoch: epoch.take().expect("a durable channel"),
    });
    let resumed = ask(&mut client, subscribe_since("d.a", Some(since))).await;
    assert_eq!(resumed.recovered, Some(true), "{resumed:?}");
    publisher
        .store_all("d.a", number_next + 20..number_next + 30)
        .await;
    while last < number_next + 29 {
        if let ServerBody::Push(Push::Update(update)) = next(&mut client).await.body {
            last += 1;
            assert_eq!(number(&update.payload), last);
        }
    }
    assert_eq!(first.end().await.code(), Some(0), "{}", first.stderr());
}

#[tokio::test]
async fn event_streams_are_told_and_end_at_their_time_with_word_to_come_back_soon() {
    let nats = NatsProcess::start("").await;
    let short = "[drain]\nlinger_secs = 0\nwindow_secs = 2\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(short)).await;
    is_ready(&ready).await;
    let _first = subscriber(&ready, &[]).await;
    let mut stream = EventSource::open(ready.address("ws"), "/sse?channel=a", &["Host: edge"]).await;
    stream.next_of("subscribed").await;
    edge.signal(Signal::TERM);
    let told = stream.next_of("drain").await;
    let at = Instant::now() + Duration::from_millis(told["reconnect_after_ms"].as_u64().unwrap());
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    publisher.publish("a", "\"still here\"".into()).await.unwrap();
    assert_eq!(stream.next_of("update").await["payload"], "still here");
    let retry = loop {
        let block = stream.socket().next_block().await.expect("the stream lives");
        // What shows that it does.
        if block.trim() != ":" {
            break block;
        }
    };
    assert_eq!(retry.trim(), "retry: 500");
    assert!(Instant::now() + Duration::from_millis(500) > at);
    assert_eq!(stream.next().await.expect("the last event")["code"], 1012);
    assert_eq!(stream.next().await, None);
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
}

#[tokio::test]
async fn polls_are_answered_at_once_on_a_connection_that_ends() {
    let nats = NatsProcess::start("").await;
    let (mut edge, ready) = Process::serve(&nats.url(), &config(NEVER_ENDS)).await;
    is_ready(&ready).await;
    let mut socket = RawSocket::open(ready.address("ws")).await;
    socket
        .send(b"GET /poll?channel=a&wait=60 HTTP/1.1\r\nHost: edge\r\n\r\n")
        .await;
    eventually("the poll waits", async || {
        let (_, body) = operator(&ready, "GET /sessions", &[]).await;
        (body["sessions"][0]["subscriptions"] == 1).then_some(())
    })
    .await;
    let asked = Instant::now();
    edge.signal(Signal::TERM);
    let head = socket.head().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(head.contains("connection: close\r\n"), "{head}");
    let body: Value = serde_json::from_str(&socket.body(&head).await).expect("JSON");
    let messages = body["messages"].as_array().expect("messages");
    assert!(
        messages.iter().any(|message| message["type"] == "drain"),
        "{body}"
    );
    // Nobody else is here, and there is nothing to linger for.
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
}
