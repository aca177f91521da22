//! What has to happen so that a stream is as durable channels need it: how a new one is made, and what is changed of
//! one that exists.
//!
//! How differences are found and weighed stands in `stream/judge.rs`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::subjects::widest;
use super::{StreamSpec, republish, sync_subject};

/// What is to be done about a stream.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What JetStream can change without losing anything.
    pub(super) changes: Vec<Change>,
    /// What keeps the stream from serving durable channels, each with what to do.
    pub(super) refusals: Vec<String>,
    /// What an operator should know.
    pub(super) warnings: Vec<String>,
    /// What stands before the subjects of live publications, once the changes are made.
    pub(super) live_prefix: Option<Arc<str>>,
}

/// One field to change.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) field: &'static str,
    pub(super) value: Value,
    /// How the stream is and why that is not enough.
    pub(super) found: String,
}

/// The configuration that a new stream gets.
pub(super) fn creation(spec: &StreamSpec) -> Map<String, Value> {
    let limit = |limit: Option<std::num::NonZeroU64>| limit.map_or(json!(-1), |limit| json!(limit));
    let config = json!({
        "name": spec.name,
        "subjects": wanted_subjects(spec),
        "retention": "limits",
        "discard": "old",
        "storage": spec.storage.word(),
        "num_replicas": spec.replicas,
        "max_msgs_per_subject": limit(spec.max_messages_per_subject),
        "max_age": spec.max_age.map_or(0, nanoseconds),
        "max_bytes": limit(spec.max_bytes),
        "duplicate_window": nanoseconds(spec.duplicate_window),
        "allow_direct": true,
        "allow_msg_ttl": spec.allow_message_ttl,
        // Both cannot be undone, so they are set here and nowhere else.
        "deny_delete": true,
        "deny_purge": true,
        "republish": republish::ours(),
    });
    match config {
        Value::Object(config) => config,
        _ => unreachable!("it is written as an object"),
    }
}

/// The configuration of an existing stream with the changes made.
pub(super) fn changed(config: &Map<String, Value>, changes: &[Change]) -> Map<String, Value> {
    let mut config = config.clone();
    for change in changes {
        config.insert(change.field.to_owned(), change.value.clone());
    }
    config
}

/// The subjects of the configuration, and the one of the sync message.
pub(super) fn wanted_subjects(spec: &StreamSpec) -> Vec<String> {
    let sync = sync_subject(&spec.name);
    widest(spec.subjects.iter().cloned().chain([sync]).collect())
}

/// As JetStream writes durations.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
