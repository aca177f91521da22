//! Streams behind durable namespaces, as an operator meets them: `check`, `stream new-epoch`, readiness.

use tailwater_tests::process::{Finished, config_file, failed_with, run};
use tailwater_tests::{Edge, NatsProcess, Process, eventually};

const DURABLE: &str = r#"
[namespace.orders]
channels = "orders.>"
durable = true
anonymous = true
[namespace.chat]
channels = "chat.>"
anonymous = true
publish = true
"#;

async fn jetstream(more: &str) -> (NatsProcess, tempfile::TempDir) {
    let store = tempfile::tempdir().expect("a temporary folder");
    let config = format!("jetstream {{ store_dir: {:?} }}\n{more}", store.path());
    (NatsProcess::start(&config).await, store)
}

fn with_nats(url: &str, more: &str) -> String {
    format!("[nats]\nurl = \"{url}\"\n{more}\n{DURABLE}")
}

async fn check(config: &str) -> Finished {
    let file = config_file(config);
    run(["check", "--config", file.path().to_str().expect("text")]).await
}

async fn new_epoch(name: &str, config: &str) -> Finished {
    let file = config_file(config);
    let path = file.path().to_str().expect("text");
    run(["stream", "new-epoch", name, "--config", path]).await
}

async fn provision(config: &str) -> Finished {
    let file = config_file(config);
    let path = file.path().to_str().expect("text");
    run(["stream", "provision", "--config", path]).await
}

/// The part of the output that nats-server reads.
fn permissions(finished: &Finished) -> &str {
    let start = finished.stdout.find("authorization {").expect("permissions");
    &finished.stdout[start..]
}

#[tokio::test]
async fn check_says_what_the_edge_will_create_and_then_that_all_is_well() {
    let (nats, _store) = jetstream("").await;
    let config = with_nats(&nats.url(), "");
    let before = check(&config).await;
    assert_eq!(before.code, Some(0), "{before:?}");
    for missing in ["stream ORDERS", "bucket tailwater_revocations"] {
        let line = format!("change {missing}: does not exist: the edge will create it\n");
        assert!(before.stdout.contains(&line), "{}", before.stdout);
    }
    let edge = Edge::start_with(&nats.url(), DURABLE).await;
    edge.stop().await;
    let after = check(&config).await;
    assert_eq!((after.code, after.stderr.as_str()), (Some(0), ""), "{after:?}");
    for line in [
        "ok     stream ORDERS: is as it should be\n",
        "ok     bucket tailwater_revocations: is as it should be\n",
        "ok     NATS: may subscribe to `_tw.control.*`\n",
        "ok     NATS: may subscribe to `_tw.live.orders.>`\n",
        "warn   NATS: lets us publish on `_tw.live.>`",
    ] {
        assert!(after.stdout.contains(line), "{line}: {}", after.stdout);
    }
}

#[tokio::test]
async fn the_permissions_that_check_prints_are_enough_for_the_edge() {
    let file = config_file(DURABLE);
    let offline = run(["check", "--offline", "--config", file.path().to_str().unwrap()]).await;
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let (nats, _store) = jetstream(permissions(&offline)).await;
    let user = "user = \"edge\"\npassword = \"CHANGE-ME\"";
    let edge = Edge::start_with(&nats.url(), &with_nats(&nats.url(), user)).await;
    assert_eq!(edge.admin("/readyz").await, (200, "ready\n".to_owned()));
    edge.stop().await;
    let checked = check(&with_nats(&nats.url(), user)).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked
            .stdout
            .contains("ok     NATS: does not let us publish on `_tw.live.>`\n"),
        "{}",
        checked.stdout
    );
    assert!(!checked.stdout.contains("warn "), "{}", checked.stdout);
    assert_eq!(permissions(&checked), permissions(&offline));
}

#[tokio::test]
async fn check_names_each_difference_of_a_stream_that_is_only_verified() {
    let (nats, _store) = jetstream("").await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let stream =
        r#"{"name":"ORDERS","subjects":["orders.>"],"storage":"file","num_replicas":1,"allow_direct":true}"#;
    let created = client
        .request("$JS.API.STREAM.CREATE.ORDERS", stream.into())
        .await;
    assert!(
        created
            .unwrap()
            .payload
            .windows(9)
            .any(|part| part == b"\"created\"")
    );
    let verified = with_nats(&nats.url(), "[stream.ORDERS]\nmanage = false\n");
    let finished = check(&verified).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for part in [
        "error  stream ORDERS: it lacks the subjects `_tw.sync.ORDERS`",
        "nats stream edit ORDERS --subjects='orders.>,_tw.sync.ORDERS'",
        "error  stream ORDERS: it republishes nothing",
        "nats stream edit ORDERS --republish-source='>' --republish-destination='_tw.live.>'",
        "warn   stream ORDERS: its `max_age` is without limit",
        "warn   stream ORDERS: its messages may be deleted and purged",
    ] {
        assert!(finished.stdout.contains(part), "{part}: {}", finished.stdout);
    }
    // The edge would do it by itself, but for the limits that would lose publications.
    let finished = check(&with_nats(&nats.url(), "")).await;
    for part in [
        "change stream ORDERS: it republishes nothing",
        "the edge will set `republish` to {\"dest\":\"_tw.live.>\",\"src\":\">\"}",
        "error  stream ORDERS: its `max_age` is without limit",
    ] {
        assert!(finished.stdout.contains(part), "{part}: {}", finished.stdout);
    }
    assert_eq!(finished.code, Some(1));
}

#[tokio::test]
async fn check_says_that_jetstream_is_off() {
    let nats = NatsProcess::start("").await;
    let finished = check(&with_nats(&nats.url(), "")).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished
            .stdout
            .contains("error  stream ORDERS: cannot be looked at: JetStream does not answer"),
        "{}",
        finished.stdout
    );
}

#[tokio::test]
async fn an_edge_is_not_ready_before_its_streams_are_and_says_which_one_and_why() {
    let nats = NatsProcess::start("").await;
    let edge = Edge::start_unconnected(&nats.url(), DURABLE).await;
    eventually("the reason", async || {
        let (status, body) = edge.admin("/readyz").await;
        (status == 503 && body.starts_with("not ready: stream ORDERS: JetStream does not answer"))
            .then_some(())
    })
    .await;
    assert_eq!(edge.admin("/livez").await.0, 200);
    edge.stop().await;
}

#[tokio::test]
async fn an_operator_provides_the_streams_of_edges_that_may_not() {
    let (nats, _store) = jetstream("").await;
    let may_not = "[stream.ORDERS]\nmanage = false\n[control]\nmanage_bucket = false";
    let refused = provision(&with_nats(&nats.url(), may_not)).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for mistake in ["error  stream ORDERS: ", "error  bucket tailwater_revocations: "] {
        assert!(refused.stdout.contains(mistake), "{refused:?}");
    }
    let config = with_nats(&nats.url(), "");
    for stream in ["created", "is as it should be"] {
        let provided = provision(&config).await;
        let lines = format!(
            "ok     stream ORDERS: {stream}\nok     bucket tailwater_revocations: is as it should be\n"
        );
        assert_eq!(
            (provided.code, &provided.stdout),
            (Some(0), &lines),
            "{provided:?}"
        );
    }
    let edge = Edge::start_unconnected(&nats.url(), &format!("{DURABLE}\n{may_not}")).await;
    eventually("readiness", async || {
        (edge.admin("/readyz").await.0 == 200).then_some(())
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn an_operator_gives_a_stream_another_epoch() {
    let (nats, _store) = jetstream("").await;
    let config = with_nats(&nats.url(), "");
    failed_with(&new_epoch("ORDERS", &config).await, 1, &["no stream `ORDERS`"]);
    failed_with(
        &new_epoch("orders", &config).await,
        1,
        &["`orders`", "it has ORDERS"],
    );
    let edge = Edge::start_with(&nats.url(), DURABLE).await;
    edge.stop().await;
    let epochs = async || {
        let finished = new_epoch("ORDERS", &config).await;
        assert_eq!(
            (finished.code, finished.stderr.as_str()),
            (Some(0), ""),
            "{finished:?}"
        );
        let mut lines = finished.stdout.lines().map(str::to_owned);
        let old = lines
            .next()
            .unwrap()
            .strip_prefix("old epoch: ")
            .unwrap()
            .to_owned();
        let new = lines
            .next()
            .unwrap()
            .strip_prefix("new epoch: ")
            .unwrap()
            .to_owned();
        assert_eq!(lines.next(), None);
        (old, new)
    };
    let (first, second) = epochs().await;
    assert!(first.ends_with("-1"), "{first}");
    assert_ne!(first, second);
    assert_eq!(epochs().await.0, second);
}

#[tokio::test]
async fn in_dev_deployments_and_demo_are_durable_and_stay_so_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    for expected in ["created", "kept"] {
        let (mut dev, ready) = Process::dev(state.path()).await;
        let client = async_nats::connect(ready.text("nats")).await.unwrap();
        for (stream, subject) in [("DEPLOYMENTS", "deployments.x.y"), ("DEMO", "demo.x")] {
            let stored = client.request(subject, "1".into()).await.unwrap();
            let stored: serde_json::Value = serde_json::from_slice(&stored.payload).unwrap();
            assert_eq!(stored["stream"], stream, "{expected}");
        }
        dev.signal(rustix::process::Signal::TERM);
        assert!(dev.end().await.success());
    }
}
