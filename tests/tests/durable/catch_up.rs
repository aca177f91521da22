//! Clients that do not read for a while get everything when they do; they cost little meanwhile, and nobody else waits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tailwater_edge::client::Client;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, CommandMessage};
use tailwater_protocol::message::{ServerBody, ServerMessage};
use tailwater_protocol::push::{Push, Update};
use tailwater_tests::durable::{DURABLE, Publisher, Tally, connect, join, number, subscribe_since};
use tailwater_tests::process::Ready;
use tailwater_tests::raw_socket::{self, HANDSHAKE, frame};
use tailwater_tests::{Edge, NatsServer, Process, RawSocket, eventually, next, soon};

const MEBIBYTE: usize = 1024 * 1024;

/// A client that reads only when it is told to.
struct Slow {
    socket: RawSocket,
    codec: Codec,
    exact: Tally,
    pattern: Tally,
}

impl Slow {
    async fn join(edge: SocketAddr, codec: Codec, channels: &[&str]) -> Self {
        Self::join_over(RawSocket::open(edge).await, codec, channels).await
    }

    async fn join_over(mut socket: RawSocket, codec: Codec, channels: &[&str]) -> Self {
        let subprotocol = format!("Sec-WebSocket-Protocol: {}", codec.subprotocol());
        let headers = [&HANDSHAKE[..], &[&subprotocol]].concat();
        socket.request("GET /ws HTTP/1.1", &headers).await;
        let mut slow = Self {
            socket,
            codec,
            exact: Tally::default(),
            pattern: Tally::default(),
        };
        assert_eq!(slow.message().await.kind(), "connected");
        for channel in channels {
            slow.send(subscribe_since(channel, None)).await;
            assert_eq!(slow.message().await.kind(), "subscribed");
        }
        slow
    }

    async fn send(&mut self, command: Command) {
        let message = CommandMessage { id: Some(1), command };
        let body = self.codec.encode_command(&message);
        let first = if self.codec == Codec::Json { 0x81 } else { 0x82 };
        self.socket.send(&frame(first, &body)).await;
    }

    async fn message(&mut self) -> ServerMessage {
        match self.socket.next_answer().await {
            Some((0x81 | 0x82, body)) => {
                let mut messages = self.codec.decode_server(&body).expect("it can be read");
                messages.pop().expect("one message a frame")
            }
            other => panic!("expected a message, got {:?}", other.map(|(first, _)| first)),
        }
    }

    fn take(&mut self, update: &Update) {
        if update.subject.is_some() {
            self.pattern.add(update);
        } else {
            self.exact.add(update);
        }
    }

    /// Reads until everything of `d.a` has come, on each of the channels.
    async fn read_all(&mut self, channels: &[&str], count: u64) {
        let (has_exact, has_pattern) = (channels.contains(&"d.a"), channels.contains(&"d.*"));
        while has_exact && self.exact.count("d.a") < count || has_pattern && self.pattern.count("d.a") < count
        {
            match self.message().await.body {
                ServerBody::Push(Push::Update(update)) => self.take(&update),
                ServerBody::Push(Push::Position { .. }) => {}
                other => panic!("expected updates, got {other:?}"),
            }
        }
    }
}

/// A text that begins with its number.
fn padded(number: u64, bytes: usize) -> String {
    format!("{number:08}{}", "x".repeat(bytes - 8))
}

/// Stores publications, in groups that `fast` has each to get before the next.
async fn publish(
    publisher: &Publisher,
    numbers: std::ops::Range<u64>,
    bytes: usize,
    fast: &mut [(Client, Tally)],
) {
    for start in numbers.clone().step_by(40) {
        let end = numbers.end.min(start + 40);
        for number in start..end {
            let sent = publisher.client().publish("d.a", padded(number, bytes).into());
            sent.await.expect("the connection lives");
        }
        publisher.client().flush().await.expect("the connection lives");
        for (client, tally) in &mut *fast {
            tally.read(client, &[("d.a", end)]).await;
        }
    }
}

async fn is_ready(ready: &Ready) {
    eventually("the edge is ready", async || {
        let (status, _) = raw_socket::get(ready.address("admin"), "/readyz").await;
        (status == 200).then_some(())
    })
    .await;
}

/// Memory of a process, in bytes.
fn resident(pid: u64) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.expect("a number") * 1024
}

#[tokio::test]
async fn clients_that_read_nothing_for_20_megabytes_get_all_of_it_and_cost_little_meanwhile() {
    const BYTES: usize = 8 * 1024;
    const COUNT: u64 = 2560;
    const STALLED: usize = 6;
    let nats = NatsServer::start().await;
    let (edge, ready) = Process::serve(nats.url(), DURABLE).await;
    let pid = ready.0["pid"].as_u64().expect("a number");
    let publisher = Publisher::connect(nats.url()).await;
    is_ready(&ready).await;
    let mut fast = Vec::new();
    for codec in Codec::ALL {
        for channel in ["d.a", "d.*"] {
            let client = soon("a connection", Client::connect(ready.text("ws"), Some(codec))).await;
            let mut client = client.expect("the edge answers");
            assert_eq!(next(&mut client).await.kind(), "connected");
            join(&mut client, channel, None).await;
            fast.push((client, Tally::default()));
        }
    }
    // Without a stalled client: what is kept of the past is full afterwards.
    publish(&publisher, 0..COUNT, BYTES, &mut fast).await;
    let before = resident(pid);
    for (_, tally) in &mut fast {
        tally.start_over();
    }
    let mut slow = Vec::new();
    for index in 0..STALLED {
        let channels: &[&str] = [&["d.a"][..], &["d.*"], &["d.*", "d.a"]][index % 3];
        let codec = Codec::ALL[index / 3 % 2];
        slow.push((Slow::join(ready.address("ws"), codec, channels).await, channels));
    }
    publish(&publisher, 0..COUNT, BYTES, &mut fast).await;
    let stalled = resident(pid);
    let bound = STALLED * 256 * 1024 + 16 * MEBIBYTE;
    assert!(
        stalled < before + bound,
        "{} MiB with {STALLED} stalled clients, {} MiB without",
        stalled / MEBIBYTE,
        before / MEBIBYTE
    );
    for (slow, channels) in &mut slow {
        slow.read_all(channels, COUNT).await;
    }
    // What is kept of the past was read by other threads now, and the allocator keeps memory for each.
    let after = resident(pid);
    assert!(
        after < before + bound + 2 * tailwater_broker::history::RING_BYTES,
        "{} MiB, {} MiB before",
        after / MEBIBYTE,
        before / MEBIBYTE
    );
    // Level again, they are in step with the others.
    publish(&publisher, COUNT..COUNT + 40, BYTES, &mut fast).await;
    for (slow, channels) in &mut slow {
        slow.read_all(channels, COUNT + 40).await;
    }
    drop(edge);
}

#[tokio::test]
async fn large_and_small_publications_reach_a_client_that_stops_and_goes() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut slow = Vec::new();
    for codec in Codec::ALL {
        for channels in [&["d.a"][..], &["d.*", "d.a"]] {
            slow.push((
                Slow::join(edge.server().public_addr(), codec, channels).await,
                channels,
            ));
        }
    }
    // Larger than what may wait for a client, than half of it, and small ones between.
    for number in 0..60 {
        let bytes = [600_000, 100, 70_000, 140_000, 8, 300_000][number % 6];
        publisher.store("d.a", padded(number as u64, bytes)).await;
        if number % 20 == 19 {
            for (slow, channels) in &mut slow {
                slow.read_all(channels, number as u64 - 5).await;
            }
        }
    }
    for (slow, channels) in &mut slow {
        slow.read_all(channels, 60).await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_is_idle_while_a_large_publication_waits_for_a_client_that_does_not_read() {
    let nats = NatsServer::start().await;
    let (edge, ready) = Process::serve(nats.url(), DURABLE).await;
    let pid = ready.0["pid"].as_u64().expect("a number");
    let publisher = Publisher::connect(nats.url()).await;
    is_ready(&ready).await;
    // Behind small ones, of which a little waits already: how much the kernel takes is not known.
    let mut slow = Vec::new();
    for small in 1..=12 {
        let channel = format!("d.{small}");
        let socket = RawSocket::open_narrow(ready.address("ws")).await;
        slow.push((Slow::join_over(socket, Codec::Json, &[&channel]).await, small));
        for number in 0..small {
            publisher.store(&channel, padded(number, 15_000)).await;
        }
        publisher.store(&channel, padded(small, 400_000)).await;
    }
    let begin = (Instant::now(), processor_time(pid));
    eventually("two seconds pass", async || {
        (begin.0.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    let used = processor_time(pid) - begin.1;
    assert!(
        used < Duration::from_millis(500),
        "{used:?} of {:?}",
        begin.0.elapsed()
    );
    for (slow, small) in &mut slow {
        for expected in 0..=*small {
            match slow.message().await.body {
                ServerBody::Push(Push::Update(update)) => assert_eq!(number(&update.payload), expected),
                other => panic!("expected an update, got {other:?}"),
            }
        }
    }
    drop(edge);
}

/// Processor time that a process has used.
fn processor_time(pid: u64) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    // User and system time in hundredths of a second (proc(5): fields 14 and 15).
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_with_4414_and_loses_nothing_by_it() {
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("close_timeout_secs = 0", "close_timeout_secs = 15")
        + "[outbox]\nstall_timeout_secs = 2\n";
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut fast = vec![(connect(&edge, None).await, Tally::default())];
    let subscribed = join(&mut fast[0].0, "d.a", None).await;
    let mut stalled = Vec::new();
    for codec in Codec::ALL {
        let socket = RawSocket::open_narrow(edge.server().public_addr()).await;
        stalled.push(Slow::join_over(socket, codec, &["d.a"]).await);
    }
    let begin = Instant::now();
    publish(&publisher, 0..400, 4096, &mut fast).await;
    eventually(
        "twice the time passes in which a client has to read",
        async || (begin.elapsed() > Duration::from_secs(6)).then_some(()),
    )
    .await;
    for mut slow in stalled {
        let mut last = None;
        let code = loop {
            match soon("a frame", slow.socket.next_answer()).await {
                Some((0x88, body)) => break u16::from_be_bytes([body[0], body[1]]),
                Some((_, body)) => {
                    let messages = slow.codec.decode_server(&body).expect("it can be read");
                    for message in messages {
                        match message.body {
                            ServerBody::Push(Push::Update(update)) => {
                                slow.take(&update);
                                last = update.offset;
                            }
                            ServerBody::Push(Push::Position { .. }) => {}
                            other => panic!("expected updates, got {other:?}"),
                        }
                    }
                }
                None => panic!("the connection ended without a close frame"),
            }
        };
        assert_eq!(code, 4414);
        let had = slow.exact.count("d.a");
        assert!(had < 400, "it did not read");
        let since = last.map_or(0, |last| last.get());
        let mut again = connect(&edge, Some(slow.codec)).await;
        let since = tailwater_tests::durable::position(&subscribed, since);
        let resumed = join(&mut again, "d.a", Some(since)).await;
        assert_eq!(resumed.recovered, Some(true));
        for expected in had..400 {
            let update = tailwater_tests::durable::next_stored(&mut again).await;
            assert_eq!(number(&update.payload), expected);
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_burst_that_overflows_a_worker_costs_nobody_a_publication() {
    const COUNT: u64 = 20_000;
    let nats = NatsServer::start().await;
    let config = DURABLE.replace("[websocket]", "[feed]\nworker_inbox_bytes = 65536\n[websocket]");
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut clients = Vec::new();
    for index in 0..8 {
        let mut client = connect(&edge, Some(Codec::ALL[index % 2])).await;
        let channel = ["d.a", "d.*"][index / 2 % 2];
        join(&mut client, channel, None).await;
        clients.push((client, Tally::default()));
    }
    let burst = async {
        for number in 0..COUNT {
            let sent = publisher.client().publish("d.a", padded(number, 200).into());
            sent.await.expect("the connection lives");
        }
        publisher.client().flush().await.expect("the connection lives");
        // Without an acknowledgement NATS may refuse some unseen: what it has stored is what counts.
        let stored = publisher.store("d.end", "0").await;
        assert!(stored > COUNT, "NATS has stored all");
    };
    let readers = clients.iter_mut().map(async |(client, tally)| {
        tally.read(client, &[("d.a", COUNT)]).await;
    });
    tokio::join!(burst, futures_util::future::join_all(readers));
    edge.stop().await;
}
