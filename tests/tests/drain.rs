//! The end of the process: clients are told, what waits for them is written, and nothing holds it up
//! beyond its time. Here without a window; `drain/window.rs` is about one.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tailwater_edge::client::{Client, ClientError};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::push::Push;
use tailwater_tests::edge::{OPEN, leaving_at_once};
use tailwater_tests::process::Ready;
use tailwater_tests::raw_socket::{self, frame};
use tailwater_tests::{NatsProcess, Process, RawSocket, eventually, next, soon, subscribe};
use tokio::net::TcpStream;

mod drain {
    mod window;
}

/// Large enough that the kernel cannot hide what a client does not read.
const LARGE: usize = 256 * 1024;

/// A client that subscribes to these channels.
async fn subscriber(ready: &Ready, channels: &[&str]) -> Client {
    let mut client = soon("a connection", Client::connect(ready.text("ws"), None))
        .await
        .expect("the edge answers");
    assert_eq!(next(&mut client).await.kind(), "connected");
    for channel in channels {
        client
            .send(None, subscribe(channel))
            .await
            .expect("the connection lives");
        assert_eq!(next(&mut client).await.kind(), "subscribed");
    }
    client
}

/// A client that subscribes and then never reads.
async fn silent(ready: &Ready, channel: &str) -> RawSocket {
    let mut socket = RawSocket::upgraded(ready.address("ws")).await;
    let ask = format!(r#"{{"type":"subscribe","channel":"{channel}"}}"#);
    socket.send(&frame(0x81, ask.as_bytes())).await;
    for _ in ["connected", "subscribed"] {
        socket.next_answer().await.expect("an answer");
    }
    socket
}

/// Fills the outbox of every silent subscriber of `channel`; a reader sees when that is done.
async fn fill(nats: &NatsProcess, ready: &Ready, channel: &str) {
    let mut reader = subscriber(ready, &[channel]).await;
    let publisher = async_nats::connect(nats.url()).await.expect("the server answers");
    for _ in 0..32 {
        let payload = "x".repeat(LARGE);
        publisher
            .publish(channel.to_owned(), payload.into())
            .await
            .expect("the connection lives");
        assert_eq!(next(&mut reader).await.kind(), "update");
    }
    reader.close().await.expect("the edge answers");
}

/// Connected, and ready to serve.
async fn is_ready(ready: &Ready) {
    readyz(ready, 200).await;
}

async fn readyz(ready: &Ready, wanted: u16) -> String {
    eventually(&format!("/readyz answers {wanted}"), async || {
        let (status, body) = raw_socket::get(ready.address("admin"), "/readyz").await;
        (status == wanted).then_some(body)
    })
    .await
}

/// Reads to the close frame; gives the updates before it and the code.
async fn read_out(client: &mut Client) -> (usize, u16) {
    let mut updates = 0;
    loop {
        match soon("a message", client.next()).await {
            Ok(message) => match message.body {
                ServerBody::Push(Push::Update(_)) => updates += 1,
                other => panic!("{other:?}"),
            },
            Err(ClientError::Closed { code, .. }) => return (updates, code),
            Err(error) => panic!("{error}"),
        }
    }
}

/// One worker, so that a reader's progress is everybody's.
fn config(more: &str) -> String {
    format!("edge.workers = 1\n{OPEN}{more}")
}

#[tokio::test]
async fn sigterm_closes_every_client_with_1012_behind_what_was_queued_for_it() {
    let nats = NatsProcess::start("").await;
    let generous = "[outbox]\nmax_bytes = 67_108_864\nmax_total_bytes = 4_294_967_296\n[websocket]\nclose_timeout_secs = 60\n[drain]\nlinger_secs = 0\nwindow_secs = 0\ntimeout_secs = 60\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(generous)).await;
    is_ready(&ready).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(subscriber(&ready, &["a"]).await);
    }
    fill(&nats, &ready, "a").await;
    edge.signal(Signal::TERM);
    let readers = clients
        .into_iter()
        .map(|mut client| async move { assert_eq!(read_out(&mut client).await, (32, 1012)) });
    futures_util::future::join_all(readers).await;
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
}

#[tokio::test]
async fn a_slow_reader_has_the_whole_drain_to_read_what_waits_for_it() {
    let nats = NatsProcess::start("").await;
    let patient = "[outbox]\nmax_bytes = 67_108_864\nmax_total_bytes = 4_294_967_296\n[websocket]\nclose_timeout_secs = 0\n[drain]\nlinger_secs = 0\nwindow_secs = 0\ntimeout_secs = 30\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(patient)).await;
    is_ready(&ready).await;
    let mut client = subscriber(&ready, &["a"]).await;
    fill(&nats, &ready, "a").await;
    edge.signal(Signal::TERM);
    assert!(readyz(&ready, 503).await.contains("draining"));
    assert_eq!(read_out(&mut client).await, (32, 1012));
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_hold_the_end_beyond_the_timeout() {
    let nats = NatsProcess::start("").await;
    let short = "[outbox]\nmax_bytes = 67_108_864\nmax_total_bytes = 4_294_967_296\n[websocket]\nclose_timeout_secs = 60\n[drain]\nlinger_secs = 0\nwindow_secs = 0\ntimeout_secs = 4\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(short)).await;
    is_ready(&ready).await;
    let _silent = silent(&ready, "a").await;
    fill(&nats, &ready, "a").await;
    let asked = Instant::now();
    edge.signal(Signal::TERM);
    // Meanwhile: not ready, alive, and closed to new clients.
    assert!(readyz(&ready, 503).await.contains("draining"));
    let public = ready.address("ws");
    eventually("new connections are refused", async || {
        TcpStream::connect(public).await.err()
    })
    .await;
    assert_eq!(raw_socket::get(ready.address("admin"), "/livez").await.0, 200);
    assert!(edge.is_running(), "{}", edge.stderr());
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert!(edge.stderr().contains("cut off"), "{}", edge.stderr());
}

#[tokio::test]
async fn connections_without_a_session_do_not_hold_the_end() {
    let nats = NatsProcess::start("").await;
    let (mut edge, ready) = Process::serve(&nats.url(), &config("")).await;
    is_ready(&ready).await;
    let public = ready.address("ws");
    let _idle = RawSocket::open(public).await;
    let mut half = RawSocket::open(public).await;
    half.send(b"GET /ws HTTP/1.1\r\nHost: ").await;
    let asked = Instant::now();
    edge.signal(Signal::TERM);
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_client_whose_command_waits_for_nats_is_told_of_the_end_all_the_same() {
    let nats = NatsProcess::start("").await;
    let (mut edge, ready) = Process::serve(
        &nats.url(),
        &config("[drain]\nlinger_secs = 0\nwindow_secs = 0\ntimeout_secs = 2\n"),
    )
    .await;
    is_ready(&ready).await;
    let mut client = subscriber(&ready, &[]).await;
    nats.kill();
    readyz(&ready, 503).await;
    client.send(None, subscribe("a")).await.unwrap();
    client.send(None, subscribe("b")).await.unwrap();
    edge.signal(Signal::TERM);
    assert_eq!(read_out(&mut client).await, (0, 1012));
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
}

#[tokio::test]
async fn an_edge_that_never_saw_nats_ends_well() {
    let (mut edge, ready) = Process::serve("nats://127.0.0.1:1", &config("")).await;
    let mut client = subscriber(&ready, &[]).await;
    edge.signal(Signal::INT);
    assert_eq!(read_out(&mut client).await, (0, 1012));
    assert_eq!(edge.end().await.code(), Some(0), "{}", edge.stderr());
}

#[tokio::test]
async fn a_second_ctrl_c_ends_at_once() {
    let nats = NatsProcess::start("").await;
    let long = "[outbox]\nmax_bytes = 67_108_864\nmax_total_bytes = 4_294_967_296\n[websocket]\nclose_timeout_secs = 60\n[drain]\nlinger_secs = 0\nwindow_secs = 0\ntimeout_secs = 600\n";
    let (mut edge, ready) = Process::serve(&nats.url(), &config(long)).await;
    is_ready(&ready).await;
    let _silent = silent(&ready, "a").await;
    fill(&nats, &ready, "a").await;
    edge.signal(Signal::INT);
    readyz(&ready, 503).await;
    assert!(edge.is_running(), "{}", edge.stderr());
    let asked = Instant::now();
    edge.signal(Signal::INT);
    assert_eq!(edge.end().await.code(), Some(1), "{}", edge.stderr());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn after_the_end_the_same_address_can_be_taken_at_once_by_anybody() {
    let nats = NatsProcess::start("").await;
    let (mut edge, ready) = Process::serve(&nats.url(), &config("")).await;
    let mut clients = [subscriber(&ready, &["a"]).await, subscriber(&ready, &["a"]).await];
    edge.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(read_out(client).await, (0, 1012));
    }
    edge.end().await;
    for address in [ready.address("ws"), ready.address("admin")] {
        TcpListener::bind(address).expect("the address is free");
    }
    let (public, admin) = (
        ready.address("ws").to_string(),
        ready.address("admin").to_string(),
    );
    let file = tailwater_tests::process::config_file(&leaving_at_once(&config("")));
    let mut edge = Process::start([
        "serve",
        "--json",
        "--config",
        file.path().to_str().unwrap(),
        "--listen",
        &public,
        "--admin-listen",
        &admin,
        "--nats",
        &nats.url(),
    ]);
    assert_eq!(edge.ready().await.address("ws"), ready.address("ws"));
}

#[tokio::test]
async fn dev_takes_its_nats_server_along_also_where_it_is_asked_twice() {
    for signals in [&[Signal::TERM][..], &[Signal::INT, Signal::INT]] {
        let state = tempfile::tempdir().unwrap();
        let (mut dev, ready) = Process::dev(state.path()).await;
        let nats: SocketAddr = ready.address("nats");
        let mut client = subscriber(&ready, &["deployments.>"]).await;
        for signal in signals {
            dev.signal(*signal);
        }
        loop {
            // The demo publishes until the end.
            match soon("the close", client.next()).await {
                Ok(_) => {}
                Err(ClientError::Closed { code, .. }) => break assert_eq!(code, 1012),
                Err(_) if signals.len() > 1 => break,
                Err(error) => panic!("{error}"),
            }
        }
        // Two signals may come as one, or the second after the end.
        let code = dev.end().await.code();
        let ended = code == Some(0) || (signals.len() > 1 && code == Some(1));
        assert!(ended, "{code:?}: {}", dev.stderr());
        assert!(
            TcpStream::connect(nats).await.is_err(),
            "nats-server still listens"
        );
        TcpListener::bind(nats).expect("the address is free");
    }
}
