//! Provides streams once, for an operator who waits for it: what an edge does in the background at its start.

use std::sync::Arc;
use std::time::Duration;

use super::api::JetStream;
use super::provision::provision;
use super::{Finding, StreamSpec};
use crate::config::NatsConfig;
use crate::connection::Connection;
use crate::error::BrokerError;

/// Creates, changes or only verifies each of `specs`, over a connection of its own and within `timeout`. Gives what was
/// done for each, by its name: at least one line.
///
/// # Errors
/// [`BrokerError::Refusing`] and [`BrokerError::Unreachable`] if there is no connection to be had. What concerns one
/// stream is a [`Finding::Refusal`].
pub async fn provide(
    config: &NatsConfig,
    domain: Option<&str>,
    specs: &[StreamSpec],
    timeout: Duration,
) -> Result<Vec<(Arc<str>, Vec<Finding>)>, BrokerError> {
    let work = async {
        let (connection, _) = Connection::open_now(config, "provision").await?;
        let jetstream = JetStream::new(connection, domain);
        let mut provided = Vec::with_capacity(specs.len());
        for spec in specs {
            provided.push((spec.name.clone(), provide_one(&jetstream, spec).await));
        }
        Ok(provided)
    };
    let worked = tokio::time::timeout(timeout, Box::pin(work)).await;
    worked.unwrap_or(Err(BrokerError::Unreachable { timeout }))
}

async fn provide_one(jetstream: &JetStream, spec: &StreamSpec) -> Vec<Finding> {
    match provision(jetstream, spec).await {
        Ok(provisioned) => {
            let mut findings: Vec<_> = provisioned.done.into_iter().map(Finding::Fine).collect();
            if findings.is_empty() {
                findings.push(Finding::Fine("is as it should be".to_owned()));
            }
            findings.extend(provisioned.warnings.into_iter().map(Finding::Warning));
            findings
        }
        Err(error) => vec![Finding::Refusal(super::describe(&error))],
    }
}
