//! `tailwater sub` as a person or a script meets it: what it prints, when it ends, when it comes back.

use rustix::process::Signal;
use tailwater_tests::edge::OPEN;
use tailwater_tests::process::{config_file, failed_with, run};
use tailwater_tests::{Edge, NatsProcess, Process, eventually, soon};

#[tokio::test]
async fn sub_prints_one_json_object_a_line_and_ends_after_its_count() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), OPEN).await;
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    for codec in [&["--count", "2"][..], &["--count", "2", "--msgpack"]] {
        let mut sub = Process::start(["sub", edge.ws(), "a.*", "b"].iter().chain(codec));
        eventually("both subscriptions are there", async || {
            let there =
                !nats.subscriptions("a.*").await.is_empty() && !nats.subscriptions("b").await.is_empty();
            there.then_some(())
        })
        .await;
        // Again until it counts: NATS has the subscription a moment before the session has.
        let publishing = async {
            loop {
                publisher
                    .publish("a.1", r#"{"x":[1,null]}"#.into())
                    .await
                    .unwrap();
                tokio::time::timeout(std::time::Duration::from_millis(50), std::future::pending::<()>())
                    .await
                    .ok();
            }
        };
        tokio::select! {
            () = publishing => {}
            () = async {
                for _ in 0..2 {
                    let line = sub.line().await.expect("a line");
                    assert_eq!(line, r#"{"type":"update","channel":"a.*","payload":{"x":[1,null]},"subject":"a.1"}"#);
                }
                assert_eq!(sub.line().await, None);
            } => {}
        }
        assert_eq!(sub.end().await.code(), Some(0), "{}", sub.stderr());
        assert_eq!(sub.stderr(), "");
    }
    edge.stop().await;
}

#[tokio::test]
async fn sub_ends_with_one_clear_line_where_another_try_is_in_vain() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), "[namespace.a]\nchannels = \"a.>\"\nanonymous = true").await;
    let ws = edge.ws();
    let http = ws.replace("ws://", "http://");
    failed_with(&run(["sub", ws, "other"]).await, 1, &["no_such_channel", "other"]);
    failed_with(&run(["sub", ws, "a..b"]).await, 1, &["a..b"]);
    failed_with(
        &run(["sub", &http, "a.b"]).await,
        1,
        &[&http, "ws://HOST:PORT/ws"],
    );
    let told = run(["sub", "ws://ann:hunter2@127.0.0.1:1/ws", "a.b"]).await;
    failed_with(&told, 1, &["credentials"]);
    assert!(!told.stderr.contains("hunter2"), "{told:?}");
    failed_with(
        &run(["sub", "ws://127.0.0.1:1/ws", "a.b"]).await,
        1,
        &["127.0.0.1:1", "refused"],
    );
    failed_with(
        &run(["sub", &ws.replace("/ws", "/nothing"), "a.b"]).await,
        1,
        &["404"],
    );
    edge.stop().await;
}

#[tokio::test]
async fn sub_comes_back_after_the_edge_has_been_started_again() {
    let nats = NatsProcess::start("").await;
    let (mut edge, ready) = Process::serve(&nats.url(), OPEN).await;
    let public = ready.address("ws").to_string();
    let mut sub = Process::start(["sub", ready.text("ws"), "a"]);
    let subscribed = async || (!nats.subscriptions("a").await.is_empty()).then_some(());
    eventually("it subscribes", subscribed).await;
    edge.signal(Signal::TERM);
    edge.end().await;
    eventually("the edge has left NATS", async || {
        nats.subscriptions("a").await.is_empty().then_some(())
    })
    .await;
    let file = config_file(OPEN);
    let _edge = Process::start([
        "serve",
        "--config",
        file.path().to_str().unwrap(),
        "--listen",
        &public,
        "--admin-listen",
        "127.0.0.1:0",
        "--nats",
        &nats.url(),
    ]);
    eventually("it subscribes again", subscribed).await;
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
    let line = loop {
        tokio::select! {
            line = sub.line() => break line,
            _ = tick.tick() => publisher.publish("a", "back".into()).await.unwrap(),
        }
    };
    assert_eq!(
        line.as_deref(),
        Some(r#"{"type":"update","channel":"a","payload":"back"}"#)
    );
    assert!(
        sub.stderr().contains("1012") && sub.stderr().contains("connecting again"),
        "{}",
        sub.stderr()
    );
}

#[tokio::test]
async fn sub_into_a_pipe_that_is_closed_ends_without_a_word() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_with(&nats.url(), OPEN).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "{} sub {} a 2>{} | head -1",
        tailwater_tests::binary().display(),
        edge.ws(),
        file.path().display()
    );
    let publisher = async_nats::connect(nats.url()).await.unwrap();
    let shell = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .kill_on_drop(true)
        .output();
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
    let publishing = async {
        loop {
            tick.tick().await;
            publisher.publish("a", "1".into()).await.unwrap();
        }
    };
    let output = tokio::select! {
        output = soon("the end of the pipe", shell) => output.unwrap(),
        () = publishing => unreachable!(),
    };
    assert_eq!(
        output.stdout,
        b"{\"type\":\"update\",\"channel\":\"a\",\"payload\":1}\n"
    );
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "");
    edge.stop().await;
}
