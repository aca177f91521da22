//! What reaches clients over TLS: everything, or the notice that something is missing, as over plain connections.

use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use tailwater_edge::client::Client;
use tailwater_protocol::payload::Payload;
use tailwater_tests::durable::{DURABLE, Publisher};
use tailwater_tests::edge::OPEN;
use tailwater_tests::{Authority, Edge, NatsServer, next, next_update, soon, subscribe};

use crate::clients::{Secure, connect, connect_narrow, subscribed};

/// Little room in the kernel, so that what a client does not read backs up at once.
const NARROW: &str = r#"
[outbox]
max_messages = 50
max_bytes = 65536
stall_timeout_secs = 2
send_buffer_bytes = 4096
unsent_low_water_bytes = 1024
"#;

async fn fast_client(edge: &Edge, authority: &Authority, channel: &str) -> Client {
    let trust = authority.trust();
    let connecting = Client::connect_as(edge.ws(), None, &trust, None);
    let mut client = soon("a connection", connecting).await.expect("it is trusted");
    assert_eq!(next(&mut client).await.kind(), "connected");
    client
        .send(Some(1), subscribe(channel))
        .await
        .expect("the connection lives");
    assert_eq!(next(&mut client).await.kind(), "subscribed");
    client
}

/// Reads updates `from..to` in order and gives how many were announced as lost instead.
async fn read_all(socket: &mut Secure, from: u64, to: u64) -> u64 {
    let (mut expected, mut lost) = (from, 0);
    while expected < to {
        let message = socket.next_json().await;
        match message["type"].as_str() {
            Some("update") => {
                assert_eq!(number(&message["payload"]), expected);
                expected += 1;
            }
            Some("lost") => {
                let count = message["count"].as_u64().expect("it is known");
                expected += count;
                lost += count;
            }
            Some("position") => {}
            _ => panic!("{message}"),
        }
    }
    lost
}

/// Publications are texts that begin with their number.
fn text(number: u64, bytes: usize) -> String {
    format!("{number:08}{}", "x".repeat(bytes - 8))
}

fn number(payload: &Value) -> u64 {
    payload.as_str().expect("a text")[..8].parse().expect("a number")
}

#[tokio::test]
async fn large_publications_and_many_small_ones_arrive_whole_and_in_order() {
    const MEBIBYTE: usize = 1024 * 1024;
    let authority = Authority::new();
    let nats = NatsServer::start().await;
    let more = "[outbox]\nmax_bytes = 33554432\nmax_messages = 100000\n";
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{}{more}", authority.edge_table())).await;
    let publisher = nats.client().await;
    let mut client = fast_client(&edge, &authority, "a").await;
    let sizes = [MEBIBYTE - 512, 16_384, 100, 32_768, 17_000, 65_536, 8, 300_000];
    let mut number = 0;
    for size in sizes {
        let count = if size < 1000 { 5000 } else { 8 };
        for number in number..number + count {
            let text = text(number, size);
            publisher.publish("a", text.into()).await.unwrap();
        }
        publisher.flush().await.unwrap();
        for number in number..number + count {
            let Payload::Json(json) = next_update(&mut client).await.payload else {
                panic!("a text");
            };
            assert_eq!(json.get().len(), size + 2);
            assert_eq!(self::number(&serde_json::from_str(json.get()).unwrap()), number);
        }
        number += count;
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_client_of_a_live_channel_is_told_what_it_lost_and_then_misses_nothing() {
    let authority = Authority::new();
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{NARROW}{}", authority.edge_table())).await;
    let publisher = nats.client().await;
    for version in [&TLS12, &TLS13] {
        let mut fast = fast_client(&edge, &authority, "a").await;
        let socket = connect_narrow(&authority.client(&[version]), edge.server().public_addr()).await;
        let mut slow = subscribed(socket, &["a"]).await;
        let mut lost = 0;
        for round in 0..4_u64 {
            let numbers = round * 1000..(round + 1) * 1000;
            for number in numbers.clone() {
                let text = text(number, 400);
                publisher.publish("a", text.into()).await.unwrap();
                if number % 25 == 24 {
                    publisher.flush().await.unwrap();
                    for _ in 0..25 {
                        next_update(&mut fast).await;
                    }
                }
            }
            lost += read_all(&mut slow, numbers.start, numbers.end).await;
        }
        assert!((1..4000).contains(&lost), "{lost} of 4000 lost");
        // Level again, it gets each at once.
        for number in 4000..4100 {
            publisher.publish("a", text(number, 400).into()).await.unwrap();
            publisher.flush().await.unwrap();
            assert_eq!(read_all(&mut slow, number, number + 1).await, 0);
            next_update(&mut fast).await;
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_client_of_a_durable_channel_misses_nothing() {
    let authority = Authority::new();
    let nats = NatsServer::start().await;
    let config = format!("{DURABLE}{NARROW}{}", authority.edge_table());
    let edge = Edge::start_with(nats.url(), &config.replace("stall_timeout_secs = 2", "")).await;
    let publisher = Publisher::connect(nats.url()).await;
    let config = authority.client(&[&TLS13]);
    let address = edge.server().public_addr();
    let mut slow = subscribed(connect_narrow(&config, address).await, &["d.a"]).await;
    let mut usual = subscribed(connect(&config, address).await, &["d.a"]).await;
    for round in 0..3 {
        let numbers = round * 400..(round + 1) * 400;
        for number in numbers.clone() {
            publisher.store("d.a", text(number, 1500)).await;
        }
        assert_eq!(read_all(&mut slow, numbers.start, numbers.end).await, 0);
        assert_eq!(read_all(&mut usual, numbers.start, numbers.end).await, 0);
    }
    edge.stop().await;
}

#[tokio::test]
async fn who_stops_reading_is_closed_and_who_reads_again_is_not() {
    let authority = Authority::new();
    let nats = NatsServer::start().await;
    let more = "[websocket]\nping_interval_secs = 2\npong_timeout_secs = 1\nclose_timeout_secs = 15\n";
    let config = format!("{OPEN}{NARROW}{}{more}", authority.edge_table());
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = nats.client().await;
    let config = authority.client(&[&TLS13]);
    let address = edge.server().public_addr();
    let mut stopped = subscribed(connect_narrow(&config, address).await, &["a"]).await;
    let mut patient = subscribed(connect_narrow(&config, address).await, &["a"]).await;
    // One publication that is still being encrypted when the kernel takes no more.
    publisher.publish("a", text(0, 60_000).into()).await.unwrap();
    publisher.flush().await.unwrap();
    assert_eq!(read_all(&mut patient, 0, 1).await, 0);
    // It is level, so nothing is held against it, as long as it answers.
    for _ in 0..3 {
        while patient.next_frame().await.expect("the session goes on").0 != 0x89 {}
        let pong = tailwater_tests::raw_socket::frame(0x8a, b"");
        patient.send(&pong).await;
    }
    assert_eq!(patient.ask(r#"{"type":"ping"}"#).await["type"], "pong");
    assert_eq!(stopped.close_code().await, 4414);
    edge.stop().await;
}
