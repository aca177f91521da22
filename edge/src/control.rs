//! What services and operators do to sessions from outside: end them, take subscriptions from them, revoke tokens.
//!
//! An order comes over NATS (`control/remote.rs`) to every edge, or by the admin listener to one, which tells the others.
//! Each edge carries it out on its own sessions (`control/sessions.rs`). What is revoked is remembered in memory
//! (`control/revocations.rs`) and in a key-value bucket of JetStream, which every edge follows (`control/follow.rs`): so
//! it outlives restarts of edges and NATS.
//!
//! Order matters: a revocation is in memory before sessions are walked. So if a session looks whether its token is revoked
//! in the same turn in which it takes its place among the sessions, either it sees the revocation or the walk sees it.

mod follow;
pub(crate) mod order;
mod remote;
pub(crate) mod revocations;
pub(crate) mod sessions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tailwater_broker::bucket::{Bucket, BucketSpec};
use tailwater_broker::listener::Listener;
use tailwater_broker::{BrokerError, Connection, ConnectionState, Health, NatsConfig};
use tailwater_protocol::close::CloseCode;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::order::{Action, Order, Selector};
use self::revocations::{Revocations, Revoked, Stored, Terms};
use self::sessions::{Closed, Description, Filter, Whom, Workers};
use crate::config::ControlConfig;
use crate::time::now;

/// Header of what an edge tells the others: which edge it was.
const EDGE_HEADER: &str = "Tailwater-Edge";

/// What is in the bucket is kept in memory beside the copy for so long: until the copy is sure to be newer.
const STORED_AFTER: u64 = 5 * 60;

/// Carries out orders; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    workers: Workers,
    revocations: Revocations,
    /// How long a revocation is remembered.
    max_age: Duration,
    /// The other edges; nothing: we are alone.
    fleet: Option<Arc<Fleet>>,
    /// What has to come before this edge can be told anything.
    awaited: watch::Receiver<Vec<&'static str>>,
}

/// The way to the other edges, and what is shared with them.
#[derive(Debug)]
struct Fleet {
    listener: Listener,
    /// What stands before the verb of an order.
    subject: Arc<str>,
    /// The name of this edge, unlike any other.
    edge: String,
    bucket: Option<Bucket>,
    /// There was no bucket when it was looked for last. Nobody says so when something is put into it: the edges listen
    /// where it would be stored, so it has takers all the same.
    no_bucket: AtomicBool,
}

/// The tasks that listen; ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Listening(Vec<JoinHandle<()>>);

/// Who gave an order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Nats,
    Admin,
}

/// What came of an order on this edge.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    /// Sessions of this edge that were closed or lost subscriptions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<usize>,
    /// Of a revocation: whether it outlives the edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Control {
    /// Starts to listen, on the runtime that calls this; `connection` is for requests to JetStream, `domain` its domain.
    ///
    /// # Errors
    /// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work.
    pub(crate) fn start(
        config: &ControlConfig,
        workers: Workers,
        nats: &NatsConfig,
        connection: Connection,
        domain: Option<&str>,
    ) -> Result<(Self, Listening), BrokerError> {
        let (awaited, receiver) = watch::channel(Vec::new());
        let mut control = Self {
            workers,
            revocations: Revocations::default(),
            max_age: config.revocation_max_age,
            fleet: None,
            awaited: receiver,
        };
        if !config.enabled {
            return Ok((control, Listening(Vec::new())));
        }
        let listener = Listener::open(nats, "control")?;
        let bucket = bucket_spec(config).map(|spec| Bucket::new(connection, listener.clone(), domain, spec));
        control.fleet = Some(Arc::new(Fleet {
            listener: listener.clone(),
            subject: config.subject.as_str().into(),
            edge: format!("{:016x}", fastrand::u64(..)),
            bucket: bucket.clone(),
            no_bucket: AtomicBool::new(false),
        }));
        let mut tasks = Vec::new();
        let awaited = Arc::new(awaited);
        awaited.send_modify(|awaited| awaited.push(remote::AWAITED));
        tasks.push(tokio::spawn(remote::run(control.clone(), awaited.clone())));
        if let Some(bucket) = bucket {
            awaited.send_modify(|awaited| awaited.push(follow::AWAITED));
            tasks.push(tokio::spawn(follow::run(
                control.clone(),
                listener,
                bucket,
                awaited,
            )));
        }
        Ok((control, Listening(tasks)))
    }

    /// Which tokens are revoked.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// What has to come before this edge can be told anything, and a way to wait for that.
    pub(crate) fn awaited(&self) -> watch::Receiver<Vec<&'static str>> {
        self.awaited.clone()
    }

    /// How the connection is that orders come by, if they do.
    pub(crate) fn state(&self) -> Option<watch::Receiver<ConnectionState>> {
        self.fleet.as_ref().map(|fleet| fleet.listener.state())
    }

    /// How that connection is and was.
    pub(crate) fn health(&self) -> Option<Health> {
        self.fleet.as_ref().map(|fleet| fleet.listener.health())
    }

    /// Describes sessions of this edge, by their ids.
    pub(crate) async fn list(&self, filter: &Filter) -> Vec<Description> {
        self.workers.list(filter).await
    }

    /// Carries out an order on this edge.
    pub(crate) async fn carry_out(&self, order: &Order, asker: Asker) -> Outcome {
        let reason = order.reason.as_ref();
        let outcome = match &order.action {
            Action::Disconnect => {
                let whom = Whom::Selected(order.selector.clone());
                let closed = self.workers.close(&whom, CloseCode::Disconnected, reason).await;
                Outcome::done(closed.sessions)
            }
            Action::Unsubscribe(pattern) => {
                Outcome::done(self.workers.unsubscribe(&order.selector, pattern, reason).await)
            }
            Action::Revoke { expires_at } => self.revoke(&order.selector, *expires_at, reason).await,
        };
        audit(order, asker, &outcome);
        outcome
    }

    /// Tells the other edges; nothing to do where there are none.
    ///
    /// # Errors
    /// [`BrokerError::Away`], [`BrokerError::Stopped`].
    pub(crate) async fn announce(&self, order: &Order) -> Result<(), BrokerError> {
        let Some(fleet) = &self.fleet else { return Ok(()) };
        let subject = format!("{}.{}", fleet.subject, order.verb().name());
        let headers = [(EDGE_HEADER, fleet.edge.as_str())];
        fleet.listener.publish(&subject, &headers, &order.body()).await
    }

    async fn revoke(
        &self,
        selector: &Selector,
        expires_at: Option<u64>,
        reason: Option<&Arc<str>>,
    ) -> Outcome {
        let revoked = match selector {
            Selector::Session(_) => None,
            Selector::User { user, .. } => Some(Revoked::User(user.clone())),
            Selector::Token(token_id) => Some(Revoked::Token(token_id.clone())),
        };
        let issued_before = match selector {
            Selector::User { issued_before, .. } => issued_before.unwrap_or(now() + 1),
            _ => 0,
        };
        let terms = Terms {
            issued_before,
            forget_at: expires_at
                .unwrap_or(u64::MAX)
                .min(now().saturating_add(self.max_age.as_secs())),
        };
        let mut full = None;
        if let Some(revoked) = &revoked {
            full = self.revocations.tell(revoked.clone(), terms).err();
        }
        let whom = Whom::Selected(selector.clone());
        let Closed { sessions, token_id } = self.workers.close(&whom, CloseCode::Revoked, reason).await;
        // A session is known to one edge alone, and so is its token.
        let revoked = revoked.or_else(|| token_id.filter(|_| full.is_none()).map(Revoked::Token));
        let mut outcome = Outcome::done(sessions);
        if let (Selector::Session(_), Some(revoked)) = (selector, &revoked) {
            full = self.revocations.tell(revoked.clone(), terms).err();
        }
        if let Some(revoked) = revoked {
            outcome.stored = Some(false);
            match self.store(&revoked, terms, expires_at, reason).await {
                Ok(stored) => outcome.stored = Some(stored),
                Err(error) => {
                    let error =
                        format!("in force, but lost when the edges restart: it cannot be stored: {error}");
                    (outcome.ok, outcome.error) = (false, Some(error));
                }
            }
        }
        if let Some(full) = full {
            (outcome.ok, outcome.error) = (false, Some(full.to_owned()));
        }
        outcome
    }

    /// Notes whether there is a bucket.
    fn found_bucket(&self, is_there: bool) {
        if let Some(fleet) = &self.fleet {
            fleet.no_bucket.store(!is_there, Ordering::Relaxed);
        }
    }

    /// Writes a revocation into the bucket; false if there is none.
    async fn store(
        &self,
        revoked: &Revoked,
        terms: Terms,
        expires_at: Option<u64>,
        reason: Option<&Arc<str>>,
    ) -> Result<bool, BrokerError> {
        let fleet = self.fleet.as_ref();
        let fleet = fleet.filter(|fleet| !fleet.no_bucket.load(Ordering::Relaxed));
        let Some(bucket) = fleet.and_then(|fleet| fleet.bucket.as_ref()) else {
            return Ok(false);
        };
        let issued_before = match revoked {
            // An older order does not take back a newer one.
            Revoked::User(user) => self
                .revocations
                .issued_before(user)
                .max(Some(terms.issued_before)),
            Revoked::Token(_) => None,
        };
        let (key, revoked_at) = (revoked.key(), now());
        let value = Stored {
            issued_before,
            expires_at,
            revoked_at: Some(revoked_at),
            reason: reason.cloned(),
        };
        let value = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        // Every edge stores what all were told: within a second it is one message.
        let id = format!(
            "{key} {} {} {revoked_at}",
            issued_before.unwrap_or(0),
            expires_at.unwrap_or(0)
        );
        match bucket.put(&key, value, &id).await {
            Ok(()) => {
                self.revocations
                    .shorten(revoked.clone(), revoked_at + STORED_AFTER);
                Ok(true)
            }
            Err(error) => {
                tracing::error!(key, %error, "a revocation cannot be stored, and is lost when the edges restart");
                Err(error)
            }
        }
    }
}

impl Outcome {
    fn done(sessions: usize) -> Self {
        Self {
            ok: true,
            sessions: Some(sessions),
            ..Self::default()
        }
    }

    /// An order that cannot be carried out.
    pub(crate) fn refused(error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    /// As it is answered.
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// The bucket of revocations, if the configuration wants one.
pub fn bucket_spec(config: &ControlConfig) -> Option<BucketSpec> {
    let name = config.revocation_bucket.clone()?;
    Some(BucketSpec {
        name,
        description: "Tailwater: tokens that are not accepted any more",
        max_age: config.revocation_max_age,
        replicas: config.revocation_replicas,
        manage: config.manage_bucket,
    })
}

/// One line of the audit log for each order; each session that it met has its own.
fn audit(order: &Order, asker: Asker, outcome: &Outcome) {
    let (session_id, user, token_id) = match &order.selector {
        Selector::Session(id) => (Some(format!("{id:016x}")), None, None),
        Selector::User { user, .. } => (None, Some(&**user), None),
        Selector::Token(token_id) => (None, None, Some(&**token_id)),
    };
    let channel = match &order.action {
        Action::Unsubscribe(pattern) => Some(pattern.as_str()),
        _ => None,
    };
    tracing::info!(
        target: "audit",
        event = match &order.action {
            Action::Disconnect => "control.disconnect",
            Action::Unsubscribe(_) => "control.unsubscribe",
            Action::Revoke { .. } => "control.revoke",
        },
        asker = match asker {
            Asker::Nats => "nats",
            Asker::Admin => "admin",
        },
        session_id,
        user,
        token_id,
        channel,
        reason = order.reason.as_deref(),
        sessions = outcome.sessions,
        stored = outcome.stored,
        error = outcome.error.as_deref(),
    );
}
