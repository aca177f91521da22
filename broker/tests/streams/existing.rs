//! Streams that exist: what is changed, what is used as it is, what is refused.

use serde_json::{Value, json};
use tailwater_broker::Storage;

use crate::server::{Server, provision, ready, spec, stream_config};

#[tokio::test]
async fn what_can_be_changed_without_loss_is_changed_and_everything_else_is_kept() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let before = json!({
        "name": "a",
        "subjects": ["a.b", "old.>"],
        "storage": "file",
        "retention": "limits",
        "num_replicas": 1,
        "description": "ours",
        "metadata": {"team": "x"},
        "allow_atomic": true,
        "compression": "s2",
        "max_msgs": 5000,
        "max_msgs_per_subject": 5,
        "max_age": 60_000_000_000_u64,
        "max_bytes": 10_000,
        "duplicate_window": 1_000_000_000,
    });
    operator.create(&before).await;
    operator.store("a.b", "kept").await;
    let mut wanted = spec("a");
    wanted.allow_message_ttl = true;
    let stream = ready(&server.connect().await, wanted).await;
    assert_eq!(
        (&*stream.live_prefix, stream.max_messages_per_subject),
        ("_tw.live", Some(100))
    );
    let info = operator.info("a").await;
    let after = &info["config"];
    for (field, value) in [
        ("subjects", json!(["old.>", "a.>", "_tw.sync.a"])),
        ("description", json!("ours")),
        ("allow_atomic", json!(true)),
        ("compression", json!("s2")),
        ("max_msgs", json!(5000)),
        ("max_msgs_per_subject", json!(100)),
        ("max_age", json!(3_600_000_000_000_u64)),
        ("max_bytes", json!(1_000_000)),
        ("duplicate_window", json!(60_000_000_000_u64)),
        ("allow_direct", json!(true)),
        ("allow_msg_ttl", json!(true)),
        ("republish", json!({"src": ">", "dest": "_tw.live.>"})),
        // They could never be taken back.
        ("deny_delete", json!(false)),
        ("deny_purge", json!(false)),
    ] {
        assert_eq!(after[field], value, "{field} of {after}");
    }
    assert_eq!(after["metadata"]["team"], "x");
    assert_eq!(
        info["state"]["messages"], 2,
        "what was stored, and the sync message"
    );
}

#[tokio::test]
async fn a_limit_is_lifted_if_the_configuration_has_none() {
    let server = Server::start().await;
    let operator = server.operator().await;
    operator.create(&stream_config("a", json!({}))).await;
    let mut wanted = spec("a");
    (wanted.max_messages_per_subject, wanted.max_age, wanted.max_bytes) = (None, None, None);
    ready(&server.connect().await, wanted).await;
    let after = operator.info("a").await["config"].clone();
    assert_eq!(
        (
            &after["max_msgs_per_subject"],
            &after["max_age"],
            &after["max_bytes"]
        ),
        (&json!(-1), &json!(0), &json!(-1))
    );
}

/// Each is refused, with this in the reason, and nothing is changed.
#[tokio::test]
async fn what_loses_publications_or_cannot_be_changed_is_refused_with_what_to_do() {
    let server = Server::start().await;
    let (operator, connection) = (server.operator().await, server.connect().await);
    operator.create(&stream_config("ORIGIN", json!({}))).await;
    let cases: [(&str, Value, &[&str]); 12] = [
        (
            "age",
            json!({"max_age": 7_200_000_000_000_u64}),
            &[
                "`max_age` is 7200s, the configuration says 3600s",
                "nats stream edit age --max-age=3600s",
                "`stream.age.max_age_secs`",
            ],
        ),
        (
            "forever",
            json!({"max_age": 0}),
            &["`max_age` is without limit", "would be lost"],
        ),
        (
            "bytes",
            json!({"max_bytes": 2_000_000}),
            &["--max-bytes=1000000", "`stream.bytes.max_bytes`"],
        ),
        (
            "count",
            json!({"max_msgs_per_subject": -1}),
            &[
                "--max-msgs-per-subject=100",
                "`stream.count.max_messages_per_channel`",
            ],
        ),
        (
            "memory",
            json!({"storage": "memory"}),
            &["kept in memory", "`stream.memory.storage = \"memory\"`"],
        ),
        (
            "queue",
            json!({"retention": "workqueue"}),
            &["`workqueue`", "consumed"],
        ),
        ("interest", json!({"retention": "interest"}), &["`interest`"]),
        (
            "new",
            json!({"discard": "new"}),
            &["refuses what is published", "nats stream edit new --discard=old"],
        ),
        ("deaf", json!({"no_ack": true}), &["no_ack"]),
        (
            "renames",
            json!({"subject_transform": {"src": "renames.>", "dest": "renamed.>"}}),
            &["subject_transform", "--no-transform"],
        ),
        (
            "headers",
            json!({"republish": {"src": ">", "dest": "x.>", "headers_only": true}}),
            &[
                "headers only",
                "{\"dest\":\"_tw.live.>\",\"src\":\">\"}",
                "nats stream edit headers --republish-source='>' --republish-destination='_tw.live.>'",
            ],
        ),
        (
            "part",
            json!({"republish": {"src": "part.x.>", "dest": "y.>"}}),
            &["leaves out `part.>`"],
        ),
    ];
    for (name, different, parts) in cases {
        operator.create(&stream_config(name, different)).await;
        let before = operator.info(name).await["config"].clone();
        let provisioned = provision(&connection, None, spec(name));
        let reason = provisioned.waits_because(parts).await;
        assert!(
            reason.contains(&format!("`{name}` cannot serve durable channels")),
            "{reason}"
        );
        assert_eq!(operator.info(name).await["config"], before, "{name}");
    }
    operator
        .create(&stream_config("crossing", json!({"subjects": ["crossing.b.>"]})))
        .await;
    let mut crossing = spec("crossing");
    crossing.subjects = vec!["crossing.*.c".to_owned()];
    provision(&connection, None, crossing)
        .waits_because(&["`crossing.*.c`", "`crossing.b.>`", "`stream.crossing.subjects`"])
        .await;
    let mirror =
        json!({"name": "MIRROR", "mirror": {"name": "ORIGIN"}, "storage": "file", "num_replicas": 1});
    operator.create(&mirror).await;
    provision(&connection, None, spec("MIRROR"))
        .waits_because(&["mirror of `ORIGIN`", "stream = \"ORIGIN\""])
        .await;
}

#[tokio::test]
async fn a_refused_stream_serves_once_an_operator_has_corrected_it() {
    let server = Server::start().await;
    let operator = server.operator().await;
    operator
        .create(&stream_config("a", json!({"discard": "new"})))
        .await;
    let provisioned = provision(&server.connect().await, None, spec("a"));
    provisioned.waits_because(&["--discard=old"]).await;
    operator.update(&stream_config("a", json!({}))).await;
    provisioned.ready().await;
}

#[tokio::test]
async fn another_destination_is_used_if_it_keeps_whole_subjects_behind_a_prefix() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let republish = json!({"republish": {"src": ">", "dest": "region.live.>"}});
    operator.create(&stream_config("a", republish.clone())).await;
    let stream = ready(&server.connect().await, spec("a")).await;
    assert_eq!(&*stream.live_prefix, "region.live");
    assert_eq!(
        operator.info("a").await["config"]["republish"],
        republish["republish"]
    );
}

#[tokio::test]
async fn a_verified_stream_is_never_changed_and_each_difference_is_told_with_its_correction() {
    let server = Server::start().await;
    let (operator, connection) = (server.operator().await, server.connect().await);
    let mut verified = spec("a");
    verified.manage = false;
    let provisioned = provision(&connection, None, verified.clone());
    provisioned
        .waits_because(&[
            "does not exist",
            "`stream.a.manage` is false",
            "\"allow_direct\":true",
        ])
        .await;
    let bare = json!({"name": "a", "subjects": ["a.x", "z"], "storage": "memory", "num_replicas": 1});
    operator.create(&bare).await;
    let before = operator.info("a").await["config"].clone();
    let reason = provisioned
        .waits_because(&[
            "lacks the subjects `a.>`, `_tw.sync.a`",
            "nats stream edit a --subjects='z,a.>,_tw.sync.a'",
            "set `republish` to {\"dest\":\"_tw.live.>\",\"src\":\">\"}",
            "--republish-source='>' --republish-destination='_tw.live.>'",
            "set `allow_direct` to true (`nats stream edit a --allow-direct`)",
        ])
        .await;
    // Limits and storage are its owner's affair.
    assert!(
        !reason.contains("max_age") && !reason.contains("memory"),
        "{reason}"
    );
    assert_eq!(operator.info("a").await["config"], before);
    let corrected = json!({
        "name": "a", "subjects": ["z", "a.>", "_tw.sync.a"], "storage": "memory", "num_replicas": 1,
        "allow_direct": true, "republish": {"src": ">", "dest": "_tw.live.>"},
    });
    operator.update(&corrected).await;
    let before = operator.info("a").await["config"].clone();
    assert_eq!(provisioned.ready().await.max_messages_per_subject, None);
    assert_eq!(operator.info("a").await["config"], before);
}

#[tokio::test]
async fn more_than_the_configuration_asks_for_is_kept() {
    let server = Server::start().await;
    let operator = server.operator().await;
    let more = json!({"allow_msg_ttl": true, "subjects": ["a.>", "b", "_tw.sync.a"], "deny_purge": true});
    operator.create(&stream_config("a", more)).await;
    let mut wanted = spec("a");
    wanted.storage = Storage::Memory;
    let before = operator.info("a").await["config"].clone();
    ready(&server.connect().await, wanted).await;
    assert_eq!(operator.info("a").await["config"], before);
}
