//! Durable channels: resumes, catching up, and how long things take.

use tailwater_protocol::position::Since;
use tailwater_tests::durable::{DURABLE, Publisher, connect, join, position};
use tailwater_tests::{Edge, NatsServer, Scrape, eventually, next_update};

/// Waits until a value is reached.
async fn becomes(edge: &Edge, name: &str, labels: &str, wanted: f64) -> Scrape {
    let what = format!("{name}{{{labels}}} is {wanted}");
    eventually(&what, async || {
        let scrape = Scrape::of(edge).await;
        (scrape.value(name, labels) == wanted).then_some(scrape)
    })
    .await
}

#[tokio::test]
async fn a_resume_is_counted_by_where_it_was_answered_from() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let stored = publisher.store_all("d.a", 0..10).await;
    // A client that asks for all of it, on an edge that has seen none of it.
    let mut client = connect(&edge, None).await;
    let subscribed = join(&mut client, "d.a", Some(Since::Beginning)).await;
    for _ in 0..10 {
        next_update(&mut client).await;
    }
    becomes(&edge, "tailwater_recoveries_total", "source=\"direct_get\"", 1.0).await;
    // What was read once is in memory.
    let mut again = connect(&edge, None).await;
    join(&mut again, "d.a", Some(position(&subscribed, stored[4]))).await;
    for _ in 5..10 {
        next_update(&mut again).await;
    }
    let scrape = becomes(&edge, "tailwater_recoveries_total", "source=\"ring\"", 1.0).await;
    assert_eq!(
        scrape.value("tailwater_recoveries_total", "source=\"refused\""),
        0.0
    );
    // From the future: the stream must have been another one.
    let mut lost = connect(&edge, None).await;
    join(&mut lost, "d.a", Some(position(&subscribed, 1_000_000))).await;
    let scrape = becomes(&edge, "tailwater_recoveries_total", "source=\"refused\"", 1.0).await;
    assert_eq!(
        scrape.value("tailwater_lost_total", "reason=\"epoch_changed\""),
        1.0
    );
    let requests = |operation: &str| {
        let labels = format!("operation=\"{operation}\"");
        scrape.value("tailwater_jetstream_request_seconds_count", &labels)
    };
    assert!(requests("barrier") > 0.0 && requests("heads") > 0.0 && requests("read") > 0.0);
    edge.stop().await;
}

#[tokio::test]
async fn what_is_delivered_late_or_not_shows_in_the_delay_and_each_batch_counts_once() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = connect(&edge, None).await;
        join(&mut client, "d.a", None).await;
        clients.push(client);
    }
    for number in 0..3 {
        publisher.store("d.a", number.to_string()).await;
        for client in &mut clients {
            next_update(client).await;
        }
    }
    let scrape = becomes(&edge, "tailwater_deliveries_total", "delivery=\"durable\"", 12.0).await;
    // One for each batch and worker, of which there are two.
    let count = scrape.value("tailwater_delivery_delay_seconds_count", "");
    assert!((3.0..=6.0).contains(&count), "{count}");
    let sum = scrape.value("tailwater_delivery_delay_seconds_sum", "");
    assert!((0.0..20.0).contains(&sum), "{sum}");
    assert_eq!(scrape.value("tailwater_catch_ups_total", ""), 0.0);
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_counted_as_catching_up_and_gets_each_publication_once() {
    const MESSAGES: u64 = 60;
    let nats = NatsServer::start().await;
    let bounds = "[outbox]\nsend_buffer_bytes = 4096\nunsent_low_water_bytes = 1024\n";
    let edge = Edge::start_with(nats.url(), &format!("{DURABLE}{bounds}")).await;
    let publisher = Publisher::connect(nats.url()).await;
    let mut client = connect(&edge, None).await;
    join(&mut client, "d.a", None).await;
    let payload = "x".repeat(128 * 1024);
    for _ in 0..MESSAGES {
        publisher.store("d.a", payload.clone()).await;
    }
    eventually("the client is too slow", async || {
        let scrape = Scrape::of(&edge).await;
        (scrape.value("tailwater_catch_ups_total", "") > 0.0).then_some(())
    })
    .await;
    for _ in 0..MESSAGES {
        next_update(&mut client).await;
    }
    becomes(
        &edge,
        "tailwater_deliveries_total",
        "delivery=\"durable\"",
        MESSAGES as f64,
    )
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn a_publication_of_a_client_is_timed_until_it_is_stored() {
    let nats = NatsServer::start().await;
    let edge = Edge::start_with(nats.url(), DURABLE).await;
    let mut client = connect(&edge, None).await;
    let publish = r#"{"type":"publish","channel":"d.a","payload":1}"#;
    let command = tailwater_protocol::codec::Codec::Json.decode_commands(publish.as_bytes());
    let command = command.into_iter().next().expect("one").expect("a command");
    client
        .send(Some(1), command.command)
        .await
        .expect("the connection lives");
    assert_eq!(tailwater_tests::next(&mut client).await.kind(), "published");
    let labels = "operation=\"publish\"";
    becomes(&edge, "tailwater_jetstream_request_seconds_count", labels, 1.0).await;
    becomes(
        &edge,
        "tailwater_commands_total",
        "command=\"publish\",result=\"ok\"",
        1.0,
    )
    .await;
    edge.stop().await;
}
