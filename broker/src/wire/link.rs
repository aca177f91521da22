//! What is known about one accepted connection: the server's INFO, the PINGs under way, the
//! subscriptions that it has not confirmed. No I/O, no waiting.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use tokio::sync::oneshot;

use super::command;
use super::dial::Dialled;
use super::info::ServerInfo;
use super::parser::MAX_MESSAGE;
use super::pipe::Pipe;
use super::servers::Server;
use super::subscriptions::{Numbers, SubscriptionId, Subscriptions};
use crate::error::BrokerError;

/// The most PINGs under way; no more commands are taken until some are answered.
const MAX_PINGS: usize = 1024;

/// Subscriptions that a new server is told of before it is asked to confirm them: few enough that it
/// makes little difference to refuse all of them when it says that one was one too many.
const RESUMED_A_PING: usize = 512;

/// The largest message that is accepted whatever a server says about itself.
const HARD_LIMIT: usize = 512 * 1024 * 1024;

/// What a message may have on top of the server's limit: headers that the server itself adds.
const ADDED_HEADERS: usize = 64 * 1024;

pub(super) type Barrier = oneshot::Sender<Result<(), BrokerError>>;

/// A PING that the server has not answered.
struct Ping {
    /// How many subscriptions its answer confirms, counted from the first of the connection.
    confirms: u64,
    barriers: Vec<Barrier>,
    /// All subscriptions of an earlier connection stand before it.
    resumed: bool,
}

/// What the answer to a PING means.
pub(super) struct Pong {
    /// The server has handled these.
    pub(super) confirmed: Vec<SubscriptionId>,
    /// All subscriptions of an earlier connection are in place.
    pub(super) resumed: bool,
    barriers: Vec<Barrier>,
}

impl Pong {
    /// Tells those who wait for it.
    pub(super) fn settle_barriers(self) {
        for barrier in self.barriers {
            let _ = barrier.send(Ok(()));
        }
    }
}

/// One accepted connection.
pub(super) struct Link {
    pub(super) pipe: Pipe,
    pub(super) server: Server,
    pub(super) since: Instant,
    pub(super) max_message: usize,
    /// Announced as connected.
    pub(super) connected: bool,
    /// The server is about to leave.
    pub(super) leaving: bool,
    /// The last thing that the server complained of; most likely why it closes the connection.
    pub(super) complaint: Option<String>,
    /// Subjects that the server has refused, until somebody looks who wanted them.
    pub(super) refused: HashSet<String>,
    /// The place of the next subscription to be told to this server; nothing if all are.
    resuming: Option<usize>,
    pings: VecDeque<Ping>,
    unconfirmed: VecDeque<SubscriptionId>,
    /// Subscriptions that have left `unconfirmed`.
    confirmed: u64,
    unanswered: u32,
    stuck: u32,
}

impl Link {
    /// Begins with the connection's own inbox; then comes [`Link::resume`].
    pub(super) fn new(dialled: Dialled, inbox: &str) -> Self {
        let mut pipe = Pipe::new(dialled.stream, dialled.unread);
        command::subscribe(pipe.out(), inbox, Numbers::INBOX);
        let mut link = Self {
            pipe,
            server: dialled.server,
            since: Instant::now(),
            max_message: 0,
            connected: false,
            leaving: false,
            complaint: None,
            refused: HashSet::new(),
            resuming: Some(1),
            pings: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            confirmed: 0,
            unanswered: 0,
            stuck: 0,
        };
        link.learn(&dialled.info);
        link
    }

    /// Takes over what the server says about itself.
    pub(super) fn learn(&mut self, info: &ServerInfo) {
        let announced = usize::try_from(info.max_payload).unwrap_or(HARD_LIMIT);
        // Not less than the default: what is stored may be older and larger than today's limit.
        self.max_message = announced.clamp(MAX_MESSAGE, HARD_LIMIT) + ADDED_HEADERS;
    }

    /// Whether commands may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.pipe.has_room() && self.pings.len() < MAX_PINGS
    }

    /// Whether subscriptions are waiting to be told to this server.
    pub(super) fn is_resuming(&self) -> bool {
        self.resuming.is_some()
    }

    /// Tells the server the next of the subscriptions that there were before it, as many as there is
    /// room for.
    pub(super) fn resume<S>(&mut self, subscriptions: &Subscriptions<S>) {
        let Some(mut place) = self.resuming else {
            return;
        };
        while self.has_room() {
            for _ in 0..RESUMED_A_PING {
                let Some((subscription, next)) = subscriptions.next_from(place) else {
                    self.resuming = None;
                    return self.ping(Vec::new(), true);
                };
                self.subscribe(subscription.id, &subscription.subject);
                place = next;
            }
            self.ping(Vec::new(), false);
        }
        self.resuming = Some(place);
    }

    /// Tells the server of a subscription, unless its turn comes with the others; says whether it did.
    pub(super) fn subscribe_new(&mut self, id: SubscriptionId, subject: &str) -> bool {
        let now = self.has_been_told(id);
        if now {
            self.subscribe(id, subject);
        }
        now
    }

    /// Ends a subscription, if the server has been told of it.
    pub(super) fn unsubscribe(&mut self, id: SubscriptionId) {
        if self.has_been_told(id) {
            command::unsubscribe(self.pipe.out(), id.sid());
        }
    }

    fn has_been_told(&self, id: SubscriptionId) -> bool {
        self.resuming.is_none_or(|place| id.is_before(place))
    }

    fn subscribe(&mut self, id: SubscriptionId, subject: &str) {
        command::subscribe(self.pipe.out(), subject, id.sid());
        self.unconfirmed.push_back(id);
    }

    /// Asks the server for an answer that proves that it has handled all before.
    pub(super) fn ping(&mut self, barriers: Vec<Barrier>, resumed: bool) {
        self.pipe.out().extend_from_slice(b"PING\r\n");
        self.pings.push_back(Ping {
            confirms: self.confirmed + self.unconfirmed.len() as u64,
            barriers,
            resumed,
        });
    }

    /// Answers a PING of the server.
    pub(super) fn pong(&mut self) {
        // A server that asks and asks and reads no answer has one waiting already.
        if self.pipe.has_room() {
            self.pipe.out().extend_from_slice(b"PONG\r\n");
        }
    }

    /// The server has answered the oldest PING.
    pub(super) fn answered(&mut self) -> Option<Pong> {
        let ping = self.pings.pop_front()?;
        let count = usize::try_from(ping.confirms.saturating_sub(self.confirmed)).unwrap_or(usize::MAX);
        let count = count.min(self.unconfirmed.len());
        self.confirmed += count as u64;
        Some(Pong {
            confirmed: self.unconfirmed.drain(..count).collect(),
            resumed: ping.resumed,
            barriers: ping.barriers,
        })
    }

    /// The subscriptions that the server has refused since this was last asked: those that it was told
    /// of and has not confirmed come first; only a subject that none of them has is looked for among all.
    pub(super) fn take_refused<S>(&mut self, subscriptions: &Subscriptions<S>) -> Vec<SubscriptionId> {
        let subjects = std::mem::take(&mut self.refused);
        let mut found = HashSet::new();
        let mut ids = Vec::new();
        for id in &self.unconfirmed {
            if let Some(subject) = subscriptions.subject(*id)
                && subjects.contains(subject)
            {
                found.insert(subject.to_owned());
                ids.push(*id);
            }
        }
        if found.len() < subjects.len() {
            let missing = |subject: &str| subjects.contains(subject) && !found.contains(subject);
            ids.extend(subscriptions.ids_where(missing));
        }
        ids
    }

    /// The subscriptions that the server has been told of and not confirmed.
    pub(super) fn unconfirmed(&self) -> Vec<SubscriptionId> {
        self.unconfirmed.iter().copied().collect()
    }

    /// Once a `ping_interval`: asks whether the server is there.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn tick(&mut self) -> Result<(), &'static str> {
        if std::mem::take(&mut self.pipe.heard) {
            self.unanswered = 0;
        }
        let moved = std::mem::take(&mut self.pipe.moved) || !self.pipe.is_behind();
        self.stuck = if moved { 0 } else { self.stuck + 1 };
        if self.unanswered >= 2 {
            return Err("it answered no ping");
        }
        if self.stuck > 2 {
            return Err("it reads nothing");
        }
        self.unanswered += 1;
        if self.has_room() {
            self.ping(Vec::new(), false);
        }
        Ok(())
    }

    /// Fails all who wait for an answer to a PING.
    pub(super) fn fail_barriers(&mut self) {
        for barrier in self.pings.drain(..).flat_map(|ping| ping.barriers) {
            let _ = barrier.send(Err(BrokerError::Away));
        }
    }
}
