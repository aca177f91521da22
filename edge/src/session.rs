//! The task that owns one client: reads its commands, finishes writes that the socket did not take at
//! once, ends the connection properly.
//!
//! While nothing happens a session is this small future and the [`Session`] it shares with the hub; no
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
mod history;
mod operator;
mod pace;
mod recovery;
mod shedding;
mod start;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use bytes::Bytes;
use tailwater_broker::feed::{InterestId, Membership};
use tailwater_broker::history::Cursor;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::encoding::Encoding;
use tokio::time::Instant;

use crate::hooks::KeptHeaders;
use crate::hub::Seat;
use crate::identity::Identity;
use crate::limits::pace::Pace;
use crate::limits::users::UserPlace;
use crate::outbox::Outbox;
use crate::socket::Socket;
use crate::transport::websocket::{Inbound, MessageReader, Violation};
use crate::worker::Worker;
use behind::{Behind, Fed};
use identify::Due;
use recovery::CatchUp;
use request::Requests;

/// What the edge keeps for one client; shared by its task and the hub of its worker.
pub(crate) struct Session {
    id: u64,
    identity: RefCell<Rc<Identity>>,
    /// Its place among the sessions of its user.
    user_place: Cell<UserPlace>,
    /// What it waits for by the clock.
    due: Cell<Due>,
    codec: Codec,
    /// The client has agreed to compressed messages.
    deflate: bool,
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
    /// The client closes: echo its code (RFC 6455 section 5.5.1).
    Echo(Option<u16>),
    /// The connection is broken; nothing can be sent.
    Broken,
}

/// What a session's task has to do.
enum Event {
    Readable,
    Writable,
    End(End),
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
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            id,
            identity: RefCell::new(anonymous),
            user_place: Cell::default(),
            due: Cell::default(),
            codec: encoding.codec,
            deflate: encoding.deflated,
            remote_addr,
            headers,
            connected_at: since_1970.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX)),
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
            pace: Pace::default(),
        }
    }

    /// What the client can read.
    fn encoding(&self) -> Encoding {
        Encoding {
            codec: self.codec,
            deflated: self.deflate,
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

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_event(
        &self,
        worker: &Worker,
        context: &mut Context<'_>,
        catch_up: &mut CatchUp<'_>,
    ) -> Poll<Event> {
        if let Some(end) = self.end.get() {
            return Poll::Ready(Event::End(end));
        }
        self.waker.set(Some(context.waker().clone()));
        catch_up.poll(context);
        self.poll_requests(worker, context);
        let outbox_limit = worker.config().outbox.max_bytes;
        let asks_too_much = {
            let outbox = self.outbox.borrow();
            outbox.bytes() >= outbox.allowance(outbox_limit)
        };
        if self.has_backlog() && self.socket.tcp().poll_write_ready(context).is_ready() {
            return Poll::Ready(Event::Writable);
        }
        // Who does not read our answers does not get to ask more.
        if !asks_too_much && self.socket.tcp().poll_read_ready(context).is_ready() {
            return Poll::Ready(Event::Readable);
        }
        Poll::Pending
    }
}

/// What a session does before anything else. Most have nothing of it, and so no room for it.
pub(crate) struct First {
    /// The channels that the server joins for it.
    channels: Vec<Channel>,
    /// What the client sent right behind its handshake.
    read_ahead: Bytes,
}

impl First {
    pub(crate) fn of(channels: Vec<Channel>, read_ahead: Bytes) -> Option<Box<Self>> {
        let is_nothing = channels.is_empty() && read_ahead.is_empty();
        (!is_nothing).then(|| Box::new(Self { channels, read_ahead }))
    }
}

/// Serves one client until it leaves.
pub(crate) async fn run(session: Rc<Session>, worker: Rc<Worker>, first: Option<Box<First>>) {
    let mut reader = MessageReader::new(worker.config().websocket.max_message_bytes, session.deflate);
    let mut input = Vec::new();
    let mut catch_up = CatchUp::new(&session, &worker);
    if let Some(first) = first {
        let joining = Box::pin(commands::join(&session, &worker, first.channels));
        alongside(&session, &worker, joining, &mut catch_up).await;
        let violation = reader.read(&first.read_ahead, &mut input).err();
        serve(&session, &worker, &mut input, violation, &mut catch_up).await;
    }
    let end = loop {
        match poll_fn(|context| session.poll_event(&worker, context, &mut catch_up)).await {
            Event::End(end) => break end,
            Event::Writable => session.flush(),
            Event::Readable => {
                let violation = receive(&session, &worker, &mut reader, &mut input);
                if !input.is_empty() || violation.is_some() || session.is_over_pace(&worker) {
                    serve(&session, &worker, &mut input, violation, &mut catch_up).await;
                }
                // Who has always sent more already waits for the others after each read.
                tokio::task::yield_now().await;
            }
        }
    };
    drop(catch_up);
    drop(reader);
    leave(&session, &worker);
    tracing::debug!(session_id = %Hex(session.id), remote_addr = %session.remote_addr, ?end, "session ends");
    Box::pin(ending::close(&session, &worker, end)).await;
}

/// Reads what the socket has into messages.
fn receive(
    session: &Session,
    worker: &Worker,
    reader: &mut MessageReader,
    input: &mut Vec<Inbound>,
) -> Option<Violation> {
    let mut scratch = worker.scratch();
    match session.socket.try_read(&mut scratch) {
        Ok(0) => session.end(End::Broken),
        Ok(count) => {
            session.awaiting_pong.set(false);
            let limits = worker.limits();
            session
                .pace
                .took_bytes(limits.paces(), limits.clock().now(), count);
            return reader.read(&scratch[..count], input).err();
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => session.end(End::Broken),
    }
    None
}

/// Acts on what was read. Runs in a box of its own, so that a silent session stays small.
async fn serve(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    input: &mut Vec<Inbound>,
    violation: Option<Violation>,
    catch_up: &mut CatchUp<'_>,
) {
    let acting = Box::pin(act(session, worker, std::mem::take(input), violation));
    alongside(session, worker, acting, catch_up).await;
}

/// Waits for `acting`, which may have to wait for NATS, and goes on writing meanwhile.
async fn alongside(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    mut acting: Pin<Box<impl Future<Output = ()>>>,
    catch_up: &mut CatchUp<'_>,
) {
    poll_fn(|context| {
        // A session that is to end does not wait for NATS first.
        if acting.as_mut().poll(context).is_ready() || session.is_ending() {
            return Poll::Ready(());
        }
        session.waker.set(Some(context.waker().clone()));
        catch_up.poll(context);
        session.poll_requests(worker, context);
        while !session.is_ending()
            && session.has_backlog()
            && session.socket.tcp().poll_write_ready(context).is_ready()
        {
            session.flush();
        }
        Poll::Pending
    })
    .await;
}

async fn act(session: &Rc<Session>, worker: &Rc<Worker>, input: Vec<Inbound>, violation: Option<Violation>) {
    for message in input {
        if !matches!(message, Inbound::Close(_)) {
            pace::next_command(session, worker).await;
        }
        if session.is_ending() {
            return;
        }
        match message {
            Inbound::Text(body) => commands(session, worker, Codec::Json, &body).await,
            Inbound::Binary(body) => commands(session, worker, Codec::MessagePack, &body).await,
            Inbound::Deflated(deflated) => {
                // One read may hold hundreds of these, each of which may become large: one at a time, and others have
                // their turn before each.
                tokio::task::yield_now().await;
                match deflated.inflate(worker.config().websocket.max_message_bytes) {
                    Ok(body) => commands(session, worker, deflated.codec(), &body).await,
                    Err(violation) => session.end(End::Close(violation.code, violation.reason)),
                }
            }
            Inbound::Ping(body) => session.push_pong(&body),
            Inbound::Pong => {}
            Inbound::Close(code) => session.end(End::Echo(code)),
        }
    }
    if let Some(violation) = violation {
        session.end(End::Close(violation.code, violation.reason));
    }
    // What came may be no whole message yet.
    pace::keep(session, worker).await;
}

/// Acts on one message, of the kind that `codec` uses.
async fn commands(session: &Rc<Session>, worker: &Rc<Worker>, codec: Codec, body: &[u8]) {
    if codec == session.codec {
        return commands::execute(session, worker, body).await;
    }
    let reason = match session.codec {
        Codec::Json => "this session speaks JSON: send text messages",
        Codec::MessagePack => "this session speaks MessagePack: send binary messages",
    };
    session.end(End::Close(CloseCode::Unsupported, reason));
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
