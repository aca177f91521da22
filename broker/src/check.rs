//! Looks at NATS with the eyes of an operator: can we connect, is the server new enough, may we
//! subscribe to what the namespaces name.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

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
    /// Whether NATS lets us subscribe to our own inboxes and publish to them, without which nothing works.
    pub may_use_inbox: bool,
}

/// Connects and subscribes to each of `subjects` once, within `timeout` in all.
///
/// # Errors
/// [`BrokerError::Refusing`] with what kept us from NATS, [`BrokerError::Unreachable`] if it does not answer in time;
/// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work.
pub async fn check(
    config: &NatsConfig,
    subjects: &[String],
    timeout: Duration,
) -> Result<Report, BrokerError> {
    let work = async {
        let (connection, mut incidents) = Connection::open_now(config, "check").await?;
        let client = connection.client();
        let setup = |error: async_nats::SubscribeError| BrokerError::Setup(Box::new(error));
        let mut held = Vec::new();
        for subject in subjects {
            held.push(client.subscribe(subject.clone()).await.map_err(setup)?);
        }
        let (refused, may_use_inbox) = settle(&connection, &mut incidents).await?;
        Ok(Report {
            version: connection.server_version(),
            new_enough: is_new_enough(&connection.server_version()),
            refused: refused
                .into_iter()
                .filter_map(|incident| match incident {
                    Incident::SubscriptionRefused(subject) => Some(subject),
                    _ => None,
                })
                .collect(),
            may_use_inbox,
        })
    };
    let worked = tokio::time::timeout(timeout, work).await;
    worked.unwrap_or(Err(BrokerError::Unreachable { timeout }))
}

/// Waits until the server has decided about everything that we have sent. Gives what it said meanwhile, and whether we
/// may use inboxes.
///
/// The server handles our lines in order: when a message to our own inbox comes back, or is refused, it has handled
/// all lines before it.
pub(crate) async fn settle(
    connection: &Connection,
    incidents: &mut broadcast::Receiver<Incident>,
) -> Result<(Vec<Incident>, bool), BrokerError> {
    let client = connection.client();
    let inbox = client.new_inbox();
    let subscribed = client.subscribe(inbox.clone()).await;
    let mut echo = subscribed.map_err(|error| BrokerError::Setup(Box::new(error)))?;
    let mut said = Vec::new();
    let mut may_use_inbox = true;
    // Twice: refusals come by way of another task, which has run by the time a second message is back.
    for _ in 0..2 {
        let published = client.publish(inbox.clone(), bytes::Bytes::new()).await;
        published.map_err(|_| BrokerError::Away)?;
        tokio::select! {
            used = refusal_of(&inbox, incidents, &mut said) => {
                used?;
                may_use_inbox = false;
                break;
            }
            message = echo.next() => may_use_inbox = message.is_some(),
        }
    }
    while let Ok(incident) = incidents.try_recv() {
        said.push(incident);
    }
    Ok((said, may_use_inbox))
}

/// Waits until NATS refuses us `inbox`; collects what else it says.
async fn refusal_of(
    inbox: &str,
    incidents: &mut broadcast::Receiver<Incident>,
    said: &mut Vec<Incident>,
) -> Result<(), BrokerError> {
    loop {
        match incidents.recv().await {
            Ok(Incident::SubscriptionRefused(subject) | Incident::PublicationRefused(subject))
                if subject == inbox =>
            {
                return Ok(());
            }
            Ok(Incident::Failed(_) | Incident::Disconnected) | Err(RecvError::Closed) => {
                return Err(BrokerError::Away);
            }
            Ok(incident) => said.push(incident),
            Err(RecvError::Lagged(_)) => {}
        }
    }
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
