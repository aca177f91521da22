//! Live publications: one NATS subscription for each distinct channel of the process, shared by all
//! sessions of all workers.
//!
//! The feed is a thread of its own. It owns the connection for live subscriptions, encodes what arrives
//! once per encoding in use (`reader`) and hands it to the workers (`inbox`). It never waits for a worker.
//!
//! Durable channels lose nothing: `sequence` sees what is missing, and `stream_feed` finds out up to where a channel
//! has come after anything that may have broken the order; the workers then read what they lack (see
//! [`history`](crate::history)).
//!
//! What the feed can lose on a live channel, it announces: when the link to NATS breaks (NATS also cuts a reader that is too slow),
//! every interest gets a notice of loss once it is in place again, since nobody knows what was missed.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod inbox;
mod interest;
mod pending;
mod reader;
mod sequence;
mod stream_feed;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::{DashMap, Entry};
use tailwater_protocol::channel::Channel;
use tailwater_protocol::encoding::Encoding;
use tokio::sync::{mpsc, watch};

pub use inbox::{Delivery, Inbox, Origin};
pub use interest::{Interest, InterestId, Membership, Place, Terms};

pub use crate::timeline::Known;

use crate::config::NatsConfig;
use crate::connection::{Connection, ConnectionState};
use crate::error::BrokerError;
use crate::health::Health;
use crate::history::History;
use crate::stream::{Stream, Streams};
use crate::subject::Subject;
use crate::timeline::Timeline;
use interest::{InterestKey, Progress};

/// How long a subscriber waits until NATS has confirmed the interest.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that wait for the feed's thread; a full queue makes the subscriber wait, within its deadline.
const REQUESTS: usize = 4096;

type Registry = Arc<DashMap<InterestKey, Arc<Interest>>>;

/// The workers' side of the feed.
#[derive(Clone, Debug)]
pub struct FeedHandle {
    registry: Registry,
    requests: mpsc::Sender<Arc<Interest>>,
    timelines: Arc<DashMap<Arc<str>, Arc<Timeline>>>,
    next_id: Arc<AtomicU64>,
    health: Health,
    gaps: Arc<AtomicU64>,
}

impl FeedHandle {
    /// Adds a subscriber of `worker` that can read `encoding` to the interest in `channel`, and waits until
    /// the NATS server that we are connected to has confirmed it: what is published through that
    /// server from then on arrives.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] if that takes more than five seconds, [`BrokerError::Refused`] if
    /// NATS does not let us, [`BrokerError::Stopped`] while the process ends.
    pub async fn join(
        &self,
        worker: usize,
        encoding: impl Into<Encoding>,
        channel: &Channel,
        terms: &Terms,
    ) -> Result<Membership, BrokerError> {
        let membership = self.enter(worker, encoding.into(), channel, terms);
        let waited = tokio::time::timeout(JOIN_TIMEOUT, self.confirm(membership.interest())).await;
        waited.unwrap_or(Err(BrokerError::Unavailable {
            timeout: JOIN_TIMEOUT,
        }))?;
        Ok(membership)
    }

    /// What this process knows of a stream. Nobody follows a stream of which no channel was ever subscribed to here: of
    /// that it is what was true when the stream was provisioned.
    pub fn known(&self, stream: &Stream) -> Known {
        let timeline = self.timelines.get(&stream.name);
        timeline.map_or_else(|| Known::at_first(stream), |timeline| timeline.known())
    }

    /// How the connection for live subscriptions is.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.health.state()
    }

    /// How the connection for live subscriptions is and was.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Where publications of durable channels did not arrive, and what was missing was left to be read: how often so far.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Becomes a member of an existing interest or of a new one.
    fn enter(&self, worker: usize, encoding: Encoding, channel: &Channel, terms: &Terms) -> Membership {
        let subject = terms.prefix.subject(channel);
        let timeline = terms.stream.as_ref().map(|stream| {
            let timeline = self.timelines.entry(stream.name.clone());
            timeline
                .or_insert_with(|| Arc::new(Timeline::new(stream.clone())))
                .clone()
        });
        let key = InterestKey {
            channel: channel.clone(),
            // What a stream republishes says where it is stored.
            subject: match &timeline {
                Some(timeline) => Subject::behind(&timeline.stream.live_prefix, &subject),
                None => subject,
            },
        };
        let entry = self.registry.entry(key.clone());
        if let Entry::Occupied(occupied) = &entry
            && let Some(membership) = occupied.get().join(worker, encoding)
        {
            return membership;
        }
        let id = InterestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let interest = Arc::new(Interest::new(id, key, terms.clone(), timeline));
        let membership = interest.join(worker, encoding).expect("a new interest is open");
        entry.insert(interest);
        membership
    }

    /// Asks the feed's thread for the subscription if it is new, and waits for the server's confirmation.
    async fn confirm(&self, interest: &Arc<Interest>) -> Result<(), BrokerError> {
        let mut progress = interest.progress.subscribe();
        if *progress.borrow() == Progress::Opening {
            self.requests
                .send(interest.clone())
                .await
                .map_err(|_| BrokerError::Stopped)?;
        }
        let settled = progress.wait_for(|progress| *progress != Progress::Opening).await;
        match settled.map(|progress| *progress) {
            Ok(Progress::Active) => Ok(()),
            Ok(_) => Err(BrokerError::Refused {
                subject: interest.key.subject.to_string(),
            }),
            Err(_) => Err(BrokerError::Stopped),
        }
    }
}

/// The feed's thread, and the way to end it.
#[derive(Debug)]
pub struct Feed {
    handle: FeedHandle,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl Feed {
    /// Starts the thread, which connects to NATS in the background and feeds one inbox per worker.
    /// An interest that nobody wants any more is kept in NATS for `linger`. What durable channels bring goes into the
    /// ring of `history` too; `connection` is used where a stream's epoch is in doubt, and `streams` hears of streams
    /// that seem to be gone. With `traces`, publications that their publishers have sampled are told apart.
    ///
    /// # Errors
    /// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work,
    /// [`BrokerError::Thread`] if there is no thread to be had.
    pub async fn start(
        config: NatsConfig,
        inboxes: Vec<Arc<Inbox>>,
        linger: Duration,
        history: History,
        connection: Connection,
        streams: Streams,
        traces: bool,
    ) -> Result<Self, BrokerError> {
        let registry = Registry::default();
        let gaps = Arc::<AtomicU64>::default();
        let (requests, request_queue) = mpsc::channel(REQUESTS);
        let (stop, stopped) = watch::channel(false);
        let (ready, opened) = tokio::sync::oneshot::channel();
        let work = thread::Work {
            config,
            registry: registry.clone(),
            inboxes: inboxes.into(),
            linger,
            history,
            connection,
            streams,
            gaps: gaps.clone(),
            traces,
            requests: request_queue,
            stopped,
        };
        let thread = std::thread::Builder::new()
            .name("tailwater-feed".to_owned())
            .spawn(move || thread::run(work, ready))
            .map_err(BrokerError::Thread)?;
        let health = opened.await.map_err(|_| BrokerError::Stopped)??;
        let handle = FeedHandle {
            registry,
            requests,
            timelines: Arc::default(),
            next_id: Arc::default(),
            health,
            gaps,
        };
        Ok(Self { handle, stop, thread })
    }

    /// The workers' side.
    pub fn handle(&self) -> FeedHandle {
        self.handle.clone()
    }

    /// Ends the thread and waits for it. Blocks for a moment: for the end of the process.
    pub fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the feed's thread panicked");
        }
    }
}
