//! One attempt to make a stream what durable channels need, or to find out why that cannot be.
//!
//! Several edges may do this at once. None relies on what it has just done: each reads the stream again until there
//! is nothing left to change, so all end with the same stream, whoever created it.

use std::sync::Arc;

use super::api::{Creation, Info, JetStream};
use super::judge::judge;
use super::plan::{self, Plan};
use super::{Stream, StreamSpec, sync_subject};
use crate::epoch;
use crate::error::BrokerError;

/// Each round changes something and reads it back; more are a server that does not take what it is told, or edges
/// with different configurations.
const ROUNDS: usize = 4;

/// A stream that is as it should be.
pub(super) struct Provisioned {
    pub(super) stream: Stream,
    /// What was created or changed.
    pub(super) done: Vec<String>,
    /// What an operator should know.
    pub(super) warnings: Vec<String>,
}

/// Creates, changes or only verifies the stream, as its specification says.
pub(super) async fn provision(jetstream: &JetStream, spec: &StreamSpec) -> Result<Provisioned, BrokerError> {
    let mut done = Vec::new();
    let mut plan = Plan::default();
    for _ in 0..ROUNDS {
        let Some(info) = jetstream.info(&spec.name).await? else {
            if !spec.manage {
                return Err(unfit(spec, vec![missing(spec)]));
            }
            match jetstream.create(&spec.name, &plan::creation(spec)).await? {
                Creation::Created => done.push("created".to_owned()),
                // Somebody else was faster.
                Creation::NameInUse => {}
                Creation::SubjectsTaken => return Err(taken(jetstream, spec).await),
            }
            continue;
        };
        plan = judge(spec, &info.config);
        if !plan.refusals.is_empty() {
            return Err(unfit(spec, plan.refusals));
        }
        if plan.changes.is_empty() {
            let warnings = plan.warnings;
            return Ok(Provisioned {
                stream: ready(jetstream, spec, &info, plan.live_prefix).await?,
                done,
                warnings,
            });
        }
        let changed = plan::changed(&info.config, &plan.changes);
        match jetstream.update(&spec.name, &changed).await {
            Err(error) if is_overlap(&error) => return Err(taken(jetstream, spec).await),
            updated => updated?,
        }
        done.extend(
            plan.changes
                .iter()
                .map(|change| format!("changed: {}", change.found)),
        );
    }
    let stubborn = plan.changes.into_iter().map(|change| {
        format!(
            "{} even after `{}` was set: NATS does not know that setting, or another edge has another configuration",
            change.found, change.field
        )
    });
    Err(unfit(spec, stubborn.collect()))
}

/// What has kept a stream from existing.
pub(super) fn missing(spec: &StreamSpec) -> String {
    let name = &spec.name;
    let config = serde_json::Value::Object(plan::creation(spec));
    format!(
        "it does not exist, and `stream.{name}.manage` is false: set that to true, or create it as {config}"
    )
}

/// Another stream has some of the subjects; finds out which, if we may know.
pub(super) async fn taken(jetstream: &JetStream, spec: &StreamSpec) -> BrokerError {
    let mut others = Vec::new();
    for subject in &spec.subjects {
        let names = jetstream.streams_with(subject).await.into_iter();
        others.extend(
            names
                .filter(|name| **name != *spec.name)
                .map(|name| format!("the stream `{name}`")),
        );
    }
    others.sort();
    others.dedup();
    let other = match others.is_empty() {
        true => "another stream".to_owned(),
        false => others.join(" and "),
    };
    BrokerError::SubjectsTaken {
        stream: spec.name.to_string(),
        subjects: spec.subjects.join(", "),
        other,
    }
}

async fn ready(
    jetstream: &JetStream,
    spec: &StreamSpec,
    info: &Info,
    live_prefix: Option<Arc<str>>,
) -> Result<Stream, BrokerError> {
    Ok(Stream {
        name: spec.name.clone(),
        live_prefix: live_prefix.unwrap_or_else(|| super::LIVE_PREFIX.into()),
        sync_subject: sync_subject(&spec.name).into(),
        api_prefix: jetstream.prefix().clone(),
        max_messages_per_subject: info.max_messages_per_subject(),
        audit_interval: spec.audit_interval,
        epoch: epoch::of_stream(jetstream, &spec.name).await?,
    })
}

fn unfit(spec: &StreamSpec, reasons: Vec<String>) -> BrokerError {
    let stream = spec.name.to_string();
    BrokerError::StreamUnfit { stream, reasons }
}

fn is_overlap(error: &BrokerError) -> bool {
    matches!(error, BrokerError::JetStream { code, .. } if *code == super::api::OVERLAP)
}
