//! The task that owns one client: reads its commands, finishes writes that the socket did not take at
//! once, ends the connection properly.
//!
//! While nothing happens a session is this small future and the [`Session`] it shares with the hub; no
//! buffer, no timer, no queue.

pub(crate) mod heartbeat;
pub(crate) mod state;

mod behind;
mod commands;
mod ending;
mod history;
mod recovery;
mod start;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tailwater_broker::feed::{InterestId, Membership};
use tailwater_broker::history::Cursor;
use tailwater_protocol::batch::Batch;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::frame::{self, Opcode};
use tailwater_protocol::push::{Connected, Push};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::SlowConsumer;
use crate::frames;
use crate::hub::Seat;
use crate::outbox::{Outbox, OutboxLimits};
use crate::transport::websocket::{Inbound, MessageReader, Violation};
use crate::worker::Worker;
use behind::{Behind, Fed};
use recovery::CatchUp;

/// Bytes of durable channels that may wait for one client; beyond it, it reads on at its own pace.
const STORED_BYTES: usize = 64 * 1024;

/// How many slices one vectored write takes from the outbox.
const SLICES: usize = 64;

/// What the edge keeps for one client; shared by its task and the hub of its worker.
pub(crate) struct Session {
    id: u64,
    codec: Codec,
    remote_addr: SocketAddr,
    socket: TcpStream,
    outbox: RefCell<Outbox>,
    subscriptions: RefCell<Vec<Subscription>>,
    /// Wakes the session's task: the outbox has something, or the session is to end.
    waker: Cell<Option<Waker>>,
    end: Cell<Option<End>>,
    /// A ping is out and nothing has been heard since.
    awaiting_pong: Cell<bool>,
    /// A command waits for NATS, and nothing is read meanwhile.
    waiting_for_nats: Cell<bool>,
    /// Some durable subscription is not in step, and the session's task has to see to it.
    behind: Cell<bool>,
    /// Since when the client has taken nothing of what waits.
    stalled_since: Cell<Option<Instant>>,
    /// What is written waits, to go out with what follows at once.
    corked: Cell<bool>,
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
    pub(crate) fn new(id: u64, codec: Codec, remote_addr: SocketAddr, socket: TcpStream) -> Self {
        Self {
            id,
            codec,
            remote_addr,
            socket,
            outbox: RefCell::default(),
            subscriptions: RefCell::default(),
            waker: Cell::default(),
            end: Cell::default(),
            awaiting_pong: Cell::new(false),
            waiting_for_nats: Cell::new(false),
            behind: Cell::new(false),
            stalled_since: Cell::new(None),
            corked: Cell::new(false),
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Writes a batch to the socket, as far as it takes it, and queues the rest.
    pub(crate) fn deliver(
        &self,
        batch: &Batch,
        channel: &Channel,
        policy: SlowConsumer,
        limits: OutboxLimits,
    ) {
        if self.is_ending() {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        let written = if outbox.is_empty() {
            self.write(batch.bytes())
        } else {
            0
        };
        if written == batch.bytes().len() {
            return;
        }
        let pushed = outbox.push_batch(batch, written, channel, policy, limits);
        drop(outbox);
        match pushed {
            Ok(()) => self.waits(),
            Err(_) => self.end(End::Cut(
                CloseCode::SlowConsumer,
                CloseCode::SlowConsumer.reason(),
            )),
        }
    }

    /// Writes what the client lacks of a batch of a durable channel, if it has everything up to `has`.
    ///
    /// # Errors
    /// The new cursor, if not all of it was taken: too much waits already.
    pub(crate) fn deliver_stored(&self, batch: &Batch, has: u64, channel: &Channel) -> Result<(), u64> {
        let entries = batch.entries();
        let first = match entries.first() {
            Some(entry) if entry.offset > has => 0,
            _ => entries.partition_point(|entry| entry.offset <= has),
        };
        if first == entries.len() {
            return Ok(());
        }
        let taken = self.offer(batch, first..entries.len(), channel);
        if first + taken == entries.len() {
            return Ok(());
        }
        Err(if taken == 0 {
            has
        } else {
            entries[first + taken - 1].offset
        })
    }

    /// Writes frames of a durable channel or lets them wait, as many as there is room for, and says how many.
    fn offer(&self, batch: &Batch, frames: Range<usize>, channel: &Channel) -> usize {
        if self.is_ending() {
            return frames.len();
        }
        let bytes = batch.slice(frames.clone());
        let mut outbox = self.outbox.borrow_mut();
        let written = if outbox.is_empty() { self.write(&bytes) } else { 0 };
        if written == bytes.len() || self.is_ending() {
            return frames.len();
        }
        let entries = batch.entries();
        let base = entries[frames.start].start as usize;
        let end_of = |frame: usize| match entries.get(frame + 1) {
            Some(next) => next.start as usize - base,
            None => batch.bytes().len() - base,
        };
        // The first that is not written whole, and the last for which there is room.
        let begun = frames.start
            + entries[frames.clone()].partition_point(|entry| entry.start as usize - base <= written)
            - 1;
        let begun_at = entries[begun].start as usize - base;
        let room = STORED_BYTES.saturating_sub(outbox.bytes());
        let mut kept = begun;
        while kept < frames.end && end_of(kept) - begun_at <= room {
            kept += 1;
        }
        if kept == begun && (written > begun_at || outbox.is_empty()) {
            // Begun, or too large to ever fit: it goes alone.
            kept += 1;
        }
        if kept > begun {
            outbox.push_kept(batch, begun..kept, written - begun_at, channel);
            drop(outbox);
            self.waits();
        }
        kept - frames.start
    }

    /// Writes all of a batch, or lets it wait whatever its size; its maker has bounded it.
    fn push_batch(&self, batch: &Batch, channel: &Channel) {
        let taken = self.offer(batch, 0..batch.len(), channel);
        if taken < batch.len() {
            self.outbox
                .borrow_mut()
                .push_kept(batch, taken..batch.len(), 0, channel);
            self.waits();
        }
    }

    /// Something waits for the client.
    fn waits(&self) {
        if self.stalled_since.get().is_none() {
            self.stalled_since.set(Some(Instant::now()));
        }
        self.wake();
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
    pub(crate) fn start_over(&self, interest: InterestId) {
        self.with_subscription(interest, |held| {
            held.fed = Fed::default();
            held.behind = Some(Box::new(Behind::new(Cursor::From(0))));
        });
        self.catch_up_soon();
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

    /// Writes a message of the session's own, behind what already waits.
    pub(crate) fn push_message(&self, frame: Bytes) {
        if self.is_ending() {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        let written = if outbox.is_empty() { self.write(&frame) } else { 0 };
        if written < frame.len() {
            outbox.push_message(frame);
            outbox.advance(written);
            drop(outbox);
            self.waits();
        }
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

    fn is_ending(&self) -> bool {
        self.end.get().is_some()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// One attempt to write, and how much the socket took.
    fn write(&self, bytes: &[u8]) -> usize {
        if self.corked.get() {
            return 0;
        }
        match self.socket.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.end(End::Broken);
                0
            }
        }
    }

    /// Writes all that `messages` makes in one go: an answer and what follows it cost one system call.
    fn together(&self, messages: impl FnOnce()) {
        self.corked.set(true);
        messages();
        self.corked.set(false);
        self.flush();
    }

    /// Writes from the outbox until it is empty or the socket takes no more.
    fn flush(&self) {
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = outbox.fill(self.codec, &mut slices);
            match self.socket.try_write_vectored(&slices[..used]) {
                Ok(written) => {
                    outbox.advance(written);
                    self.stalled_since.set((!outbox.is_empty()).then(Instant::now));
                    // A socket that was full takes more only because its client reads: that one lives,
                    // though a ping behind its backlog may reach it too late for an answer in time.
                    self.awaiting_pong.set(false);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(End::Broken),
            }
        }
    }

    fn poll_event(
        &self,
        context: &mut Context<'_>,
        outbox_limit: usize,
        catch_up: &mut CatchUp<'_>,
    ) -> Poll<Event> {
        if let Some(end) = self.end.get() {
            return Poll::Ready(Event::End(end));
        }
        self.waker.set(Some(context.waker().clone()));
        catch_up.poll(context);
        let waiting = self.outbox.borrow().bytes();
        if !self.outbox.borrow().is_empty() && self.socket.poll_write_ready(context).is_ready() {
            return Poll::Ready(Event::Writable);
        }
        // Who does not read our answers does not get to ask more.
        if waiting < outbox_limit && self.socket.poll_read_ready(context).is_ready() {
            return Poll::Ready(Event::Readable);
        }
        Poll::Pending
    }
}

/// Serves one client until it leaves. `read_ahead` is what the client sent right behind its handshake.
pub(crate) async fn run(session: Rc<Session>, worker: Rc<Worker>, read_ahead: Bytes) {
    let mut reader = MessageReader::new(worker.config().websocket.max_message_bytes);
    session.push_message(frames::message(session.codec, welcome(session.id, &worker)));
    let mut input = Vec::new();
    let mut catch_up = CatchUp::new(&session, &worker);
    if !read_ahead.is_empty() {
        let violation = reader.read(&read_ahead, &mut input).err();
        drop(read_ahead);
        serve(&session, &worker, &mut input, violation, &mut catch_up).await;
    }
    let outbox_limit = worker.config().outbox.max_bytes;
    let end = loop {
        match poll_fn(|context| session.poll_event(context, outbox_limit, &mut catch_up)).await {
            Event::End(end) => break end,
            Event::Writable => session.flush(),
            Event::Readable => {
                let violation = receive(&session, &worker, &mut reader, &mut input);
                if !input.is_empty() || violation.is_some() {
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
            return reader.read(&scratch[..count], input).err();
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => session.end(End::Broken),
    }
    None
}

/// Acts on what was read, and goes on writing meanwhile: a command may have to wait for NATS. Runs in
/// a box of its own, so that a silent session stays small.
async fn serve(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    input: &mut Vec<Inbound>,
    violation: Option<Violation>,
    catch_up: &mut CatchUp<'_>,
) {
    let mut acting = Box::pin(act(session, worker, std::mem::take(input), violation));
    poll_fn(|context| {
        // A session that is to end does not wait for NATS first.
        if acting.as_mut().poll(context).is_ready() || session.is_ending() {
            return Poll::Ready(());
        }
        session.waker.set(Some(context.waker().clone()));
        catch_up.poll(context);
        while !session.is_ending()
            && !session.outbox.borrow().is_empty()
            && session.socket.poll_write_ready(context).is_ready()
        {
            session.flush();
        }
        Poll::Pending
    })
    .await;
}

async fn act(session: &Rc<Session>, worker: &Rc<Worker>, input: Vec<Inbound>, violation: Option<Violation>) {
    for message in input {
        if session.is_ending() {
            return;
        }
        match (message, session.codec) {
            (Inbound::Text(body), Codec::Json) | (Inbound::Binary(body), Codec::MessagePack) => {
                commands::execute(session, worker, &body).await;
            }
            (Inbound::Text(_), Codec::MessagePack) => session.end(End::Close(
                CloseCode::Unsupported,
                "this session speaks MessagePack: send binary messages",
            )),
            (Inbound::Binary(_), Codec::Json) => session.end(End::Close(
                CloseCode::Unsupported,
                "this session speaks JSON: send text messages",
            )),
            (Inbound::Ping(body), _) => session.push_pong(&body),
            (Inbound::Pong, _) => {}
            (Inbound::Close(code), _) => session.end(End::Echo(code)),
        }
    }
    if let Some(violation) = violation {
        session.end(End::Close(violation.code, violation.reason));
    }
}

impl Session {
    fn push_pong(&self, body: &[u8]) {
        let frame = frame::frame(Opcode::Pong, body);
        if self.outbox.borrow().is_empty() {
            self.push_message(frame);
        } else {
            self.outbox.borrow_mut().push_pong(frame);
        }
    }
}

/// Gives up every subscription.
pub(crate) fn leave(session: &Session, worker: &Worker) {
    for subscription in session.subscriptions.take() {
        worker.hub().borrow_mut().remove(subscription.seat, session.codec);
    }
}

fn welcome(id: u64, worker: &Worker) -> Push {
    let interval = worker.config().websocket.ping_interval;
    let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    Push::Connected(Connected::new(Hex(id).to_string(), interval_ms))
}

/// A session's id as clients and logs see it.
struct Hex(u64);

impl std::fmt::Display for Hex {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}
