//! Differences that no nats-server of a test has, or that are worth a look without one.

use serde_json::json;

use super::*;

fn spec() -> StreamSpec {
    StreamSpec {
        name: "A".into(),
        subjects: vec!["a.>".to_owned(), "b".to_owned()],
        max_messages_per_subject: None,
        max_age: Some(Duration::from_secs(3600)),
        max_bytes: 1000.try_into().ok(),
        storage: Storage::File,
        replicas: 1,
        allow_message_ttl: false,
        duplicate_window: Duration::from_secs(60),
        manage: true,
        audit_interval: Duration::from_secs(30),
    }
}

/// The plan for a stream as it is created for `spec`, with these fields instead.
fn plan(spec: &StreamSpec, more: &Value) -> Plan {
    let mut config = super::super::plan::creation(spec);
    config.extend(more.as_object().expect("an object").clone());
    judge(spec, &config)
}

#[test]
fn a_stream_as_it_is_created_needs_nothing_and_has_nothing_to_warn_of() {
    for manage in [true, false] {
        let mut spec = spec();
        spec.manage = manage;
        let plan = plan(&spec, &json!({}));
        assert!(
            plan.changes.is_empty() && plan.refusals.is_empty() && plan.warnings.is_empty(),
            "{plan:?}"
        );
        assert_eq!(plan.live_prefix.as_deref(), Some("_tw.live"));
    }
}

#[test]
fn a_sealed_stream_is_refused() {
    let plan = plan(&spec(), &json!({"sealed": true}));
    assert!(
        plan.refusals.len() == 1 && plan.refusals[0].contains("sealed"),
        "{plan:?}"
    );
}

#[test]
fn sources_replicas_and_a_reachable_destination_are_only_warned_of() {
    let more = json!({
        "sources": [{"name": "B"}],
        "num_replicas": 3,
        "republish": {"src": ">", "dest": "live.>"},
    });
    let plan = plan(&spec(), &more);
    assert!(plan.changes.is_empty() && plan.refusals.is_empty(), "{plan:?}");
    for part in ["`sources`", "`stream.A.replicas = 3`", "`live.>`"] {
        assert!(
            plan.warnings.iter().any(|text| text.contains(part)),
            "{part}: {plan:?}"
        );
    }
}

#[test]
fn a_limit_that_differs_is_changed_or_refused_where_managed_and_warned_of_where_verified() {
    let smaller = json!({"max_age": 60_000_000_000_u64, "max_bytes": 10, "duplicate_window": 1_000_000_000});
    let larger = json!({"max_age": 0, "max_bytes": -1, "storage": "memory"});
    let managed = spec();
    let fields = |plan: &Plan| plan.changes.iter().map(|change| change.field).collect::<Vec<_>>();
    assert_eq!(
        fields(&plan(&managed, &smaller)),
        ["max_age", "max_bytes", "duplicate_window"]
    );
    assert_eq!(plan(&managed, &larger).refusals.len(), 3);
    let verified = StreamSpec {
        manage: false,
        ..spec()
    };
    for more in [smaller, larger] {
        let plan = plan(&verified, &more);
        assert!(plan.changes.is_empty() && plan.refusals.is_empty(), "{plan:?}");
        assert_eq!(plan.warnings.len(), 3, "{plan:?}");
    }
}

#[test]
fn subjects_are_added_to_those_that_the_stream_has() {
    let plan = plan(&spec(), &json!({"subjects": ["a.x", "old", "b"]}));
    assert_eq!(plan.changes.len(), 1, "{plan:?}");
    assert_eq!(plan.changes[0].value, json!(["old", "b", "a.>", "_tw.sync.A"]));
}
