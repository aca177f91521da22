//! Key-value buckets as the edge makes, reads and writes them, and what it hears of their changes.

use serde_json::json;
use tailwater_broker::BrokerError;
use tailwater_broker::bucket::{Bucket, BucketSpec, Snapshot};
use tailwater_broker::listener::{Heard, Hearing, Listener, MAX_NOTE_BYTES};

use crate::server::{DEADLINE, Server, eventually, stream_config};

fn spec(manage: bool) -> BucketSpec {
    BucketSpec {
        name: "b".into(),
        description: "a test",
        max_age: std::time::Duration::from_secs(3600),
        replicas: 1,
        manage,
    }
}

async fn open(server: &Server, domain: Option<&str>, spec: BucketSpec) -> (Bucket, Listener) {
    let listener = Listener::open(&server.config(), "control").expect("a configuration");
    let mut state = listener.state();
    let connected = state.wait_for(|state| *state == tailwater_broker::ConnectionState::Connected);
    connected.await.expect("it is served");
    let bucket = Bucket::new(server.connect().await, listener.clone(), domain, spec);
    (bucket, listener)
}

async fn read(bucket: &Bucket) -> Snapshot {
    bucket
        .read(None)
        .await
        .expect("a bucket")
        .expect("a first reading")
}

async fn heard(hearing: &mut Hearing) -> Heard {
    let heard = tokio::time::timeout(DEADLINE, hearing.next()).await;
    heard.expect("in time").expect("the connection lives")
}

#[tokio::test]
async fn a_bucket_of_many_keys_is_read_whole_and_again_only_when_it_has_changed() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let (bucket, _listener) = open(&server, None, spec(true)).await;
    assert!(read(&bucket).await.entries.is_empty());
    for number in 0..2100 {
        operator.store(&format!("$KV.b.user.{number}"), "{}").await;
    }
    operator.store("$KV.b.user.7", "newer").await;
    let all = read(&bucket).await;
    assert_eq!(all.entries.len(), 2100);
    let last = all.entries.last().expect("an entry");
    assert_eq!(
        (last.key.as_str(), last.value.as_deref()),
        ("user.7", Some(&b"newer"[..]))
    );
    assert!(last.time.is_some() && all.mark.is_some(), "{last:?}");
    assert!(bucket.read(all.mark.as_ref()).await.expect("a bucket").is_none());
    // Emptied by hand: no message says so.
    let purged = operator
        .ask("STREAM.PURGE.KV_b", &json!({"filter": "$KV.b.user.8"}))
        .await;
    assert_eq!(purged["purged"], 1, "{purged}");
    let fewer = bucket
        .read(all.mark.as_ref())
        .await
        .expect("a bucket")
        .expect("a change");
    assert_eq!(fewer.entries.len(), 2099);
}

#[tokio::test]
async fn a_bucket_in_a_domain_is_written_and_read_there() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("jetstream {{ store_dir: {:?}, domain: hub }}", folder.path());
    let server = Server::start_with(&config).await;
    let (bucket, _listener) = open(&server, Some("hub"), spec(true)).await;
    assert!(read(&bucket).await.entries.is_empty());
    bucket
        .put("user.ann", "{}".into(), "1")
        .await
        .expect("it is stored");
    assert_eq!(read(&bucket).await.entries[0].key, "user.ann");
}

#[tokio::test]
async fn what_is_no_bucket_for_us_is_told_apart() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let (bucket, _listener) = open(&server, None, spec(false)).await;
    let missing = bucket.read(None).await.expect_err("no bucket");
    assert!(matches!(missing, BrokerError::NoStream { .. }), "{missing:?}");
    let missing = bucket
        .put("user.ann", "{}".into(), "1")
        .await
        .expect_err("no bucket");
    assert!(matches!(missing, BrokerError::NoStream { .. }), "{missing:?}");
    let config = json!({"subjects": ["$KV.b.>"], "allow_direct": false, "max_age": 0, "republish": null});
    operator.create(&stream_config("KV_b", config.clone())).await;
    let unfit = bucket.read(None).await.expect_err("no direct get");
    assert!(unfit.to_string().contains("allow_direct"), "{unfit}");
    let mut config = stream_config("KV_b", config);
    config["allow_direct"] = true.into();
    operator.update(&config).await;
    assert_eq!(read(&bucket).await.max_age, None);
    let plain = Server::start_plain().await;
    let (bucket, _listener) = open(&plain, None, spec(true)).await;
    let off = bucket.read(None).await.expect_err("no JetStream");
    assert!(matches!(off, BrokerError::NoJetStream { .. }), "{off:?}");
}

#[tokio::test]
async fn a_listener_is_told_when_something_may_have_been_missed() {
    let server = Server::start().await;
    let (_bucket, listener) = open(&server, None, spec(true)).await;
    let mut hearing = listener.subscribe("orders.*", 2).await.expect("a subject");
    assert!(matches!(heard(&mut hearing).await, Heard::Missed));
    let long = "x".repeat(MAX_NOTE_BYTES + 1);
    for body in ["one", &long, "no room"] {
        let published = listener.publish("orders.a", &[], body.as_bytes()).await;
        published.expect("the connection lives");
    }
    // A server handles a connection's lines in order: when this is confirmed, all three have come back.
    let mut again = listener.subscribe("orders.b", 1).await.expect("a subject");
    assert!(matches!(heard(&mut again).await, Heard::Missed));
    assert!(matches!(heard(&mut hearing).await, Heard::Missed));
    for (payload, too_long) in [(&b"one"[..], false), (b"", true)] {
        let Heard::Note(note) = heard(&mut hearing).await else {
            panic!("a message")
        };
        assert_eq!((&note.payload()[..], note.too_long), (payload, too_long));
        assert_eq!((note.subject(), note.reply()), (&b"orders.a"[..], None));
    }
    let server = server.again().await;
    assert!(matches!(heard(&mut hearing).await, Heard::Missed));
    let operator = server.operator().await.0;
    eventually("a message after the outage", async || {
        operator.publish("orders.a", "two".into()).await.ok()?;
        match heard(&mut hearing).await {
            Heard::Note(note) => (&note.payload()[..] == b"two").then_some(()),
            _ => None,
        }
    })
    .await;
}
