//! The commands and TLS: `serve` says `https` and `wss`, `sub` gets in, `check` says what is wrong.

use tailwater_tests::edge::OPEN;
use tailwater_tests::process::{config_file, failed_with, run};
use tailwater_tests::{Authority, NatsProcess, Process, eventually};

#[tokio::test]
async fn serve_says_that_it_speaks_tls_and_sub_follows_a_channel_over_it() {
    let authority = Authority::new();
    let nats = NatsProcess::start("").await;
    let config = format!("{OPEN}{}", authority.edge_table());
    let (edge, ready) = Process::serve(&nats.url(), &config).await;
    let (http, ws) = (ready.text("http"), ready.text("ws"));
    assert!(http.starts_with("https://127.0.0.1:"), "{http}");
    assert_eq!(ws, http.replace("https://", "wss://") + "/ws");
    assert!(
        ready.text("admin").starts_with("http://"),
        "operators are not clients"
    );

    let trusted = authority.certificate();
    let trusted = trusted.to_str().expect("text");
    let mut sub = Process::start(["sub", ws, "a", "--count", "1", "--ca", trusted]);
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    eventually("the subscription is there", async || {
        (!nats.subscriptions("a").await.is_empty()).then_some(())
    })
    .await;
    // Again until it counts: NATS has the subscription a moment before the session has.
    eventually("sub has its message and ends", async || {
        publisher.publish("a", "1".into()).await.unwrap();
        publisher.flush().await.unwrap();
        (!sub.is_running()).then_some(())
    })
    .await;
    assert_eq!(
        sub.line().await.as_deref(),
        Some(r#"{"type":"update","channel":"a","payload":1}"#)
    );

    failed_with(&run(["sub", ws, "a"]).await, 1, &["127.0.0.1", "certificate"]);
    let missing = ["sub", ws, "a", "--ca", "/no/such/file.pem"];
    failed_with(&run(missing).await, 1, &["/no/such/file.pem"]);
    drop(edge);
}

#[tokio::test]
async fn check_and_serve_refuse_a_certificate_with_another_ones_key() {
    let authorities = [Authority::new(), Authority::new()];
    let [ours, others] = authorities.each_ref().map(Authority::edge_table);
    let key = others
        .lines()
        .find(|line| line.starts_with("key = "))
        .expect("a key");
    let certificate = ours.lines().nth(1).expect("a certificate");
    let text = format!("{OPEN}[tls]\n{certificate}\n{key}\n");
    let file = config_file(&text);
    let path = file.path().to_str().expect("text");
    for command in ["check", "serve"] {
        let finished = run([command, "--config", path]).await;
        failed_with(&finished, 2, &["`tls.key`", "edge.key", "is not the key of"]);
    }
}
