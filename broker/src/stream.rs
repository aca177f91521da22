//! The streams behind durable channels: created, or compared with what there is, and watched over until each is as it
//! must be.
//!
//! A stream holds the subjects of its namespaces and one private subject, on which its epoch is kept. It republishes
//! what it has stored, with the offset in a header, below [`LIVE_PREFIX`]: that is where live publications are read.
//! What may be changed of an existing stream, and what is refused, stands in `stream/judge.rs`.

pub(crate) mod api;
mod forge;
mod inspect;
mod judge;
mod plan;
mod provide;
mod provision;
mod republish;
pub(crate) mod subjects;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tailwater_protocol::position::Epoch;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use self::api::JetStream;
use crate::connection::{Connection, ConnectionState};
use crate::error::BrokerError;

pub use self::inspect::{Finding, Inspection, inspect};
pub use self::provide::provide;

/// Where streams of ours republish to: what is published on `a.b` comes on `_tw.live.a.b`.
pub const LIVE_PREFIX: &str = "_tw.live";

/// The pause after the first failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A stream as the configuration wants it.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// Its name in JetStream.
    pub name: Arc<str>,
    /// Its subjects, none of which overlaps another; without the one of the sync message.
    pub subjects: Vec<String>,
    /// Publications kept of one subject; `None`: no limit.
    pub max_messages_per_subject: Option<NonZeroU64>,
    /// How long publications are kept; `None`: no limit.
    pub max_age: Option<Duration>,
    /// Size of the stream in bytes; `None`: no limit.
    pub max_bytes: Option<NonZeroU64>,
    /// Where NATS keeps it.
    pub storage: Storage,
    /// Servers that hold a copy.
    pub replicas: u32,
    /// Whether publishers may set `Nats-TTL`.
    pub allow_message_ttl: bool,
    /// How long a repeated `Nats-Msg-Id` is recognised.
    pub duplicate_window: Duration,
    /// Whether it is created and changed, or only verified.
    pub manage: bool,
    /// A lost last message of a quiet channel is noticed within this time.
    pub audit_interval: Duration,
}

/// Where NATS keeps a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory.
    Memory,
}

impl Storage {
    /// As JetStream writes it.
    fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Memory => "memory",
        }
    }
}

/// A stream that is as durable channels need it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its name in JetStream.
    pub name: Arc<str>,
    /// What is published on `a.b` comes on this, a dot and `a.b`; usually `_tw.live`.
    pub live_prefix: Arc<str>,
    /// The subject of the sync message: `_tw.sync.<NAME>`.
    pub sync_subject: Arc<str>,
    /// Prefix of the subjects of JetStream's API: `$JS.API`, or `$JS.<domain>.API`.
    pub api_prefix: Arc<str>,
    /// Publications that the stream keeps of one subject; `None`: no limit.
    pub max_messages_per_subject: Option<u64>,
    /// A lost last message of a quiet channel is to be noticed within this time.
    pub audit_interval: Duration,
    /// Its epoch at the time when it was provisioned.
    pub epoch: Epoch,
}

/// How far a stream has come.
#[derive(Clone, Debug)]
pub enum StreamState {
    /// It is not as it should be yet, and is being tried again.
    Waiting {
        /// What the last attempt met, for operators; `None` before the end of the first.
        reason: Option<String>,
    },
    /// It is as it should be.
    Ready(Arc<Stream>),
}

/// The streams of a configuration and how far each has come; a cheap handle.
#[derive(Clone, Debug)]
pub struct Streams {
    states: Arc<BTreeMap<Arc<str>, watch::Sender<StreamState>>>,
    all_ready: watch::Receiver<bool>,
    /// A stream seems to be gone.
    doubted: Arc<Notify>,
}

/// The task that provisions the streams; ended when it is dropped.
#[derive(Debug)]
pub struct Provisioning(JoinHandle<()>);

impl Streams {
    /// Provisions every stream in the background, on the runtime that calls this, and again with growing pauses of up
    /// to ten seconds, until each is ready. Then asks NATS once whether live publications could be forged, and warns in
    /// the log. `domain` is the JetStream domain.
    pub fn start(
        connection: Connection,
        domain: Option<&str>,
        specs: Vec<StreamSpec>,
    ) -> (Self, Provisioning) {
        let waiting = |spec: &StreamSpec| {
            let state = watch::Sender::new(StreamState::Waiting { reason: None });
            (spec.name.clone(), state)
        };
        let (ready, all_ready) = watch::channel(specs.is_empty());
        let streams = Self {
            states: Arc::new(specs.iter().map(waiting).collect()),
            all_ready,
            doubted: Arc::default(),
        };
        let jetstream = JetStream::new(connection, domain);
        let (states, doubted) = (streams.states.clone(), streams.doubted.clone());
        let task = tokio::spawn(async move {
            run(&jetstream, &specs, &states, ready).await;
            loop {
                doubted.notified().await;
                provision_all(&jetstream, &specs, &states).await;
            }
        });
        (streams, Provisioning(task))
    }

    /// How far the stream has come; `None`: no such stream is configured.
    pub fn state(&self, name: &str) -> Option<StreamState> {
        self.states.get(name).map(|state| state.borrow().clone())
    }

    /// The stream, if it is ready.
    pub fn ready(&self, name: &str) -> Option<Arc<Stream>> {
        match self.state(name)? {
            StreamState::Ready(stream) => Some(stream),
            StreamState::Waiting { .. } => None,
        }
    }

    /// Nobody answers for a stream: looks whether all are still there, and creates again what is gone.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Whether all streams have become ready, and a way to wait for that.
    pub fn all_ready(&self) -> watch::Receiver<bool> {
        self.all_ready.clone()
    }

    /// A stream that is not ready, and why, as far as that is known.
    pub fn waiting(&self) -> Option<(Arc<str>, Option<String>)> {
        self.states
            .iter()
            .find_map(|(name, state)| match &*state.borrow() {
                StreamState::Waiting { reason } => Some((name.clone(), reason.clone())),
                StreamState::Ready(_) => None,
            })
    }
}

impl Provisioning {
    /// Ends it and waits for that. Streams that are ready stay as they are.
    pub async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Provisioning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The subject of the sync message of a stream.
pub(crate) fn sync_subject(stream: &str) -> String {
    format!("_tw.sync.{stream}")
}

async fn provision_all(
    jetstream: &JetStream,
    specs: &[StreamSpec],
    states: &BTreeMap<Arc<str>, watch::Sender<StreamState>>,
) -> Vec<Arc<Stream>> {
    let each = specs.iter().filter_map(|spec| {
        let state = states.get(&spec.name)?;
        Some(Box::pin(until_ready(jetstream, spec, state)))
    });
    join_all(each).await
}

async fn run(
    jetstream: &JetStream,
    specs: &[StreamSpec],
    states: &BTreeMap<Arc<str>, watch::Sender<StreamState>>,
    all_ready: watch::Sender<bool>,
) {
    let streams = provision_all(jetstream, specs, states).await;
    all_ready.send_replace(true);
    let prefixes: BTreeSet<_> = streams.iter().map(|stream| stream.live_prefix.clone()).collect();
    for prefix in prefixes {
        if forge::is_possible(jetstream, &prefix).await != Ok(true) {
            continue;
        }
        if !jetstream.connection().knows_users() {
            tracing::info!(
                "NATS knows no users, so everybody may publish everything, live publications included"
            );
        } else {
            tracing::warn!(
                subjects = %format_args!("{prefix}.>"),
                "NATS lets us publish where live publications come from, so others may forge them: deny every user \
                 to publish there, `tailwater check` prints the permissions"
            );
        }
    }
}

/// Tries until it succeeds. A reason is logged when it is another than the last time.
async fn until_ready(
    jetstream: &JetStream,
    spec: &StreamSpec,
    state: &watch::Sender<StreamState>,
) -> Arc<Stream> {
    let stream = &*spec.name;
    let mut connection = jetstream.connection().state();
    let mut pause = FIRST_PAUSE;
    let mut known = None;
    loop {
        if !jetstream.connection().is_connected() {
            // The connection itself tells the log about that.
            let reason = Some(BrokerError::Away.to_string());
            state.send_replace(StreamState::Waiting { reason });
            let connected = connection.wait_for(|state| *state == ConnectionState::Connected);
            if connected.await.is_err() {
                // Nobody holds the connection any more.
                std::future::pending::<()>().await;
            }
            (pause, known) = (FIRST_PAUSE, None);
        }
        match provision::provision(jetstream, spec).await {
            Ok(provisioned) => {
                for done in &provisioned.done {
                    tracing::info!(stream, "the stream was {done}");
                }
                for warning in &provisioned.warnings {
                    tracing::warn!(stream, "the stream serves durable channels, but {warning}");
                }
                let ready = Arc::new(provisioned.stream);
                tracing::info!(stream, epoch = %ready.epoch, "the stream is ready");
                state.send_replace(StreamState::Ready(ready.clone()));
                return ready;
            }
            Err(error) => {
                let reason = Some(describe(&error));
                if reason != known {
                    tracing::warn!(stream, error = reason, "the stream is not ready, trying again");
                    state.send_replace(StreamState::Waiting {
                        reason: reason.clone(),
                    });
                    known = reason;
                }
            }
        }
        // A random part, so that a fleet does not ask as one.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// An error with all its causes.
fn describe(error: &BrokerError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
