//! From the configuration's words about streams to the broker's.

use tailwater_broker::{Storage, StreamSpec};

use crate::config::{StreamConfig, StreamStorage};

/// What the broker is to provide, a specification for each stream.
pub fn specs(streams: &[StreamConfig]) -> Vec<StreamSpec> {
    streams.iter().map(spec).collect()
}

fn spec(stream: &StreamConfig) -> StreamSpec {
    StreamSpec {
        name: stream.name.clone(),
        subjects: stream.subjects.iter().map(ToString::to_string).collect(),
        // A channel of a namespace is one subject.
        max_messages_per_subject: stream.max_messages_per_channel,
        max_age: stream.max_age,
        max_bytes: stream.max_bytes,
        storage: match stream.storage {
            StreamStorage::File => Storage::File,
            StreamStorage::Memory => Storage::Memory,
        },
        replicas: stream.replicas,
        allow_message_ttl: stream.allow_message_ttl,
        duplicate_window: stream.duplicate_window,
        manage: stream.manage,
        audit_interval: stream.audit_interval,
    }
}
