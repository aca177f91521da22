//! NATS ends, hangs, is cut off or loses a message: everything arrives once and in order, on exact channels and patterns.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tailwater_edge::client::Client;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::error::ErrorCode;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Offset, Since};
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;
use tailwater_tests::durable::{
    DURABLE, Publisher, Tally, connect, join, next_stored, position, subscribe_since,
};
use tailwater_tests::{Edge, NatsProcess, NatsServer, Proxy, eventually, next};

/// A nats-server with a store that outlives it.
struct Nats {
    process: NatsProcess,
    config: String,
    _store: tempfile::TempDir,
}

impl Nats {
    async fn start() -> Self {
        let store = tempfile::tempdir().expect("a temporary folder");
        let config = format!("jetstream {{ store_dir: {:?} }}", store.path());
        Self {
            process: NatsProcess::start(&config).await,
            config,
            _store: store,
        }
    }

    fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Kills it; `between` happens before it is started again on the same port.
    async fn restart(self, between: impl Future<Output = ()>) -> Self {
        let port = self.process.kill();
        between.await;
        Self {
            process: NatsProcess::start_on(port, &self.config).await,
            ..self
        }
    }
}

/// A client of each codec on an exact channel, on a pattern, and on both at once.
struct Readers {
    clients: Vec<(Client, Tally)>,
    /// What the others have that subscribe to both.
    doubled: Vec<(Client, [Tally; 2])>,
}

const SUBJECTS: [&str; 2] = ["d.a", "d.b"];

impl Readers {
    async fn join(edge: &Edge) -> Self {
        let (mut clients, mut doubled) = (Vec::new(), Vec::new());
        for codec in Codec::ALL {
            for channel in ["d.a", "d.*"] {
                let mut client = connect(edge, Some(codec)).await;
                join(&mut client, channel, None).await;
                clients.push((client, Tally::default()));
            }
            let mut client = connect(edge, Some(codec)).await;
            join(&mut client, "d.*", None).await;
            join(&mut client, "d.a", None).await;
            doubled.push((client, Default::default()));
        }
        Self { clients, doubled }
    }

    /// Everybody gets `count` of each subject, in order, each once.
    async fn read(&mut self, count: u64) {
        for (index, (client, tally)) in self.clients.iter_mut().enumerate() {
            let subjects = if index % 2 == 0 {
                &SUBJECTS[..1]
            } else {
                &SUBJECTS[..]
            };
            let goals: Vec<_> = subjects.iter().map(|subject| (*subject, count)).collect();
            tally.read(client, &goals).await;
        }
        for (client, [exact, pattern]) in &mut self.doubled {
            let is_short = |exact: &Tally, pattern: &Tally| {
                exact.count("d.a") < count || SUBJECTS.iter().any(|subject| pattern.count(subject) < count)
            };
            while is_short(exact, pattern) {
                let update = next_stored(client).await;
                if update.subject.is_some() {
                    pattern.add(&update);
                } else {
                    exact.add(&update);
                }
            }
        }
    }
}

/// Stores these numbers on both subjects.
async fn store(nats: SocketAddr, numbers: std::ops::Range<u64>) {
    let publisher = Publisher::connect(&nats.to_string()).await;
    eventually("the stream has a leader", async || {
        let mut stream = publisher.jetstream().get_stream("D").await.ok()?;
        stream.info().await.ok().map(|_| ())
    })
    .await;
    for number in numbers {
        for subject in SUBJECTS {
            publisher.store(subject, number.to_string()).await;
        }
    }
}

/// Waits until the edge has noticed that NATS is away, or is back.
async fn is_ready(edge: &Edge, wanted: u16) {
    eventually(&format!("/readyz answers {wanted}"), async || {
        (edge.admin("/readyz").await.0 == wanted).then_some(())
    })
    .await;
}

/// Asks for a channel until it is there: every refusal must say that it is worth another try.
async fn joins_in_the_end(edge: &Edge, channel: &str) -> Client {
    let mut client = connect(edge, None).await;
    eventually("the channel is joined", async || {
        client
            .send(Some(1), subscribe_since(channel, None))
            .await
            .expect("the connection lives");
        match next(&mut client).await.body {
            ServerBody::Reply(Reply::Subscribed(_)) => Some(()),
            ServerBody::Push(Push::Error(error)) => {
                assert_eq!(error.code, ErrorCode::Unavailable, "{error:?}");
                assert!(error.retry_after_ms.is_some(), "{error:?}");
                None
            }
            other => panic!("expected an answer, got {other:?}"),
        }
    })
    .await;
    client
}

#[tokio::test]
async fn a_nats_server_that_is_killed_and_started_again_costs_nobody_a_publication() {
    let nats = Nats::start().await;
    let edge = Edge::start_with(&nats.process.url(), DURABLE).await;
    let mut readers = Readers::join(&edge).await;
    store(nats.address(), 0..20).await;
    readers.read(20).await;
    let nats = nats
        .restart(async {
            is_ready(&edge, 503).await;
        })
        .await;
    // Joins while NATS comes back are refused in order, or succeed.
    let (mut late, ()) = tokio::join!(joins_in_the_end(&edge, "d.late"), store(nats.address(), 20..60));
    readers.read(60).await;
    let publisher = Publisher::connect(&nats.process.url()).await;
    let offset = publisher.store("d.late", "0").await;
    assert_eq!(next_stored(&mut late).await.offset.map(Offset::get), Some(offset));
    // Once more, with nothing new behind it: nothing comes twice.
    let nats = nats.restart(async {}).await;
    is_ready(&edge, 200).await;
    store(nats.address(), 60..61).await;
    readers.read(61).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_nats_server_without_jetstream_for_a_while_costs_nobody_a_publication() {
    let nats = Nats::start().await;
    let edge = Edge::start_with(&nats.process.url(), DURABLE).await;
    let mut readers = Readers::join(&edge).await;
    store(nats.address(), 0..20).await;
    readers.read(20).await;
    let (config, store_dir) = (nats.config, nats._store);
    let port = nats.process.kill();
    let without = NatsProcess::start_on(port, "").await;
    // The connections are there, and the stream is not.
    let mut asking = connect(&edge, None).await;
    asking
        .send(Some(1), subscribe_since("d.new", None))
        .await
        .expect("the connection lives");
    match next(&mut asking).await.body {
        ServerBody::Push(Push::Error(error)) => {
            assert_eq!(error.code, ErrorCode::Unavailable, "{error:?}");
            assert!(error.retry_after_ms.is_some(), "{error:?}");
        }
        other => panic!("expected an error, got {other:?}"),
    }
    let nats = Nats {
        process: NatsProcess::start_on(without.kill(), &config).await,
        config,
        _store: store_dir,
    };
    let (late, ()) = tokio::join!(joins_in_the_end(&edge, "d.new"), store(nats.address(), 20..40));
    drop(late);
    readers.read(40).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_nats_server_that_stands_still_for_a_while_costs_nobody_a_publication() {
    let nats = Nats::start().await;
    let edge = Edge::start_with(&nats.process.url(), DURABLE).await;
    let mut readers = Readers::join(&edge).await;
    store(nats.address(), 0..20).await;
    readers.read(20).await;
    nats.process.signal(Signal::STOP);
    is_ready(&edge, 503).await;
    let mut asking = connect(&edge, None).await;
    asking
        .send(Some(1), subscribe_since("d.new", None))
        .await
        .expect("the connection lives");
    match next(&mut asking).await.body {
        ServerBody::Push(Push::Error(error)) => {
            assert_eq!(
                (error.code, error.id),
                (ErrorCode::Unavailable, Some(1)),
                "{error:?}"
            );
            assert!(error.retry_after_ms.is_some(), "{error:?}");
        }
        other => panic!("expected an error, got {other:?}"),
    }
    nats.process.signal(Signal::CONT);
    store(nats.address(), 20..40).await;
    readers.read(40).await;
    edge.stop().await;
}

#[tokio::test]
async fn what_is_stored_while_an_edge_is_cut_off_reaches_its_clients_later() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.address()).await;
    let edge = Edge::start_with(&proxy.url(), DURABLE).await;
    let mut readers = Readers::join(&edge).await;
    let mut counted = 0;
    for round in 0..3 {
        store(nats.address(), counted..counted + 20).await;
        counted += 20;
        if round > 0 {
            readers.read(counted).await;
        }
        proxy.cut();
        is_ready(&edge, 503).await;
        // More than one read brings, and the last one on a quiet channel.
        store(nats.address(), counted..counted + 300).await;
        counted += 300;
        proxy.mend();
        readers.read(counted).await;
    }
    // A cursor from before the first cut still holds.
    let mut late = connect(&edge, None).await;
    let first = join(&mut late, "d.b", None).await;
    let mut late = connect(&edge, None).await;
    let resumed = join(&mut late, "d.b", Some(position(&first, 0))).await;
    assert_eq!(resumed.recovered, Some(true));
    Tally::default().read(&mut late, &[("d.b", counted)]).await;
    edge.stop().await;
}

#[tokio::test]
async fn short_cuts_while_others_publish_cost_nobody_a_publication() {
    const COUNT: u64 = 600;
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.address()).await;
    let edge = Edge::start_with(&proxy.url(), DURABLE).await;
    let mut readers = Readers::join(&edge).await;
    let cuts = async {
        for _ in 0..8 {
            proxy.cut();
            is_ready(&edge, 503).await;
            proxy.mend();
            is_ready(&edge, 200).await;
        }
    };
    tokio::join!(store(nats.address(), 0..COUNT), cuts, readers.read(COUNT));
    edge.stop().await;
}

#[tokio::test]
async fn a_live_message_that_goes_missing_is_read_before_the_next_one() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.address()).await;
    let edge = Edge::start_with(&proxy.url(), DURABLE).await;
    let mut readers = Readers::join(&edge).await;
    store(nats.address(), 0..5).await;
    readers.read(5).await;
    let publisher = Publisher::connect(&nats.process.url()).await;
    for number in (5..25).step_by(2) {
        // For one subscription, or for that to the exact channel and that to the pattern.
        proxy.swallow("_tw.live.d.a");
        if number % 3 > 0 {
            proxy.swallow("_tw.live.d.a");
        }
        for number in [number, number + 1] {
            for subject in SUBJECTS {
                publisher.store(subject, number.to_string()).await;
            }
        }
        readers.read(number + 2).await;
        assert!(proxy.has_swallowed());
    }
    edge.stop().await;
}

#[tokio::test]
async fn what_is_read_again_for_a_pattern_behind_a_prefix_comes_once() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.address()).await;
    let config = DURABLE.replace("durable = true", "durable = true\nsubject_prefix = \"p\"");
    let edge = Edge::start_with(&proxy.url(), &config).await;
    let publisher = Publisher::connect(&nats.process.url()).await;
    let mut client = connect(&edge, None).await;
    join(&mut client, "d.*", None).await;
    let mut stored = Vec::new();
    for number in 0..20 {
        if number % 4 == 1 {
            proxy.swallow("_tw.live.p.d.a");
        }
        for subject in ["p.d.a", "p.d.b"] {
            stored.push(publisher.store(subject, number.to_string()).await);
        }
    }
    let mut seen = Vec::new();
    while !stored.iter().all(|offset| seen.contains(offset)) {
        seen.push(u64::from(
            next_stored(&mut client).await.offset.expect("an offset"),
        ));
    }
    // What comes twice would have come before the next one.
    stored.push(publisher.store("p.d.b", "20").await);
    while seen.last() != stored.last() {
        seen.push(u64::from(
            next_stored(&mut client).await.offset.expect("an offset"),
        ));
    }
    assert!(proxy.has_swallowed());
    seen.sort_unstable();
    assert_eq!(seen, stored);
    edge.stop().await;
}

#[tokio::test]
async fn a_last_live_message_that_goes_missing_is_found_by_the_audit() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.address()).await;
    let edge = Edge::start_with(&proxy.url(), DURABLE).await;
    let mut readers = Readers::join(&edge).await;
    store(nats.address(), 0..5).await;
    readers.read(5).await;
    let publisher = Publisher::connect(&nats.process.url()).await;
    for number in 5..9 {
        publisher.store("d.b", number.to_string()).await;
        proxy.swallow("_tw.live.d.a");
        proxy.swallow("_tw.live.d.a");
        publisher.store("d.a", number.to_string()).await;
        // Nothing follows it.
        readers.read(number + 1).await;
        assert!(proxy.has_swallowed());
    }
    store(nats.address(), 9..20).await;
    readers.read(20).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_holds_up_no_other_of_the_same_session() {
    let nats = NatsServer::start().await;
    let config = format!(
        "{DURABLE}[namespace.e]\nchannels = \"e.>\"\ndurable = true\nanonymous = true\nstream = \"E\"\n\
         [stream.E]\naudit_interval_secs = 3600\n"
    );
    let edge = Edge::start_with(nats.url(), &config).await;
    let publisher = Publisher::connect(nats.url()).await;
    publisher.store("e.a", "0").await;
    for channel in 0..50 {
        publisher.store(&format!("d.{channel}"), "0").await;
    }
    // With it the channel is settled, and nobody asks whether the stream is still there.
    let mut holder = connect(&edge, None).await;
    join(&mut holder, "e.a", None).await;
    publisher
        .jetstream()
        .delete_stream("E")
        .await
        .expect("an admin may");
    let mut client = connect(&edge, None).await;
    join(&mut client, "e.a", Some(Since::Beginning)).await;
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    for channel in 0..50 {
        let asked = Instant::now();
        join(&mut client, &format!("d.{channel}"), Some(Since::Beginning)).await;
        let update = next_stored(&mut client).await;
        assert_eq!(update.channel.as_str(), format!("d.{channel}"));
        slowest = slowest.max(asked.elapsed());
        // As long as it takes until the pauses between its reads are the longest.
        let next_at = begin + Duration::from_millis(100) * (channel + 1);
        eventually("the next is due", async || {
            (Instant::now() > next_at).then_some(())
        })
        .await;
    }
    assert!(slowest < Duration::from_millis(800), "{slowest:?}");
    edge.stop().await;
}
