//! `tailwater probe`, which `helm test` runs: it says that a publication came, or what it came to.

use tailwater_tests::process::{Finished, config_file, failed_with, run};
use tailwater_tests::{Edge, NatsProcess};

/// A live namespace with a prefix, and one that needs a token.
const NAMESPACES: &str = r#"
[namespace.news]
channels = "news.>"
subject_prefix = "market"
anonymous = true
[namespace.closed]
channels = "closed.>"
allow_subscribe = "closed.>"
"#;

async fn probe(edge: &Edge, nats: &str, channel: &str, more: &[&str]) -> Finished {
    let file = config_file(&format!("[nats]\nurl = \"{nats}\"\n{NAMESPACES}"));
    let path = file.path().to_str().expect("text");
    let arguments = ["probe", edge.ws(), channel, "--config", path];
    run(arguments.iter().chain(more)).await
}

#[tokio::test]
async fn probe_says_that_a_publication_came_from_nats_to_the_websocket() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), NAMESPACES).await;
    let finished = probe(&edge, &nats.url(), "news.probe", &[]).await;
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (Some(0), ""),
        "{finished:?}"
    );
    assert!(finished.stdout.starts_with("ok "), "{finished:?}");
    edge.stop().await;
}

#[tokio::test]
async fn probe_fails_with_a_reason_where_no_publication_can_come() {
    let nats = NatsProcess::start("").await;
    let other = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), NAMESPACES).await;
    let url = nats.url();
    failed_with(
        &probe(&edge, &url, "news.*", &[]).await,
        1,
        &["news.*", "pattern"],
    );
    failed_with(&probe(&edge, &url, "elsewhere", &[]).await, 1, &["elsewhere"]);
    failed_with(&probe(&edge, &url, "closed.a", &[]).await, 1, &["forbidden"]);
    // The edge listens at another NATS.
    let strayed = probe(&edge, &other.url(), "news.probe", &["--timeout-secs", "2"]).await;
    failed_with(&strayed, 1, &["not within 2 s", "receive"]);
    edge.stop().await;
}
