//! A client that does as the SDK does: leaves when `drain` says so, comes back at once then and with back-off otherwise, and
//! subscribes from where it stands.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tailwater_edge::client::Client as Connection;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Position, Since};
use tailwater_protocol::push::Push;
use tailwater_protocol::reply::Reply;
use tokio::time::{Instant, timeout, timeout_at};

use super::note;
use crate::checker::pause;
use crate::checker::truth::lock;
use crate::durable::{number, subscribe_since};

/// The first back-off is shorter than this, the next one than twice as long, up to `LONGEST_BACKOFF`.
const BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How long a connection and its subscription may take.
const OPENING: Duration = Duration::from_secs(10);

/// How long the other side gets to answer a close.
const CLOSING: Duration = Duration::from_secs(1);

/// The durable channel of this index.
pub(super) fn channel(index: usize) -> String {
    format!("d.{index}")
}

/// What all clients share.
pub(super) struct Fleet {
    url: String,
    /// The last number on each channel.
    pub(super) published: Vec<AtomicU64>,
    /// Nothing is published any more.
    pub(super) is_over: AtomicBool,
    /// Clients that have subscribed once.
    pub(super) connected: AtomicUsize,
    pub(super) deliveries: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) gaps: Mutex<Vec<Duration>>,
    /// When clients were told to come back, as the edge that is leaving has said it.
    pub(super) hints: Mutex<Vec<Duration>>,
    pub(super) wrong: Mutex<(u64, Vec<String>)>,
    /// Of each client: its channel, and the last number that it has.
    clients: Mutex<Vec<(usize, Arc<AtomicU64>)>>,
}

impl Fleet {
    pub(super) fn new(url: String, channels: usize) -> Self {
        Self {
            url,
            published: (0..channels).map(|_| AtomicU64::new(0)).collect(),
            is_over: AtomicBool::new(false),
            connected: AtomicUsize::new(0),
            deliveries: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            gaps: Mutex::default(),
            hints: Mutex::default(),
            wrong: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// How many do not have everything that was published.
    pub(super) fn incomplete(&self) -> usize {
        let clients = lock(&self.clients);
        let lacking = clients.iter().filter(|(channel, last)| {
            last.load(Ordering::Relaxed) < self.published[*channel].load(Ordering::Relaxed)
        });
        lacking.count()
    }
}

/// One client of one channel.
pub(super) struct Client {
    fleet: Arc<Fleet>,
    channel: String,
    last: Arc<AtomicU64>,
    /// Where it stands.
    cursor: Option<Position>,
    random: fastrand::Rng,
}

/// A connection that has subscribed cannot be had; the next attempt may.
struct Failed;

impl Client {
    pub(super) fn new(fleet: Arc<Fleet>, index: usize) -> Self {
        let last = Arc::default();
        lock(&fleet.clients).push((index, Arc::clone(&last)));
        Self {
            fleet,
            channel: channel(index),
            last,
            cursor: None,
            random: fastrand::Rng::new(),
        }
    }

    /// Connects again and again, until it is dropped.
    pub(super) async fn live(mut self) {
        let (mut attempt, mut lost_at) = (0, None);
        loop {
            let opening = timeout(OPENING, self.open()).await;
            let Ok(Ok(connection)) = opening else {
                self.fleet.failures.fetch_add(1, Ordering::Relaxed);
                pause(self.backoff(attempt)).await;
                attempt += 1;
                continue;
            };
            attempt = 0;
            match lost_at {
                Some(at) => lock(&self.fleet.gaps).push(Instant::now() - at),
                None => drop(self.fleet.connected.fetch_add(1, Ordering::Relaxed)),
            }
            let leave_at = self.follow(connection).await;
            lost_at = Some(Instant::now());
            match leave_at {
                Some(at) => pause(at.saturating_duration_since(Instant::now())).await,
                None => pause(self.backoff(0)).await,
            }
        }
    }

    /// Anything from nothing to the bound.
    fn backoff(&mut self, attempt: u32) -> Duration {
        let bound = BACKOFF.saturating_mul(1 << attempt.min(8)).min(LONGEST_BACKOFF);
        bound.mul_f64(self.random.f64())
    }

    async fn open(&mut self) -> Result<Connection, Failed> {
        let mut connection = Connection::connect(&self.fleet.url, None)
            .await
            .map_err(|_| Failed)?;
        let since = self.cursor.clone();
        let resumes = since.is_some();
        let command = subscribe_since(&self.channel, since.map(Since::Position));
        connection.send(Some(1), command).await.map_err(|_| Failed)?;
        loop {
            match connection.next().await.map_err(|_| Failed)?.body {
                ServerBody::Push(Push::Connected(_) | Push::Drain { .. }) => {}
                ServerBody::Reply(Reply::Subscribed(subscribed)) => {
                    if resumes && subscribed.recovered != Some(true) {
                        self.complain(format!("not recovered: {subscribed:?}"));
                    }
                    if let (None, Some(offset), Some(epoch)) =
                        (&self.cursor, subscribed.offset, subscribed.epoch)
                    {
                        self.cursor = Some(Position { offset, epoch });
                    }
                    return Ok(connection);
                }
                _ => return Err(Failed),
            }
        }
    }

    /// Reads until the connection ends, or it is time to leave it. When to come back, if the edge has said so.
    async fn follow(&mut self, mut connection: Connection) -> Option<Instant> {
        let mut leave_at = None;
        loop {
            let next = match leave_at {
                Some(at) => match timeout_at(at, connection.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        // What still arrives is read by nobody: the cursor stays.
                        let _ = timeout(CLOSING, connection.close()).await;
                        return leave_at;
                    }
                },
                None => connection.next().await,
            };
            let Ok(message) = next else { return leave_at };
            match message.body {
                ServerBody::Push(Push::Update(update)) => {
                    let (got, last) = (number(&update.payload), self.last.load(Ordering::Relaxed));
                    if got != last + 1 {
                        self.complain(format!("{got} came after {last}"));
                    }
                    self.last.store(got, Ordering::Relaxed);
                    self.fleet.deliveries.fetch_add(1, Ordering::Relaxed);
                    if let (Some(cursor), Some(offset)) = (&mut self.cursor, update.offset) {
                        cursor.offset = offset;
                    }
                }
                ServerBody::Push(Push::Drain { reconnect_after_ms }) => {
                    if leave_at.is_some() {
                        self.complain("told to leave twice".to_owned());
                    }
                    let hint = Duration::from_millis(reconnect_after_ms.into());
                    lock(&self.fleet.hints).push(hint);
                    leave_at = Some(Instant::now() + hint);
                }
                ServerBody::Push(Push::Lost(lost)) => self.complain(format!("{lost:?}")),
                _ => {}
            }
        }
    }

    fn complain(&self, what: String) {
        note(&self.fleet.wrong, format!("{}: {what}", self.channel));
    }
}
