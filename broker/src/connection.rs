//! The connection for publications, by the client library: connects, reconnects for ever with capped,
//! jittered back-off, and says how it is. Live subscriptions have a connection of their own (`wire`);
//! what is sent over this one belongs to `publish` and `check`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};

use crate::config::{Credentials, NatsConfig};
use crate::error::BrokerError;
use crate::health::{Health, JetStreamTimes};

/// How a connection is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not connected yet, or connecting again.
    Away,
    /// Connected and accepted.
    Connected,
}

/// What happened to a connection, beyond its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incident {
    /// Connected and accepted.
    Connected,
    /// The link broke.
    Disconnected,
    /// NATS cannot be reached, or does not accept us: what it said.
    Failed(String),
    /// NATS refused a subscription to this subject.
    SubscriptionRefused(String),
    /// NATS refused a publication on this subject.
    PublicationRefused(String),
}

/// Incidents that are kept for whoever listens; the oldest are dropped, as the state is in the watch.
const INCIDENTS: usize = 1024;

/// The end of a subject that is published on only to see whether NATS refuses it: a refusal is good news.
pub(crate) const FORGERY_PROBE: &str = "._tw.check";

/// One connection to NATS.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Client,
    state: watch::Receiver<ConnectionState>,
    incidents: broadcast::Sender<Incident>,
    breaks: Arc<AtomicU64>,
    reconnects: Arc<AtomicU64>,
    jetstream: Arc<JetStreamTimes>,
    runtime: Handle,
}

impl Connection {
    /// Sets up a connection and returns at once; it connects in the background, on the runtime that
    /// calls this, and goes on trying for ever.
    ///
    /// # Errors
    /// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work.
    pub async fn open(config: &NatsConfig, role: &str) -> Result<Self, BrokerError> {
        let (options, observed) = observed(options(config, role).await?.retry_on_initial_connect(), role);
        let connected = options.connect(&config.servers).await;
        let client = connected.map_err(|error| BrokerError::Setup(Box::new(error)))?;
        Ok(observed.of(client))
    }

    /// As [`Connection::open`], for a command that a person waits for: tries each server once, and
    /// returns when one has accepted us.
    ///
    /// # Errors
    /// [`BrokerError::Credentials`], and [`BrokerError::Refusing`] with what is wrong in full;
    /// [`BrokerError::Unreachable`] if the connection is lost at once.
    pub(crate) async fn open_now(
        config: &NatsConfig,
        role: &str,
    ) -> Result<(Self, broadcast::Receiver<Incident>), BrokerError> {
        let (options, observed) = observed(options(config, role).await?, role);
        let incidents = observed.incidents.subscribe();
        match options.connect(&config.servers).await {
            Ok(client) => {
                let connection = observed.of(client);
                // The event that says so comes by way of another task.
                connection.wait_until_connected(config.connect_timeout).await?;
                Ok((connection, incidents))
            }
            Err(error) => Err(BrokerError::Refusing {
                servers: config.servers.join(", "),
                source: explain(&error.to_string()).into(),
            }),
        }
    }

    /// How the connection is, and a way to wait until that changes.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// How the connection is and was.
    pub fn health(&self) -> Health {
        Health::new(
            self.state.clone(),
            self.reconnects.clone(),
            self.jetstream.clone(),
        )
    }

    /// How long JetStream takes to answer what is asked over this connection.
    pub(crate) fn jetstream_times(&self) -> &JetStreamTimes {
        &self.jetstream
    }

    /// Whether NATS can be reached now.
    pub fn is_connected(&self) -> bool {
        *self.state.borrow() == ConnectionState::Connected
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// [`BrokerError::Unreachable`] if there is none within `timeout`.
    pub async fn wait_until_connected(&self, timeout: Duration) -> Result<(), BrokerError> {
        let mut state = self.state();
        let connected = state.wait_for(|state| *state == ConnectionState::Connected);
        match tokio::time::timeout(timeout, connected).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(BrokerError::Stopped),
            Err(_) => Err(BrokerError::Unreachable { timeout }),
        }
    }

    /// The version of the server at the other end; empty before the first connection.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Whether the server asks anybody who they are.
    pub(crate) fn knows_users(&self) -> bool {
        self.client.server_info().auth_required
    }

    /// The largest publication that the server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// What happens from now on. The last 1,024 incidents are kept for a reader that is behind.
    pub(crate) fn incidents(&self) -> broadcast::Receiver<Incident> {
        self.incidents.subscribe()
    }

    /// How often the link has broken. Already counted when [`Incident::Disconnected`] is heard.
    pub(crate) fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Acquire)
    }

    /// The runtime that serves this connection.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// What the configuration says, in the client library's words.
async fn options(config: &NatsConfig, role: &str) -> Result<ConnectOptions, BrokerError> {
    let longest = config.reconnect_max_delay;
    let mut options = ConnectOptions::new()
        .name(format!("{} {role}", config.name))
        .connection_timeout(config.connect_timeout)
        .ping_interval(config.ping_interval)
        .custom_inbox_prefix(&config.inbox_prefix)
        .max_reconnects(None)
        .reconnect_delay_callback(move |attempts| delay(attempts, longest, fastrand::f64()))
        .require_tls(config.tls.required);
    if config.tls.first {
        options = options.tls_first();
    }
    if let Some(ca_file) = &config.tls.ca_file {
        options = options.add_root_certificates(ca_file.clone());
    }
    if let Some((certificate, key)) = &config.tls.client_certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options = match &config.credentials {
        Credentials::Anonymous => options,
        Credentials::UserPassword { user, password } => {
            options.user_and_password(user.clone(), password.clone())
        }
        Credentials::Token(token) => options.token(token.clone()),
        Credentials::NkeySeed(seed) => options.nkey(seed.clone()),
        Credentials::File(path) => {
            options
                .credentials_file(path)
                .await
                .map_err(|source| BrokerError::Credentials {
                    path: path.clone(),
                    source,
                })?
        }
    };
    Ok(options)
}

/// What a connection tells, before there is one.
struct Observed {
    state: watch::Receiver<ConnectionState>,
    incidents: broadcast::Sender<Incident>,
    breaks: Arc<AtomicU64>,
    reconnects: Arc<AtomicU64>,
}

impl Observed {
    fn of(self, client: Client) -> Connection {
        Connection {
            client,
            state: self.state,
            incidents: self.incidents,
            breaks: self.breaks,
            reconnects: self.reconnects,
            jetstream: Arc::default(),
            runtime: Handle::current(),
        }
    }
}

fn observed(options: ConnectOptions, role: &str) -> (ConnectOptions, Observed) {
    let (state_sender, state) = watch::channel(ConnectionState::Away);
    let incidents = broadcast::Sender::new(INCIDENTS);
    let breaks = Arc::new(AtomicU64::new(0));
    let reconnects = Arc::new(AtomicU64::new(0));
    let observer = Arc::new(Observer {
        role: role.to_owned(),
        state: state_sender,
        incidents: incidents.clone(),
        breaks: breaks.clone(),
        reconnects: reconnects.clone(),
        was_connected: AtomicBool::new(false),
    });
    let options = options.event_callback(move |event| {
        let observer = observer.clone();
        async move { observer.observe(event) }
    });
    let observed = Observed {
        state,
        incidents,
        breaks,
        reconnects,
    };
    (options, observed)
}

/// Turns the client library's events into our state, incidents and log lines.
struct Observer {
    role: String,
    state: watch::Sender<ConnectionState>,
    incidents: broadcast::Sender<Incident>,
    breaks: Arc<AtomicU64>,
    reconnects: Arc<AtomicU64>,
    was_connected: AtomicBool,
}

impl Observer {
    fn observe(&self, event: Event) {
        let role = self.role.as_str();
        let incident = match event {
            Event::Connected => {
                let again = self.was_connected.swap(true, Ordering::Relaxed);
                self.reconnects.fetch_add(u64::from(again), Ordering::Relaxed);
                self.state.send_replace(ConnectionState::Connected);
                tracing::info!(role, "connected to NATS");
                Incident::Connected
            }
            Event::Disconnected => {
                self.breaks.fetch_add(1, Ordering::AcqRel);
                self.state.send_replace(ConnectionState::Away);
                tracing::warn!(role, "lost the connection to NATS, reconnecting");
                Incident::Disconnected
            }
            Event::ServerError(ServerError::Other(text)) => match refused(&text) {
                Some(Incident::PublicationRefused(subject)) if subject.contains(FORGERY_PROBE) => {
                    tracing::debug!(role, subject, "NATS refuses forged publications, as it should");
                    Incident::PublicationRefused(subject)
                }
                Some(incident) => {
                    tracing::warn!(
                        role,
                        error = text,
                        "NATS refused a subject: check the user's permissions"
                    );
                    incident
                }
                None => return tracing::warn!(role, error = text, "NATS reports an error"),
            },
            Event::ServerError(error) => {
                tracing::warn!(role, %error, "NATS reports an error");
                Incident::Failed(error.to_string())
            }
            Event::ClientError(error) => {
                tracing::warn!(role, %error, "NATS cannot be reached, still trying");
                Incident::Failed(error.to_string())
            }
            Event::LameDuckMode => {
                return tracing::info!(role, "the NATS server is going away, a reconnect follows");
            }
            Event::SlowConsumer(_) | Event::Draining | Event::Closed => return,
        };
        // It fails if nobody listens, which is fine.
        let _ = self.incidents.send(incident);
    }
}

/// What `Permissions Violation for Subscription to "x"` and `… for Publish to "x"` mean (NATS client
/// protocol, `-ERR`).
fn refused(text: &str) -> Option<Incident> {
    let lower = text.to_ascii_lowercase();
    let (_, action) = lower.split_once("permissions violation for ")?;
    // Subjects tell upper from lower case.
    let subject = text.split('"').nth(1)?.to_owned();
    match action {
        action if action.starts_with("subscription to") => Some(Incident::SubscriptionRefused(subject)),
        action if action.starts_with("publish to") => Some(Incident::PublicationRefused(subject)),
        _ => None,
    }
}

/// An error of a first connection, for people.
fn explain(error: &str) -> String {
    // rustls met something else than TLS.
    if error.contains("InvalidContentType") {
        return "the server does not offer TLS, which the configuration requires".to_owned();
    }
    // It may quote what the server sent, line breaks and all.
    error.replace(char::is_control, " ")
}

/// The pause before attempt number `attempts`: none before the first, then doubling from 50 ms up to
/// `longest`, of which a random half (`random` in 0..1) is taken off, so that a fleet does not return
/// as one.
fn delay(attempts: usize, longest: Duration, random: f64) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempts - 2).unwrap_or(u32::MAX).min(16);
    let full = (Duration::from_millis(50) * 2_u32.pow(doublings)).min(longest);
    full.mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_a_reconnect_grows_to_its_limit_and_is_jittered() {
        let longest = Duration::from_secs(8);
        assert_eq!(delay(0, longest, 0.0), Duration::ZERO);
        assert_eq!(delay(1, longest, 0.0), Duration::ZERO);
        assert_eq!(delay(2, longest, 0.0), Duration::from_millis(50));
        assert_eq!(delay(2, longest, 1.0), Duration::from_millis(25));
        assert_eq!(delay(usize::MAX, longest, 0.0), longest);
        assert_eq!(delay(50, longest, 1.0), longest / 2);
    }

    #[test]
    fn a_refusal_names_its_subject_and_what_was_refused() {
        let subject = "Secret.x".to_owned();
        assert_eq!(
            refused("Permissions Violation for Subscription to \"Secret.x\""),
            Some(Incident::SubscriptionRefused(subject.clone()))
        );
        assert_eq!(
            refused("Permissions Violation for Publish to \"Secret.x\""),
            Some(Incident::PublicationRefused(subject))
        );
        assert_eq!(refused("Maximum Payload Violation"), None);
    }
}
