//! Looks at NATS with the eyes of an operator: can we connect, is the server new enough, may we
//! subscribe to what the namespaces name.

use std::time::Duration;

use futures_util::StreamExt;

use crate::config::NatsConfig;
use crate::connection::{Connection, Incident};
use crate::error::BrokerError;

/// The oldest server that has all that the edge needs.
pub const OLDEST_SERVER: (u32, u32) = (2, 11);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The server's version.
    pub version: String,
    /// Whether the server is new enough.
    pub new_enough: bool,
    /// Subjects that NATS does not let us subscribe to.
    pub refused: Vec<String>,
}

/// Connects and subscribes to each of `subjects` once, within `timeout` in all.
///
/// # Errors
/// [`BrokerError::Unreachable`] with what NATS said last, if there is no connection in time;
/// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work.
pub async fn check(
    config: &NatsConfig,
    subjects: &[String],
    timeout: Duration,
) -> Result<Report, BrokerError> {
    let (connection, mut incidents) = Connection::open_observed(config, "check").await?;
    let mut last_error = None;
    let mut refused = Vec::new();
    let work = async {
        loop {
            match incidents.recv().await {
                Some(Incident::Connected) => break,
                Some(Incident::Failed(error)) => last_error = Some(error),
                Some(_) => {}
                None => return Err(BrokerError::Stopped),
            }
        }
        let client = connection.client();
        // The server handles our lines in order: when our own message comes back, it has decided about
        // every subscription before it.
        let inbox = client.new_inbox();
        let setup = |error: async_nats::SubscribeError| BrokerError::Setup(Box::new(error));
        let mut echo = client.subscribe(inbox.clone()).await.map_err(setup)?;
        let mut held = Vec::new();
        for subject in subjects {
            held.push(client.subscribe(subject.clone()).await.map_err(setup)?);
        }
        client
            .publish(inbox, bytes::Bytes::new())
            .await
            .map_err(|_| BrokerError::Away)?;
        echo.next().await;
        while let Ok(incident) = incidents.try_recv() {
            if let Incident::SubscriptionRefused(subject) = incident {
                refused.push(subject);
            }
        }
        Ok(connection.server_version())
    };
    let version = match tokio::time::timeout(timeout, work).await {
        Ok(version) => version?,
        Err(_) => {
            return Err(BrokerError::Unreachable {
                timeout,
                cause: last_error,
            });
        }
    };
    Ok(Report {
        new_enough: is_new_enough(&version),
        version,
        refused,
    })
}

/// Whether a version such as `2.11.3` or `2.12.0-beta.1` is at least [`OLDEST_SERVER`].
fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next().flatten(), parts.next().flatten());
    major.zip(minor).is_some_and(|version| version >= OLDEST_SERVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_from_2_11_on_are_new_enough() {
        for version in ["2.11.0", "2.11.0-beta.1", "2.15.1", "3.0.0"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["2.10.26", "2.9.10", "1.99.0", "", "x.y"] {
            assert!(!is_new_enough(version), "{version}");
        }
    }
}
