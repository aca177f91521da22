//! The feed's thread: subscribes and unsubscribes in NATS, confirms interest, announces losses.
//!
//! **Confirmation.** The client library has no PING of its own, so the thread publishes a number to an
//! inbox of its own on the same connection. The server handles one connection's lines in order: when
//! the number comes back, every subscription before it is in place on that server. One number confirms
//! all that were asked for until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use tailwater_protocol::push::LostReason;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::inbox::{Delivery, Inbox};
use super::interest::{Interest, InterestId, Progress};
use super::{Registry, pump};
use crate::config::NatsConfig;
use crate::connection::{Connection, ConnectionState, Incident};
use crate::error::BrokerError;

/// Interests that nobody wants are looked for this often, or twice a linger if that is longer.
const SWEEP: Duration = Duration::from_millis(500);

/// What the thread works with.
pub(super) struct Work {
    pub(super) config: NatsConfig,
    pub(super) registry: Registry,
    pub(super) inboxes: Arc<[Arc<Inbox>]>,
    pub(super) linger: Duration,
    pub(super) requests: mpsc::Receiver<Arc<Interest>>,
    pub(super) stopped: watch::Receiver<bool>,
}

type Opened = oneshot::Sender<Result<watch::Receiver<ConnectionState>, BrokerError>>;

/// The thread's body.
pub(super) fn run(work: Work, opened: Opened) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = opened.send(Err(BrokerError::Thread(error)));
            return;
        }
    };
    runtime.block_on(async {
        match connect(&work.config).await {
            Ok((connection, incidents, echo)) => {
                let _ = opened.send(Ok(connection.state()));
                Feeder::new(work, connection, incidents, echo).run().await;
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        }
    });
}

/// The inbox by which subscriptions are confirmed.
struct Echo {
    subject: String,
    subscriber: Subscriber,
}

async fn connect(config: &NatsConfig) -> Result<(Connection, mpsc::Receiver<Incident>, Echo), BrokerError> {
    let (connection, incidents) = Connection::open_observed(config, "live").await?;
    let subject = connection.client().new_inbox();
    let subscribed = connection.client().subscribe(subject.clone()).await;
    let subscriber = subscribed.map_err(|error| BrokerError::Setup(Box::new(error)))?;
    Ok((connection, incidents, Echo { subject, subscriber }))
}

/// The state of the thread.
struct Feeder {
    work: Work,
    connection: Connection,
    incidents: mpsc::Receiver<Incident>,
    echo: Echo,
    /// Subscriptions in NATS, by interest.
    open: HashMap<InterestId, (Arc<Interest>, AbortHandle)>,
    pumps: JoinSet<()>,
    /// Interests that wait for the number at their side to come back.
    unconfirmed: Vec<(u64, Arc<Interest>)>,
    /// The last number sent.
    number: u64,
    /// After a reconnect: the number whose return shows that NATS sends again, so that a loss can be told.
    loss_until: Option<u64>,
    was_connected: bool,
}

impl Feeder {
    fn new(work: Work, connection: Connection, incidents: mpsc::Receiver<Incident>, echo: Echo) -> Self {
        Self {
            work,
            connection,
            incidents,
            echo,
            open: HashMap::new(),
            pumps: JoinSet::new(),
            unconfirmed: Vec::new(),
            number: 0,
            loss_until: None,
            was_connected: false,
        }
    }

    async fn run(mut self) {
        let mut stopped = self.work.stopped.clone();
        // From outside: while NATS is away, the client library's queue may be full, and every step wait for it.
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            () = self.feed() => {}
        }
        self.pumps.shutdown().await;
    }

    async fn feed(&mut self) {
        let mut requests = Vec::new();
        let mut sweep = tokio::time::interval(SWEEP.max(self.work.linger / 2));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                count = self.work.requests.recv_many(&mut requests, 256) => {
                    if count == 0 {
                        break;
                    }
                    self.serve(requests.drain(..)).await;
                }
                Some(message) = self.echo.subscriber.next() => self.confirmed(&message.payload).await,
                Some(incident) = self.incidents.recv() => self.handle(incident).await,
                Some(_) = self.pumps.join_next() => {}
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    async fn serve(&mut self, opening: impl Iterator<Item = Arc<Interest>>) {
        let before = self.unconfirmed.len();
        for interest in opening {
            self.open(interest).await;
        }
        if self.unconfirmed.len() > before {
            self.ask_for_confirmation().await;
        }
    }

    async fn open(&mut self, interest: Arc<Interest>) {
        if self.open.contains_key(&interest.id) {
            return;
        }
        match self
            .connection
            .client()
            .subscribe(interest.key.subject.as_str().to_owned())
            .await
        {
            Ok(subscriber) => {
                let inboxes = self.work.inboxes.clone();
                let handle = self
                    .pumps
                    .spawn(pump::pump(subscriber, interest.clone(), inboxes));
                self.open.insert(interest.id, (interest.clone(), handle));
                self.unconfirmed.push((self.number + 1, interest));
            }
            Err(error) => {
                tracing::error!(subject = %interest.key.subject, %error, "cannot subscribe in NATS");
                interest.progress.send_replace(Progress::Refused);
                self.forget(&interest);
            }
        }
    }

    /// Sends the next number after the subscriptions.
    async fn ask_for_confirmation(&mut self) {
        self.number += 1;
        let number = Bytes::copy_from_slice(&self.number.to_be_bytes());
        let published = self
            .connection
            .client()
            .publish(self.echo.subject.clone(), number)
            .await;
        if let Err(error) = published {
            tracing::warn!(%error, "cannot ask NATS to confirm subscriptions");
        }
    }

    async fn confirmed(&mut self, payload: &[u8]) {
        let Ok(number) = payload.try_into().map(u64::from_be_bytes) else {
            return;
        };
        // A refusal comes before the number, but by way of the client library's task for events. That stands in this
        // runtime's queue already, before a task that is spawned now.
        let _ = tokio::spawn(async {}).await;
        while let Ok(incident) = self.incidents.try_recv() {
            self.handle(incident).await;
        }
        self.unconfirmed.retain(|(wanted, interest)| {
            let done = *wanted <= number;
            if done {
                interest.progress.send_replace(Progress::Active);
            }
            !done
        });
        if self.loss_until.is_some_and(|wanted| wanted <= number) {
            self.loss_until = None;
            self.announce(LostReason::NatsDisconnected);
        }
    }

    async fn handle(&mut self, incident: Incident) {
        match incident {
            Incident::Connected => {
                // A number sent over the broken link may be gone with it.
                if self.was_connected || !self.unconfirmed.is_empty() {
                    self.ask_for_confirmation().await;
                }
                // Told when NATS sends again: who reads the state anew on the notice must not miss what
                // is published while the subscriptions are still on their way.
                if self.was_connected {
                    self.loss_until = Some(self.number);
                }
                self.was_connected = true;
            }
            Incident::Disconnected | Incident::Failed(_) | Incident::PublicationRefused(_) => {}
            Incident::SlowConsumer => self.announce(LostReason::NatsSlowConsumer),
            Incident::SubscriptionRefused(subject) => self.refuse(&subject),
        }
    }

    /// Fails those who wait for this subject. One that was active before stays: the client library asks
    /// for it again at every reconnect, and the refusal is in the log.
    fn refuse(&mut self, subject: &str) {
        let waiting = self
            .unconfirmed
            .extract_if(.., |(_, interest)| interest.key.subject.as_str() == subject);
        for interest in waiting.map(|(_, interest)| interest).collect::<Vec<_>>() {
            interest.progress.send_replace(Progress::Refused);
            self.forget(&interest);
        }
    }

    /// Tells every subscriber that publications may be missing here.
    fn announce(&self, reason: LostReason) {
        let mut takers = Vec::new();
        for (interest, _) in self.open.values() {
            interest.copy_takers(&mut takers);
            takers.sort_unstable_by_key(|(worker, _)| *worker);
            takers.dedup_by_key(|(worker, _)| *worker);
            for (worker, _) in &takers {
                let lost = Delivery::Lost {
                    interest: interest.id,
                    codec: None,
                    count: None,
                    reason: reason.clone(),
                };
                self.work.inboxes[*worker].push(lost);
            }
        }
    }

    /// Unsubscribes what nobody has wanted for as long as the linger.
    fn sweep(&mut self) {
        let Some(before) = Instant::now().checked_sub(self.work.linger) else {
            return;
        };
        let idle = self
            .work
            .registry
            .iter()
            .filter(|interest| interest.close_if_idle_since(before));
        for interest in idle.map(|interest| interest.clone()).collect::<Vec<_>>() {
            self.forget(&interest);
        }
    }

    fn forget(&mut self, interest: &Arc<Interest>) {
        interest.close();
        self.work
            .registry
            .remove_if(&interest.key, |_, present| Arc::ptr_eq(present, interest));
        if let Some((_, pump)) = self.open.remove(&interest.id) {
            // Dropping the subscriber unsubscribes in NATS.
            pump.abort();
        }
    }
}
