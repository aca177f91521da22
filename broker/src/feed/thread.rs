//! The feed's thread: owns the connection for live subscriptions, opens interests in NATS and closes
//! those that nobody wants any more.
//!
//! **Confirmation.** The server handles a connection's lines in order, so the PONG to a PING that was
//! written behind a subscription proves that this server has it, or has refused it before. One PING
//! confirms all that were asked for until then.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use super::Registry;
use super::inbox::Inbox;
use super::interest::{Interest, InterestId, Progress};
use super::pending::{Held, Outlets, Pending};
use super::reader::Reader;
use super::stream_feed::{Asks, StreamFeed};
use crate::config::NatsConfig;
use crate::connection::Connection;
use crate::error::BrokerError;
use crate::health::Health;
use crate::history::History;
use crate::stream::Streams;
use crate::wire::{self, Handler, ServerOrder, SubscriptionId, Wire};

/// Interests that nobody wants are looked for this often, or twice a linger if that is longer.
const SWEEP: Duration = Duration::from_millis(500);

/// What the thread works with.
pub(super) struct Work {
    pub(super) config: NatsConfig,
    pub(super) registry: Registry,
    pub(super) inboxes: Arc<[Arc<Inbox>]>,
    pub(super) linger: Duration,
    pub(super) history: History,
    pub(super) connection: Connection,
    pub(super) streams: Streams,
    pub(super) gaps: Arc<AtomicU64>,
    pub(super) traces: bool,
    pub(super) requests: mpsc::Receiver<Arc<Interest>>,
    pub(super) stopped: watch::Receiver<bool>,
}

type Opened = oneshot::Sender<Result<Health, BrokerError>>;

/// The thread's body.
pub(super) fn run(work: Work, opened: Opened) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = opened.send(Err(BrokerError::Thread(error)));
            return;
        }
    };
    let held = Rc::new(Held::default());
    let outlets = Rc::new(Outlets {
        inboxes: work.inboxes.clone(),
        history: work.history.clone(),
        gaps: work.gaps.clone(),
        traces: work.traces,
    });
    let reader = Reader::new(work.registry.clone(), outlets.clone(), held.clone());
    match wire::open(&work.config, "live", ServerOrder::Shuffled, reader) {
        Ok((wire, driver)) => {
            let _ = opened.send(Ok(wire.health()));
            let mut stopped = work.stopped.clone();
            let asks = Rc::new(Asks {
                live: wire.clone(),
                connection: work.connection.clone(),
                streams: work.streams.clone(),
                outlets: outlets.clone(),
            });
            let opener = Opener {
                work,
                wire,
                asks,
                open: HashMap::new(),
                streams: HashMap::new(),
                rounds: JoinSet::new(),
            };
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                    () = driver.run() => {}
                    () = opener.run() => {}
                    () = held.run(&outlets) => {}
                }
            });
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    }
}

/// Keeps NATS's view of what we want in step with the registry.
struct Opener {
    work: Work,
    wire: Wire<<Reader as Handler>::Subscription>,
    asks: Rc<Asks>,
    /// Subscriptions in NATS, by interest.
    open: HashMap<InterestId, (Arc<Interest>, SubscriptionId)>,
    /// The streams of durable interests, by name. One that has been needed once stays.
    streams: HashMap<Arc<str>, Rc<StreamFeed>>,
    /// One task a stream; ends with the opener.
    rounds: JoinSet<()>,
}

impl Opener {
    async fn run(mut self) {
        let mut requests = Vec::new();
        let mut sweep = tokio::time::interval(SWEEP.max(self.work.linger / 2));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                count = self.work.requests.recv_many(&mut requests, 256) => {
                    if count == 0 {
                        return;
                    }
                    for interest in requests.drain(..) {
                        self.open(interest).await;
                    }
                }
                _ = sweep.tick() => self.sweep().await,
            }
        }
    }

    async fn open(&mut self, interest: Arc<Interest>) {
        if self.open.contains_key(&interest.id) {
            return;
        }
        let stream = self.stream(&interest);
        let pending = Pending::new(interest.clone(), stream.clone());
        match self
            .wire
            .subscribe(interest.key.subject.as_str(), pending.clone())
            .await
        {
            Ok(id) => {
                // Only now: the barrier of a round that counts it must travel behind its subscription.
                if let Some(stream) = &stream {
                    stream.add(interest.id, &pending);
                }
                self.open.insert(interest.id, (interest, id));
            }
            Err(error) => {
                tracing::error!(subject = %interest.key.subject, %error, "cannot subscribe in NATS");
                interest.close();
                self.unregister(&interest);
                interest.progress.send_replace(Progress::Refused);
            }
        }
    }

    /// The stream of a durable interest, which settles and audits from now on.
    fn stream(&mut self, interest: &Interest) -> Option<Rc<StreamFeed>> {
        let timeline = &interest.durable.as_ref()?.timeline;
        let known = self.streams.get(&timeline.stream.name);
        if let Some(known) = known {
            return Some(known.clone());
        }
        let stream = Rc::new(StreamFeed::new(timeline.clone()));
        self.rounds.spawn_local(stream.clone().run(self.asks.clone()));
        self.streams.insert(timeline.stream.name.clone(), stream.clone());
        Some(stream)
    }

    /// Unsubscribes what nobody has wanted for as long as the linger, and forgets what NATS has refused.
    async fn sweep(&mut self) {
        let Some(before) = Instant::now().checked_sub(self.work.linger) else {
            return;
        };
        for interest in self.work.registry.iter() {
            interest.close_if_idle_since(before);
        }
        let closed = self.open.extract_if(|_, (interest, _)| interest.is_closed());
        for (_, (interest, id)) in closed.collect::<Vec<_>>() {
            self.unregister(&interest);
            if let Some(durable) = &interest.durable {
                if let Some(stream) = self.streams.get(&durable.timeline.stream.name) {
                    stream.remove(interest.id);
                }
                self.work.history.spans().forget(interest.id);
            }
            if *interest.progress.borrow() != Progress::Refused {
                // Fails only when the connection has ended for good, and all with it.
                let _ = self.wire.unsubscribe(id).await;
            }
        }
        // What was closed before it was ever opened.
        self.work.registry.retain(|_, interest| !interest.is_closed());
    }

    fn unregister(&self, interest: &Arc<Interest>) {
        self.work
            .registry
            .remove_if(&interest.key, |_, present| Arc::ptr_eq(present, interest));
    }
}
