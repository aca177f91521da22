//! What the edge keeps for one client, and what the hub does to it.
//!
//! While nothing happens a session is the small future of its `task` and the [`Session`] it shares with the hub; no
//! buffer, no timer, no queue.

pub(crate) mod heartbeat;
pub(crate) mod hook;
pub(crate) mod identify;
pub(crate) mod request;
pub(crate) mod state;

mod behind;
mod commands;
mod delivery;
mod ending;
pub(crate) mod event_stream;
pub(crate) mod exchange;
mod history;
mod operator;
mod pace;
mod places;
mod recovery;
mod shedding;
mod start;
mod task;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tailwater_broker::feed::{InterestId, Membership};
use tailwater_broker::history::Cursor;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::encoding::Encoding;
use tokio::time::Instant;

use crate::hooks::KeptHeaders;
use crate::hub::Seat;
use crate::identity::Identity;
use crate::limits::pace::Pace;
use crate::limits::users::UserPlace;
use crate::outbox::Outbox;
use crate::socket::Socket;
use crate::time;
use crate::worker::Worker;
use behind::{Behind, Fed};
pub(crate) use commands::RETRY_AFTER_MS;
use identify::Due;
use request::Requests;
pub(crate) use task::{First, run};

/// What the edge keeps for one client; shared by its task and the hub of its worker.
pub(crate) struct Session {
    id: u64,
    identity: RefCell<Rc<Identity>>,
    /// Its place among the sessions of its user.
    user_place: Cell<UserPlace>,
    /// What it waits for by the clock.
    due: Cell<Due>,
    /// What the client can read.
    encoding: Encoding,
    remote_addr: SocketAddr,
    /// What hooks may be shown of its handshake.
    headers: Option<Box<KeptHeaders>>,
    /// In seconds since 1970.
    connected_at: u32,
    socket: Socket,
    outbox: RefCell<Outbox>,
    subscriptions: RefCell<Vec<Subscription>>,
    /// Those that services have not answered yet.
    requests: RefCell<Requests>,
    /// Wakes the session's task: the outbox has something, or the session is to end.
    waker: Cell<Option<Waker>>,
    end: Cell<Option<End>>,
    /// A ping is out and nothing has been heard since.
    awaiting_pong: Cell<bool>,
    /// A command waits, for NATS or because the session is over its rate, and nothing is read meanwhile.
    waiting_for_nats: Cell<bool>,
    /// Some durable subscription is not in step, and the session's task has to see to it.
    behind: Cell<bool>,
    /// Since when the client has taken nothing of what waits.
    stalled_since: Cell<Option<Instant>>,
    /// What is written waits, to go out with what follows at once.
    corked: Cell<bool>,
    /// The client of an event stream of several channels is to be told where it stands.
    place_due: Cell<bool>,
    /// Of one request: nothing more fits into the answer.
    full: Cell<bool>,
    /// It has been told how it begins. Never of one request.
    serving: Cell<bool>,
    /// What the client has asked for lately.
    pace: Pace,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Session({})", Hex(self.id))
    }
}

/// One channel that a session subscribes to.
#[derive(Debug)]
struct Subscription {
    channel: Channel,
    seat: Seat,
    /// Keeps the interest in NATS alive.
    membership: Membership,
    /// Of a durable one: the life of the stream that its offsets belong to.
    life: u32,
    /// A durable one that is not in step.
    behind: Option<Box<Behind>>,
    /// Of a durable pattern.
    fed: Fed,
}

/// How a session is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Tell the client with this code and reason, once what waits has been written.
    Close(CloseCode, &'static str),
    /// As `Close`, but forget what waits: the client does not keep up.
    Cut(CloseCode, &'static str),
    /// All has been said: the connection ends when it has been written.
    Done,
    /// The client closes: echo its code (RFC 6455 section 5.5.1).
    Echo(Option<u16>),
    /// The connection is broken; nothing can be sent.
    Broken,
}

impl Session {
    /// One that nobody has said anything of yet.
    pub(crate) fn new(
        id: u64,
        encoding: Encoding,
        remote_addr: SocketAddr,
        headers: Option<Box<KeptHeaders>>,
        socket: Socket,
        anonymous: Rc<Identity>,
        outbox: Outbox,
    ) -> Self {
        Self {
            id,
            identity: RefCell::new(anonymous),
            user_place: Cell::default(),
            due: Cell::default(),
            encoding,
            remote_addr,
            headers,
            connected_at: u32::try_from(time::now()).unwrap_or(u32::MAX),
            socket,
            outbox: RefCell::new(outbox),
            subscriptions: RefCell::default(),
            requests: RefCell::default(),
            waker: Cell::default(),
            end: Cell::default(),
            awaiting_pong: Cell::new(false),
            waiting_for_nats: Cell::new(false),
            behind: Cell::new(false),
            stalled_since: Cell::new(None),
            corked: Cell::new(false),
            place_due: Cell::new(false),
            full: Cell::new(false),
            serving: Cell::new(false),
            pace: Pace::default(),
        }
    }

    /// The session is not in step any more with a durable channel; it has everything up to `cursor`.
    pub(crate) fn fall_behind(&self, interest: InterestId, cursor: u64) {
        self.with_subscription(interest, |held| {
            held.fed.close(cursor);
            held.behind = Some(Box::new(Behind::new(Cursor::Had(cursor))));
        });
        self.catch_up_soon();
    }

    /// The feed may have missed something of a pattern behind `floor`; `seen` is what it passed on since. The session
    /// was in step and has everything up to `has` but that, or is behind already.
    pub(crate) fn rewind(
        &self,
        interest: InterestId,
        floor: u64,
        has: Option<u64>,
        seen: &Arc<HashMap<u64, u64>>,
    ) {
        self.with_subscription(interest, |held| {
            let at = held.behind.as_ref().map(|behind| behind.cursor.offset());
            let Some(has) = has.or(at) else { return };
            let rewound = held.fed.rewind(floor, has, seen);
            let behind = held
                .behind
                .get_or_insert_with(|| Box::new(Behind::new(Cursor::Had(has))));
            if let Some(rewound) = rewound {
                behind.rewind(rewound);
            }
        });
        self.catch_up_soon();
    }

    /// The stream of a durable channel began anew: the session reads it from its start.
    pub(crate) fn start_over(&self, interest: InterestId, life: u32) {
        self.with_subscription(interest, |held| {
            held.life = life;
            held.fed = Fed::default();
            held.behind = Some(Box::new(Behind::new(Cursor::From(0))));
        });
        self.catch_up_soon();
    }

    /// The life of the stream that the offsets of a durable subscription belong to.
    pub(crate) fn life(&self, interest: InterestId) -> Option<u32> {
        let subscriptions = self.subscriptions.borrow();
        let held = subscriptions.iter().find(|held| held.seat.interest == interest);
        held.map(|held| held.life)
    }

    /// Keeps a subscription. Most sessions have one: there is no room for others before they come.
    fn hold(&self, subscription: Subscription) {
        let mut subscriptions = self.subscriptions.borrow_mut();
        if subscriptions.is_empty() {
            subscriptions.reserve_exact(1);
        }
        subscriptions.push(subscription);
    }

    fn with_subscription(&self, interest: InterestId, change: impl FnOnce(&mut Subscription)) {
        let mut subscriptions = self.subscriptions.borrow_mut();
        if let Some(held) = subscriptions
            .iter_mut()
            .find(|held| held.seat.interest == interest)
        {
            change(held);
        }
    }

    fn catch_up_soon(&self) {
        self.behind.set(true);
        self.wake();
    }

    /// Ends the session; the first reason counts.
    pub(crate) fn end(&self, end: End) {
        if !self.is_ending() || end == End::Broken {
            self.end.set(Some(end));
            self.wake();
        }
    }

    /// The session stands at another place of an audience now.
    pub(crate) fn move_seat(&self, seat: Seat) {
        let mut subscriptions = self.subscriptions.borrow_mut();
        if let Some(found) = subscriptions
            .iter_mut()
            .find(|found| found.seat.interest == seat.interest)
        {
            found.seat = seat;
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.end.get().is_some()
    }

    /// The client has been told how the session begins.
    pub(crate) fn serve(&self) {
        self.serving.set(true);
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.serving.get()
    }

    /// What the client can read.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Gives up every subscription.
pub(crate) fn leave(session: &Session, worker: &Worker) {
    session.drop_requests();
    for subscription in session.subscriptions.take() {
        let encoding = subscription.membership.encoding();
        worker.hub().borrow_mut().remove(subscription.seat, encoding);
    }
}

/// A session's id as clients and logs see it.
struct Hex(u64);

impl std::fmt::Display for Hex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}
