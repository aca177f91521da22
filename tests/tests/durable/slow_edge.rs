//! NATS cuts an edge that reads too slowly: it comes back and heals by offset.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tailwater_edge::client::Client;
use tailwater_tests::durable::{DURABLE, Publisher, Tally, join};
use tailwater_tests::{NatsProcess, Process, eventually, next, soon};

#[tokio::test]
async fn an_edge_that_nats_cuts_for_reading_too_slowly_misses_nothing() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let config = format!(
        "write_deadline: \"500ms\"\njetstream {{ store_dir: {:?} }}",
        store.path()
    );
    let nats = NatsProcess::start(&config).await;
    let (edge, ready) = Process::serve(&nats.url(), DURABLE).await;
    let mut readers = Vec::new();
    for channel in ["d.a", "d.*"] {
        let mut client = eventually("the stream is ready", async || {
            let mut client = soon("a connection", Client::connect(ready.text("ws"), None))
                .await
                .ok()?;
            assert_eq!(next(&mut client).await.kind(), "connected");
            let asked = tailwater_tests::durable::subscribe_since("d.ready", None);
            client.send(Some(1), asked).await.ok()?;
            (next(&mut client).await.kind() == "subscribed").then_some(client)
        })
        .await;
        join(&mut client, channel, None).await;
        readers.push((client, Tally::default()));
    }
    let publisher = Publisher::connect(&nats.url()).await;
    edge.signal(Signal::STOP);
    let began = Instant::now();
    let filling = "x".repeat(10_000);
    for number in 0..3_000_u64 {
        publisher.store("d.a", format!("{number} {filling}")).await;
    }
    // Longer than NATS lets a write take.
    eventually("the deadline has passed", async || {
        (began.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    edge.signal(Signal::CONT);
    for (client, tally) in &mut readers {
        tally.read(client, &[("d.a", 3_000)]).await;
    }
    assert!(
        edge.stderr().contains("lost the connection to NATS"),
        "NATS cut the edge: {}",
        edge.stderr()
    );
}
