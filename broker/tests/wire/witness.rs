//! A connection whose handler writes down what it hears.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tailwater_broker::config::{Credentials, NatsConfig, TlsConfig};
use tailwater_broker::error::BrokerError;
use tailwater_broker::wire::{
    self, Handler, Incident, Message, ServerOrder, SubscriptionId, Subscriptions, Wire,
};
use tokio::task::JoinHandle;

/// The longest that anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A payload at which the handler does what no handler may: it sleeps, for three seconds.
pub(crate) const SLEEP: &[u8] = b"sleep";

/// What a handler was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Message {
        label: String,
        subject: String,
        headers: Vec<u8>,
        payload: Vec<u8>,
    },
    Confirmed(String),
    Refused(String),
    Incident(Incident),
}

#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Vec<Heard>>>);

impl Witness {
    pub(crate) fn all(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.0.lock().expect("no test has panicked with it")
    }

    fn write(&self, heard: Heard) {
        self.all().push(heard);
    }

    /// Waits until this was heard.
    pub(crate) async fn hears(&self, wanted: &Heard) {
        self.hears_where(&format!("{wanted:?}"), |heard| heard == wanted)
            .await;
    }

    pub(crate) async fn hears_where(&self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let find = async || self.all().iter().find(|heard| wanted(heard)).cloned();
        match tokio::time::timeout(DEADLINE, poll(find)).await {
            Ok(heard) => heard,
            Err(_) => {
                let mut heard = self.all().clone();
                let all = heard.len();
                heard.retain(|each| !matches!(each, Heard::Message { .. }));
                panic!(
                    "not heard: {what}; but {} messages and {heard:?}",
                    all - heard.len()
                );
            }
        }
    }

    pub(crate) fn payloads(&self, label: &str) -> Vec<String> {
        let all = self.all();
        let of = all.iter().filter_map(|heard| match heard {
            Heard::Message {
                label: at, payload, ..
            } if at == label => Some(payload),
            _ => None,
        });
        of.map(|payload| String::from_utf8_lossy(payload).into_owned())
            .collect()
    }

    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let all = self.all();
        let of = all.iter().filter_map(|heard| match heard {
            Heard::Incident(incident) => Some(incident.clone()),
            _ => None,
        });
        of.collect()
    }
}

impl Handler for Witness {
    type Subscription = String;

    fn message(&mut self, _: SubscriptionId, label: &mut String, message: &Message<'_>) {
        if message.payload == SLEEP {
            std::thread::sleep(Duration::from_secs(3));
        }
        self.write(Heard::Message {
            label: label.clone(),
            subject: String::from_utf8_lossy(message.subject).into_owned(),
            headers: message.headers.as_bytes().to_vec(),
            payload: message.payload.to_vec(),
        });
    }

    fn confirmed(&mut self, _: SubscriptionId, label: &mut String) {
        self.write(Heard::Confirmed(label.clone()));
    }

    fn refused(&mut self, _: SubscriptionId, label: String, _: &str) {
        self.write(Heard::Refused(label));
    }

    fn incident(&mut self, incident: &Incident, _: &mut Subscriptions<String>) {
        self.write(Heard::Incident(incident.clone()));
    }
}

/// A connection under test; ends with it.
pub(crate) struct Client {
    pub(crate) wire: Wire<String>,
    pub(crate) witness: Witness,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn config(servers: &[String]) -> NatsConfig {
    NatsConfig {
        servers: servers.to_vec(),
        name: "test".to_owned(),
        credentials: Credentials::Anonymous,
        tls: TlsConfig::default(),
        inbox_prefix: "_INBOX_edge".to_owned(),
        connect_timeout: Duration::from_secs(2),
        ping_interval: Duration::from_millis(200),
        reconnect_max_delay: Duration::from_millis(300),
    }
}

impl Client {
    pub(crate) fn open(config: &NatsConfig) -> Result<Self, BrokerError> {
        let witness = Witness::default();
        let (wire, driver) = wire::open(config, "live", ServerOrder::AsGiven, witness.clone())?;
        let task = tokio::spawn(driver.run());
        Ok(Self { wire, witness, task })
    }

    pub(crate) async fn connect(config: &NatsConfig) -> Self {
        let client = Self::open(config).expect("a good configuration");
        let connected = client.wire.wait_until_connected(DEADLINE).await;
        connected.unwrap_or_else(|error| panic!("{error}: {:?}", client.wire.failure()));
        client
    }

    /// Subscribes and waits until the server has confirmed it. The label is the subject.
    pub(crate) async fn subscribe(&self, subject: &str) -> SubscriptionId {
        let id = self
            .wire
            .subscribe(subject, subject.to_owned())
            .await
            .expect("a good subject");
        self.witness.hears(&Heard::Confirmed(subject.to_owned())).await;
        id
    }

    /// Waits until as many payloads have come on this subscription, and nothing else.
    pub(crate) async fn receives(&self, label: &str, payloads: &[&str]) {
        eventually(&format!("{payloads:?} on {label}"), async || {
            (self.witness.payloads(label).len() >= payloads.len()).then_some(())
        })
        .await;
        assert_eq!(self.witness.payloads(label), payloads);
    }

    /// Waits for a failed attempt, and gives its reason.
    pub(crate) async fn failure(&self) -> String {
        let failed = |heard: &Heard| matches!(heard, Heard::Incident(Incident::Failed(_)));
        match self.witness.hears_where("a failure", failed).await {
            Heard::Incident(Incident::Failed(reason)) => reason,
            _ => unreachable!(),
        }
    }
}

/// Whether a connection with this configuration is accepted; else why not.
pub(crate) async fn accepted(config: &NatsConfig) -> Result<(), String> {
    let client = Client::open(config).map_err(|error| format!("{error:?}"))?;
    tokio::select! {
        connected = client.wire.wait_until_connected(DEADLINE) => connected.map_err(|error| error.to_string()),
        reason = client.failure() => Err(reason),
    }
}

/// Tries until there is something.
pub(crate) async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    match tokio::time::timeout(DEADLINE, poll(condition)).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

async fn poll<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        tick.tick().await;
    }
}

/// A file with this content, in the folder.
pub(crate) fn file(folder: &std::path::Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("written");
    path
}

pub(crate) fn since(begin: Instant) -> Duration {
    begin.elapsed()
}
