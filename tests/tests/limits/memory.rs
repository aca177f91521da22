//! The memory of all outboxes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tailwater_tests::durable::{DURABLE, Publisher};
use tailwater_tests::edge::OPEN;
use tailwater_tests::raw_socket::frame;
use tailwater_tests::{Edge, NatsServer, Process, RawSocket, eventually, next_update, soon, subscriber};

use super::sessions::{flood, memory};

const MEBIBYTE: usize = 1 << 20;

/// One client alone may let much wait, all of them together only so much.
const CONFIG: &str = "[outbox]\nmax_bytes = 33554432\nmax_messages = 100000\nmax_total_bytes = 8388608\n\
                      send_buffer_bytes = 4096\n[limits]\ncommands_per_sec = 0\nbytes_per_sec = 0\n";

/// A client that reads nothing, and a small window for it.
async fn sluggish(address: std::net::SocketAddr, channel: &str) -> RawSocket {
    let mut socket = RawSocket::open_narrow(address).await.upgrade().await;
    socket.next_json().await;
    let subscribe = json!({"type": "subscribe", "channel": channel}).to_string();
    assert_eq!(socket.ask(&subscribe).await["type"], "subscribed");
    socket
}

/// Memory of a process once it does not grow any more.
async fn settled_memory(pid: u64) -> usize {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut before = 0;
    let settled = async {
        loop {
            seconds.tick().await;
            let now = memory(pid);
            if now <= before + MEBIBYTE {
                return now;
            }
            before = now;
        }
    };
    soon("memory that does not grow any more", settled).await
}

#[tokio::test]
async fn clients_that_read_nothing_share_what_there_is_and_who_reads_misses_nothing() {
    let nats = NatsServer::start().await;
    let (process, ready) = Process::serve(nats.url(), &format!("{OPEN}{CONFIG}")).await;
    let (address, pid) = (ready.address("ws"), ready.0["pid"].as_u64().unwrap());
    let mut greedy = Vec::new();
    for number in 0..8 {
        greedy.push(sluggish(address, &format!("greedy.{number}")).await);
    }
    let mut honest = sluggish(address, "honest").await;
    let publisher = nats.client().await;
    let before = memory(pid);
    let payload = format!("\"{}\"", "x".repeat(32 * 1024));
    // 16 MiB for each of the eight, who would all be let keep it.
    for number in 0..512 {
        for channel in 0..8 {
            let subject = format!("greedy.{channel}");
            publisher.publish(subject, payload.clone().into()).await.unwrap();
        }
        publisher
            .publish("honest", number.to_string().into())
            .await
            .unwrap();
        let update = honest.next_json().await;
        assert_eq!(
            (&update["type"], &update["payload"]),
            (&json!("update"), &json!(number))
        );
    }
    let taken = memory(pid).saturating_sub(before);
    assert!(taken < 40 * MEBIBYTE, "{} MiB", taken / MEBIBYTE);
    // They are told what they lost, and the newest is there.
    for socket in &mut greedy {
        let (mut seen, mut lost) = (0, 0);
        while seen + lost < 512 {
            let message = socket.next_json().await;
            match message["type"].as_str() {
                Some("lost") => lost += message["count"].as_u64().unwrap(),
                _ => seen += 1,
            }
        }
        assert!(lost > 200 && seen > 10, "{seen} came, {lost} are lost");
    }
    drop(process);
}

#[tokio::test]
async fn an_outbox_that_nothing_is_added_to_any_more_gives_way_too() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), &format!("{OPEN}{CONFIG}")).await;
    let address = edge.server().public_addr();
    let publisher = nats.client().await;
    let payload = format!("\"{}\"", "x".repeat(32 * 1024));
    let publish = async |channel: &'static str, count: usize| {
        for _ in 0..count {
            publisher.publish(channel, payload.clone().into()).await.unwrap();
        }
        publisher.flush().await.unwrap();
    };
    // The first has half of all before anybody else comes, and nothing is published for it again.
    let mut first = sluggish(address, "first").await;
    let mut control = subscriber(&edge, None, &["first", "control"]).await;
    for _ in 0..100 {
        publish("first", 1).await;
        next_update(&mut control).await;
    }
    let mut others = Vec::new();
    for channel in ["a", "b", "c", "d", "e", "f", "g"] {
        others.push(sluggish(address, channel).await);
        publish(channel, 100).await;
    }
    // In the end nobody has more than is free.
    publish("control", 1).await;
    next_update(&mut control).await;
    // Nothing can be seen of it from here before the first reads, and it is looked at every second.
    let mut looks = tokio::time::interval(Duration::from_millis(2500));
    looks.tick().await;
    looks.tick().await;
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < 100 {
        let message = first.next_json().await;
        match message["type"].as_str() {
            Some("lost") => lost += message["count"].as_u64().unwrap(),
            _ => seen += 1,
        }
    }
    assert!(lost >= 20, "the first has lost {lost} of a hundred");
    drop((first, others, control));
    edge.stop().await;
}

#[tokio::test]
async fn answers_that_nobody_reads_take_no_more_memory_than_there_is() {
    let (process, ready) = Process::serve("nats://127.0.0.1:1", &format!("{OPEN}{CONFIG}")).await;
    let (address, pid) = (ready.address("ws"), ready.0["pid"].as_u64().unwrap());
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(RawSocket::open_narrow(address).await.upgrade().await);
    }
    let before = memory(pid);
    // Each element of two bytes has an answer of a hundred.
    let batch = frame(0x81, format!("[{}0]", "0,".repeat(1023)).as_bytes()).repeat(30);
    join_all(clients.iter().map(|client| flood(client, &batch))).await;
    // What the kernel holds is still to be read and answered.
    let taken = settled_memory(pid).await.saturating_sub(before);
    assert!(taken < 64 * MEBIBYTE, "{} MiB", taken / MEBIBYTE);
    // Who comes now is served.
    let mut honest = RawSocket::upgraded(address).await;
    honest.next_json().await;
    assert_eq!(honest.ask(r#"{"type":"ping"}"#).await["type"], "pong");
    drop((process, clients));
}

#[tokio::test]
async fn a_session_whose_channel_says_so_is_closed_when_memory_is_short() {
    let nats = NatsServer::start().await;
    let config = format!(
        "{OPEN}[namespace.strict]\nchannels = \"strict.>\"\nanonymous = true\nslow_consumer = \"disconnect\"\n\
         [websocket]\nclose_timeout_secs = 15\n{CONFIG}"
    );
    let edge = Edge::start_with(nats.url(), &config).await;
    let address = edge.server().public_addr();
    let mut strict = sluggish(address, "strict.a").await;
    let publisher = nats.client().await;
    let payload = format!("\"{}\"", "x".repeat(32 * 1024));
    // Less than one session may have, more than there is.
    for _ in 0..400 {
        publisher
            .publish("strict.a", payload.clone().into())
            .await
            .unwrap();
    }
    publisher.flush().await.unwrap();
    // Until then nothing is read, and nothing can be seen.
    let mut pause = tokio::time::interval(Duration::from_secs(1));
    pause.tick().await;
    pause.tick().await;
    assert_eq!(soon("a close", strict.close_code()).await, 4413);
    eventually("memory is free again", async || {
        let mut next = sluggish(address, "strict.b").await;
        publisher.publish("strict.b", payload.clone().into()).await.ok()?;
        (next.next_json().await["type"] == "update").then_some(())
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_client_of_a_durable_channel_misses_nothing_though_others_hold_all_memory() {
    let nats = NatsServer::start().await;
    let config = CONFIG.replace("[outbox]\n", "[outbox]\nstall_timeout_secs = 60\n");
    let live = "[namespace.greedy]\nchannels = \"greedy.>\"\nanonymous = true\n";
    let edge = Edge::start_with(nats.url(), &format!("{DURABLE}{live}{config}")).await;
    let address = edge.server().public_addr();
    let publisher = Publisher::connect(nats.url()).await;
    let mut greedy = Vec::new();
    for number in 0..12 {
        greedy.push(sluggish(address, &format!("greedy.{number}")).await);
    }
    let mut slow = sluggish(address, "d.slow").await;
    let filling = "x".repeat(32 * 1024);
    for number in 0..100 {
        for channel in 0..12 {
            let subject = format!("greedy.{channel}");
            let payload = format!("\"{filling}\"").into();
            publisher.client().publish(subject, payload).await.unwrap();
        }
        publisher
            .store(
                "d.slow",
                format!("{{\"number\":{number},\"filling\":\"{filling}\"}}"),
            )
            .await;
    }
    for number in 0..100 {
        let mut message = slow.next_json().await;
        while message["type"] == "position" {
            message = slow.next_json().await;
        }
        let payload = &message["payload"];
        assert_eq!(
            (&message["type"], &payload["number"]),
            (&json!("update"), &json!(number))
        );
    }
    drop((greedy, slow));
    edge.stop().await;
}
