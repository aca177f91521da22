//! The task that owns the client of one WebSocket: reads its commands, finishes writes that the socket did not take at
//! once, ends the connection properly.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::close::CloseCode;
use tailwater_protocol::codec::Codec;

use super::recovery::CatchUp;
use super::{End, Hex, Session, commands, ending, leave, pace};
use crate::transport::websocket::{Inbound, MessageReader, Violation};
use crate::worker::Worker;

/// What a session's task has to do.
pub(super) enum Event {
    Readable,
    Writable,
    End(End),
}

impl Session {
    pub(super) fn poll_event(
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
        if self.has_backlog() && self.socket.poll_write_ready(context).is_ready() {
            return Poll::Ready(Event::Writable);
        }
        // Who does not read our answers does not get to ask more.
        if !asks_too_much && self.socket.poll_read_ready(context).is_ready() {
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
    let mut reader = MessageReader::new(
        worker.config().websocket.max_message_bytes,
        session.encoding.is_deflated(),
    );
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
    finish(&session, &worker, end).await;
}

/// Gives up what the session holds, and ends its connection.
pub(super) async fn finish(session: &Session, worker: &Worker, end: End) {
    leave(session, worker);
    tracing::debug!(session_id = %Hex(session.id), remote_addr = %session.remote_addr, ?end, "session ends");
    Box::pin(ending::close(session, worker, end)).await;
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
pub(super) async fn alongside(
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
    if codec == session.encoding.codec {
        let commands = codec.decode_commands(body);
        return commands::execute(session, worker, commands).await;
    }
    let reason = match session.encoding.codec {
        Codec::Json => "this session speaks JSON: send text messages",
        Codec::MessagePack => "this session speaks MessagePack: send binary messages",
    };
    session.end(End::Close(CloseCode::Unsupported, reason));
}
