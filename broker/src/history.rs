//! Reads durable channels back: what a client lacks between its cursor and the live feed.
//!
//! Everything goes through the ring (`spans`): what the live feed brought lately is there already, and what is read
//! from the stream is added, in chunks with fixed bounds, so that clients that are behind at similar places share one
//! read and one encoding. One read serves all who want the same chunk at the same time.
//!
//! - `spans`: the ring. `fetch`: one read of the stream, encoded.
//! - `reader`: reads of one channel as NATS selects it. `place`: places in it, given by a count or a time.
//! - `page`: pages for those who ask without a subscription. `latest`: the last values.
//! - `judge`: whether something is missing between a cursor and what was read.

mod fetch;
mod judge;
mod latest;
mod page;
mod place;
mod reader;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tailwater_protocol::batch::Batch;
use tailwater_protocol::encoding::Encoding;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep};

use crate::config::NatsConfig;
use crate::connection::ConnectionState;
use crate::error::BrokerError;
use crate::feed::{Interest, InterestId};
use crate::health::Health;
use crate::jetstream;
use crate::wire::{self, RequestsOnly, ServerOrder, Wire};
pub use latest::Latest;
pub(crate) use spans::{Source, Span, Spans};

/// What the ring may hold.
pub const RING_BYTES: usize = 64 * 1024 * 1024;

/// Reads that NATS has to serve at once; others wait.
const READS: usize = 16;

/// How long one read may take, all attempts together.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a replica that lags behind is left alone.
const LAG_PAUSE: Duration = Duration::from_millis(5);

/// Publications that a client lacks.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The publications, among others at its start that the client has.
    pub batch: Batch,
    /// The client has everything up to this offset once it has these; never less than its cursor.
    pub to: u64,
    /// Publications in this range, both ends included, are gone from the stream, or may be.
    pub lost: Option<(u64, u64)>,
    /// Came from the live feed, which may not know of a loss on a pattern yet.
    pub live: bool,
}

/// Whether everything up to a cursor is known to have been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// It has: what is missing behind it must be told.
    Had(u64),
    /// It only says where to start, such as at the oldest.
    From(u64),
}

impl Cursor {
    /// The offset.
    pub fn offset(self) -> u64 {
        match self {
            Self::Had(offset) | Self::From(offset) => offset,
        }
    }
}

/// Where publications may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the live feed too, which may learn later that it missed something of a pattern.
    Any,
    /// From reads of the stream alone: what they do not hold, was not there.
    Stream,
}

/// Names one read of the stream: the channel, the life of its stream, the encoding and the first sequence.
type Flight = (InterestId, u32, Encoding, u64);

/// The reader of stored publications; one for the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wire: Wire<()>,
    spans: Spans,
    flights: DashMap<Flight, Arc<OnceCell<Arc<Span>>>>,
    reads: Semaphore,
}

/// Takes a read from the list of those under way, also when whoever waits for it gives up.
struct Landing<'a> {
    flights: &'a DashMap<Flight, Arc<OnceCell<Arc<Span>>>>,
    flight: Flight,
    cell: Arc<OnceCell<Arc<Span>>>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights
            .remove_if(&self.flight, |_, present| Arc::ptr_eq(present, &self.cell));
    }
}

/// The thread that owns the connection for history. Big answers block a connection, so the live feed has another.
#[derive(Debug)]
pub struct HistoryThread {
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl HistoryThread {
    /// Ends the thread and waits for it. Blocks for a moment: for the end of the process.
    pub fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the history connection panicked");
        }
    }
}

impl History {
    /// Starts the thread, which connects to NATS in the background.
    ///
    /// # Errors
    /// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work,
    /// [`BrokerError::Thread`] if there is no thread to be had.
    pub fn start(config: &NatsConfig) -> Result<(Self, HistoryThread), BrokerError> {
        let (wire, driver) = wire::open(config, "history", ServerOrder::Shuffled, RequestsOnly)?;
        let (stop, mut stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BrokerError::Thread)?;
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                    () = driver.run() => {}
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("tailwater-history".to_owned())
            .spawn(body)
            .map_err(BrokerError::Thread)?;
        Ok((Self::over(wire), HistoryThread { stop, thread }))
    }

    /// A reader that asks through `wire`.
    pub(crate) fn over(wire: Wire<()>) -> Self {
        let shared = Shared {
            wire,
            spans: Spans::new(RING_BYTES),
            flights: DashMap::new(),
            reads: Semaphore::new(READS),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// How the connection for history is.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.wire.state()
    }

    /// How the connection is and was.
    pub fn health(&self) -> Health {
        self.shared.wire.health()
    }

    pub(crate) fn wire(&self) -> &Wire<()> {
        &self.shared.wire
    }

    pub(crate) fn spans(&self) -> &Spans {
        &self.shared.spans
    }

    /// What is at hand behind `cursor`, without asking NATS.
    pub fn recent(
        &self,
        interest: &Interest,
        encoding: Encoding,
        cursor: Cursor,
        origin: Origin,
    ) -> Option<Chunk> {
        let span = self
            .shared
            .spans
            .behind(interest.id(), encoding, cursor.offset(), origin)?;
        let lost = judge::at_hand(interest, &span, cursor)?;
        Some(chunk(&span, lost))
    }

    /// The next publications behind `cursor`, up to `goal` at least if that takes no more than one chunk. The channel
    /// is known to have come to `goal`: nothing of it up to there is still on its way into the stream.
    ///
    /// # Errors
    /// What keeps NATS from answering; [`BrokerError::Unavailable`] if it takes more than five seconds.
    pub async fn read(
        &self,
        interest: &Interest,
        encoding: Encoding,
        cursor: Cursor,
        goal: u64,
        origin: Origin,
    ) -> Result<Chunk, BrokerError> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let at = cursor.offset();
        loop {
            if let Some(chunk) = self.recent(interest, encoding, cursor, origin) {
                return Ok(chunk);
            }
            let span = self.covering(interest, encoding, at, deadline).await?;
            if span.to > at {
                let lost = judge::against_stream(self.wire(), interest, &span, cursor).await?;
                return Ok(chunk(&span, lost));
            }
            if at >= goal {
                return Ok(nothing(at, None));
            }
            // Nothing, though the channel has come further: the replica lags, or the rest is gone.
            if !self.is_stored_behind(interest, at, goal, deadline).await? {
                let lost = judge::without_rest(self.wire(), interest, cursor, goal).await?;
                return Ok(nothing(goal, lost));
            }
            if Instant::now() >= deadline {
                return Err(BrokerError::Unavailable {
                    timeout: READ_TIMEOUT,
                });
            }
            sleep(LAG_PAUSE).await;
        }
    }

    /// The last offset of the stream of a durable channel, as its leader knows it.
    ///
    /// # Errors
    /// What keeps NATS from answering; [`BrokerError::Unavailable`] if it takes more than five seconds.
    pub async fn stream_head(&self, interest: &Interest) -> Result<u64, BrokerError> {
        let Some(durable) = &interest.durable else {
            return Ok(0);
        };
        let life = durable.timeline.life().number;
        let head = jetstream::barrier(self.wire(), &durable.timeline.stream, READ_TIMEOUT).await?;
        durable.timeline.reached_in(life, head);
        Ok(head)
    }

    /// A read that covers what lies behind `at`, if there is anything: with fixed bounds if that reaches far enough.
    async fn covering(
        &self,
        interest: &Interest,
        encoding: Encoding,
        at: u64,
        deadline: Instant,
    ) -> Result<Arc<Span>, BrokerError> {
        let bound = fetch::bound(interest, at);
        let known = self.shared.spans.stored(interest.id(), encoding, bound - 1);
        // Large publications fill an answer before the cursor is reached.
        let falls_short = known.is_some_and(|span| span.to <= at && span.to >= bound);
        if bound < at && !falls_short {
            let span = self.fetch(interest, encoding, bound, deadline).await?;
            if span.to > at {
                return Ok(span);
            }
        }
        self.fetch(interest, encoding, at.max(1), deadline).await
    }

    /// Reads from sequence `start` on; one read for all who ask at the same time.
    async fn fetch(
        &self,
        interest: &Interest,
        encoding: Encoding,
        start: u64,
        deadline: Instant,
    ) -> Result<Arc<Span>, BrokerError> {
        let life = interest.place().map_or(0, |place| place.life);
        let flight: Flight = (interest.id(), life, encoding, start);
        let cell = self.shared.flights.entry(flight).or_default().clone();
        let _landing = Landing {
            flights: &self.shared.flights,
            flight,
            cell: cell.clone(),
        };
        let read = async {
            let _turn = self.turn().await?;
            let within = deadline.saturating_duration_since(Instant::now());
            let span = fetch::fetch(self.wire(), interest, encoding, start, within).await?;
            // Not what the stream was before it began anew: the feed forgets what is here once it knows, so what is added
            // later has to be looked at again.
            let is_same_life = || interest.place().is_some_and(|place| place.life == life);
            if is_same_life() && !span.batch.is_empty() {
                self.shared.spans.add(interest.id(), encoding, span.clone());
                if !is_same_life() {
                    self.shared.spans.forget(interest.id());
                }
            }
            Ok(Arc::new(span))
        };
        cell.get_or_try_init(|| read).await.cloned()
    }

    /// A place among those who read from NATS at the same time.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, BrokerError> {
        self.shared
            .reads
            .acquire()
            .await
            .map_err(|_| BrokerError::Stopped)
    }

    /// Whether a replica that has everything up to `goal` has something of the channel behind `at`.
    async fn is_stored_behind(
        &self,
        interest: &Interest,
        at: u64,
        goal: u64,
        deadline: Instant,
    ) -> Result<bool, BrokerError> {
        let Some(durable) = &interest.durable else {
            return Ok(false);
        };
        let stream = &durable.timeline.stream;
        let within = deadline.saturating_duration_since(Instant::now());
        let subject = [durable.subject.as_str()];
        match jetstream::heads(self.wire(), stream, &subject, goal, within).await {
            // A replica that has nothing at all does not say how fresh it is.
            Ok(heads) if heads.upto < goal => Err(BrokerError::Unavailable {
                timeout: READ_TIMEOUT,
            }),
            Ok(heads) => Ok(heads
                .messages
                .iter()
                .filter_map(jetstream::sequence)
                .any(|head| head > at)),
            Err(error) if jetstream::is_too_many(&error) => {
                let (wire, subject) = (self.wire(), durable.subject.as_str());
                let nothing = jetstream::is_nothing_from(wire, stream, subject, at + 1, goal, within).await?;
                Ok(!nothing)
            }
            Err(error) => Err(error),
        }
    }
}

fn chunk(span: &Span, lost: Option<(u64, u64)>) -> Chunk {
    Chunk {
        batch: span.batch.clone(),
        to: span.to,
        lost,
        live: span.source == Source::Live,
    }
}

fn nothing(to: u64, lost: Option<(u64, u64)>) -> Chunk {
    Chunk {
        batch: Batch::default(),
        to,
        lost,
        live: false,
    }
}
