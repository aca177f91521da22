//! Creating streams, and what keeps them from being there.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::json;

use crate::server::{DEADLINE, Server, connect, provision, ready, spec, stream_config};

#[tokio::test]
async fn a_missing_stream_is_created_with_all_that_durable_channels_need() {
    let server = Server::start().await;
    let mut spec = spec("a");
    spec.allow_message_ttl = true;
    let stream = ready(&server.connect().await, spec).await;
    assert_eq!(
        (&*stream.live_prefix, &*stream.sync_subject),
        ("_tw.live", "_tw.sync.a")
    );
    assert_eq!(
        (&*stream.api_prefix, stream.max_messages_per_subject),
        ("$JS.API", Some(100))
    );
    let operator = server.operator().await;
    let config = operator.info("a").await["config"].clone();
    for (field, value) in [
        ("subjects", json!(["a.>", "_tw.sync.a"])),
        ("retention", json!("limits")),
        ("discard", json!("old")),
        ("storage", json!("file")),
        ("num_replicas", json!(1)),
        ("max_msgs_per_subject", json!(100)),
        ("max_age", json!(3_600_000_000_000_u64)),
        ("max_bytes", json!(1_000_000)),
        ("duplicate_window", json!(60_000_000_000_u64)),
        ("allow_direct", json!(true)),
        ("allow_msg_ttl", json!(true)),
        ("deny_delete", json!(true)),
        ("deny_purge", json!(true)),
        ("republish", json!({"src": ">", "dest": "_tw.live.>"})),
    ] {
        assert_eq!(config[field], value, "{field} of {config}");
    }
    let mut live = operator.0.subscribe("_tw.live.a.>").await.unwrap();
    operator.0.flush().await.unwrap();
    operator.store("a.b", "hello").await;
    let message = tokio::time::timeout(DEADLINE, live.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (message.subject.as_str(), &message.payload[..]),
        ("_tw.live.a.b", &b"hello"[..])
    );
}

#[tokio::test]
async fn limits_that_are_not_set_are_no_limits() {
    let server = Server::start().await;
    let mut spec = spec("a");
    (spec.max_messages_per_subject, spec.max_age, spec.max_bytes) = (None, None, None);
    let connection = server.connect().await;
    assert_eq!(
        ready(&connection, spec.clone()).await.max_messages_per_subject,
        None
    );
    let config = server.operator().await.info("a").await["config"].clone();
    assert_eq!(
        (
            &config["max_msgs_per_subject"],
            &config["max_age"],
            &config["max_bytes"]
        ),
        (&json!(-1), &json!(0), &json!(-1))
    );
    // And the same again is no difference.
    ready(&connection, spec).await;
}

#[tokio::test]
async fn edges_that_start_at_once_agree_on_one_stream_and_one_epoch() {
    let server = Server::start().await;
    let config = server.config();
    let edges = (0..8).map(async |_| {
        let connection = connect(&config).await;
        ready(&connection, spec("a")).await.epoch.to_string()
    });
    let epochs: BTreeSet<String> = join_all(edges).await.into_iter().collect();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
    assert_eq!(
        server.operator().await.last_sequence("a").await,
        1,
        "one sync message"
    );
}

#[tokio::test]
async fn edges_that_change_a_stream_at_once_agree_too() {
    let server = Server::start().await;
    let operator = server.operator().await;
    operator
        .create(&json!({"name": "a", "subjects": ["a.>", "old"], "storage": "file", "num_replicas": 1, "max_bytes": 5000}))
        .await;
    let mut wanted = spec("a");
    wanted.max_age = None;
    wanted.max_messages_per_subject = None;
    let config = server.config();
    let edges = (0..4).map(async |_| {
        let connection = connect(&config).await;
        ready(&connection, wanted.clone()).await.epoch.to_string()
    });
    let epochs: BTreeSet<String> = join_all(edges).await.into_iter().collect();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
}

#[tokio::test]
async fn a_subject_of_another_stream_is_refused_with_its_name() {
    let server = Server::start().await;
    let operator = server.operator().await;
    operator
        .create(&stream_config("OTHER", json!({"subjects": ["a.b"]})))
        .await;
    let connection = server.connect().await;
    let created = provision(&connection, None, spec("a"));
    created.waits_because(&["`a`", "`OTHER`", "a.>", "narrow"]).await;
    // Nor can it be added to a stream that exists.
    operator
        .create(&stream_config("X", json!({"subjects": ["x"]})))
        .await;
    let mut widened = spec("X");
    widened.subjects = vec!["a.>".to_owned()];
    provision(&connection, None, widened)
        .waits_because(&["`X`", "`OTHER`", "narrow"])
        .await;
    let deleted = operator.ask("STREAM.DELETE.OTHER", &json!(null)).await;
    assert_eq!(deleted["success"], true);
    created.ready().await;
}

#[tokio::test]
async fn without_jetstream_the_reason_says_so() {
    let server = Server::start_plain().await;
    let provisioned = provision(&server.connect().await, None, spec("a"));
    provisioned
        .waits_because(&["JetStream", "`$JS.API`", "turn it on"])
        .await;
}

#[tokio::test]
async fn an_account_without_jetstream_is_told_apart_from_a_missing_stream() {
    let server = Server::start_with("accounts { A { users: [ { user: a, password: CHANGE-ME } ] } }").await;
    let connection = connect(&server.config_of("a")).await;
    let provisioned = provision(&connection, None, spec("a"));
    provisioned.waits_because(&["JetStream", "the account"]).await;
}

#[tokio::test]
async fn a_domain_is_used_and_a_wrong_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(&format!(
        "jetstream {{ store_dir: {:?}, domain: hub }}",
        folder.path()
    ))
    .await;
    let connection = server.connect().await;
    let wrong = provision(&connection, Some("spoke"), spec("a"));
    wrong
        .waits_because(&["`$JS.spoke.API`", "nats.jetstream_domain"])
        .await;
    let right = provision(&connection, Some("hub"), spec("a")).ready().await;
    assert_eq!(&*right.api_prefix, "$JS.hub.API");
}

#[tokio::test]
async fn what_the_server_has_no_room_for_is_refused_with_what_to_lower() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let mut large = spec("a");
    large.max_bytes = (1_u64 << 40).try_into().ok();
    provision(&connection, None, large)
        .waits_because(&["STREAM.CREATE.a", "max_bytes"])
        .await;
    let mut replicated = spec("a");
    replicated.replicas = 3;
    provision(&connection, None, replicated)
        .waits_because(&["replicas = 1"])
        .await;
}

#[tokio::test]
async fn a_stream_is_ready_once_nats_is_there() {
    let server = Server::start().await;
    let config = server.config();
    let connection = server.connect().await;
    ready(&connection, spec("a")).await;
    let port = server.url();
    let nobody = tailwater_broker::NatsConfig {
        servers: vec!["nats://127.0.0.1:1".to_owned(), port],
        ..config
    };
    drop(connection);
    let server = server.again().await;
    let away = tailwater_broker::Connection::open(&nobody, "test").await.unwrap();
    let provisioned = provision(&away, None, spec("b"));
    provisioned.waits_because(&["NATS is away"]).await;
    assert_eq!(provisioned.streams.waiting().unwrap().0.as_ref(), "b");
    provisioned.ready().await;
    assert!(provisioned.streams.waiting().is_none());
    drop(server);
}

#[tokio::test]
async fn no_streams_are_ready_at_once_and_an_unknown_one_is_none() {
    let server = Server::start_plain().await;
    let (streams, task) = tailwater_broker::Streams::start(server.connect().await, None, Vec::new());
    assert!(*streams.all_ready().borrow());
    assert!(streams.state("a").is_none() && streams.ready("a").is_none());
    task.stop().await;
}
