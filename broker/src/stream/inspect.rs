//! What an operator wants to know about the streams before the start. Nothing is changed.

use std::sync::Arc;
use std::time::Duration;

use super::api::JetStream;
use super::judge::judge;
use super::provision::{missing, taken};
use super::{LIVE_PREFIX, StreamSpec, forge};
use crate::config::NatsConfig;
use crate::connection::Connection;
use crate::error::BrokerError;

/// What was found out about one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its name.
    pub stream: Arc<str>,
    /// What the edge would find and do; at least one line.
    pub findings: Vec<Finding>,
    /// What stands before the subjects of its live publications.
    pub live_prefix: Arc<str>,
    /// Whether NATS lets us publish there, so that others may be able to forge live publications; `None`: it did not
    /// say.
    pub can_be_forged: Option<bool>,
}

/// One line about a stream; its text goes on where the stream's name ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it should be.
    Fine(String),
    /// The edge would do this.
    Pending(String),
    /// Worth knowing; it does not keep the edge from serving.
    Warning(String),
    /// It keeps the edge from serving the stream; with what to do.
    Refusal(String),
}

/// Compares each of `specs` with what JetStream has, over a connection of its own and within `timeout`.
///
/// # Errors
/// [`BrokerError::Refusing`] and [`BrokerError::Unreachable`] if there is no connection to be had. What concerns one
/// stream is a [`Finding::Refusal`].
pub async fn inspect(
    config: &NatsConfig,
    domain: Option<&str>,
    specs: &[StreamSpec],
    timeout: Duration,
) -> Result<Vec<Inspection>, BrokerError> {
    let work = async {
        let (connection, _) = Connection::open_now(config, "check").await?;
        let jetstream = JetStream::new(connection, domain);
        let mut inspections = Vec::with_capacity(specs.len());
        for spec in specs {
            inspections.push(inspect_one(&jetstream, spec).await);
        }
        Ok(inspections)
    };
    let worked = tokio::time::timeout(timeout, Box::pin(work)).await;
    worked.unwrap_or(Err(BrokerError::Unreachable { timeout }))
}

async fn inspect_one(jetstream: &JetStream, spec: &StreamSpec) -> Inspection {
    let (findings, live_prefix) = match compare(jetstream, spec).await {
        Ok(compared) => compared,
        Err(error) => (
            vec![Finding::Refusal(format!(
                "cannot be looked at: {}",
                super::describe(&error)
            ))],
            None,
        ),
    };
    let live_prefix = live_prefix.unwrap_or_else(|| LIVE_PREFIX.into());
    let can_be_forged = forge::is_possible(jetstream, &live_prefix).await.ok();
    Inspection {
        stream: spec.name.clone(),
        findings,
        live_prefix,
        can_be_forged,
    }
}

async fn compare(
    jetstream: &JetStream,
    spec: &StreamSpec,
) -> Result<(Vec<Finding>, Option<Arc<str>>), BrokerError> {
    let Some(info) = jetstream.info(&spec.name).await? else {
        let mut others = Vec::new();
        for subject in &spec.subjects {
            others.extend(jetstream.streams_with(subject).await);
        }
        let finding = if !spec.manage {
            Finding::Refusal(missing(spec))
        } else if !others.is_empty() {
            Finding::Refusal(taken(jetstream, spec).await.to_string())
        } else {
            Finding::Pending("does not exist: the edge will create it".to_owned())
        };
        return Ok((vec![finding], None));
    };
    let plan = judge(spec, &info.config);
    let mut findings: Vec<_> = plan.refusals.into_iter().map(Finding::Refusal).collect();
    let pending = plan.changes.into_iter().map(|change| {
        let (found, field, value) = (change.found, change.field, change.value);
        Finding::Pending(format!("{found}: the edge will set `{field}` to {value}"))
    });
    findings.extend(pending);
    if findings.is_empty() {
        findings.push(Finding::Fine("is as it should be".to_owned()));
    }
    findings.extend(plan.warnings.into_iter().map(Finding::Warning));
    Ok((findings, plan.live_prefix))
}
