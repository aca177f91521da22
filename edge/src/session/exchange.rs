//! Sessions for one request: what they are told waits in the outbox until it is the answer.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, CommandMessage, Publish, Subscribe};
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::event_stream::{self, Places};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::push::{Connected, Push};
use tokio::time::{Instant, timeout_at};

use super::commands::{self, Decoded};
use super::delivery::STORED_BYTES;
use super::places::Start;
use super::recovery::CatchUp;
use super::task::alongside;
use super::{End, Session, leave};
use crate::worker::{Worker, leaving};

/// How long a poll that may not wait for news reads what is stored.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Most commands of one request: the rate of commands is one of each session, and each request has one of its own.
const MAX_COMMANDS: usize = 64;

/// The id of the one command of a publication: what else its session is told has none.
const PUBLISH_ID: u32 = 0;

/// What begins a message that is no news: it answers the request itself.
const QUIET: [&[u8]; 3] = [
    br#"{"type":"connected""#,
    br#"{"type":"subscribed""#,
    br#"{"type":"position""#,
];

/// Answers a poll: what there is for the client, or what comes within `wait`. JSON.
pub(crate) async fn poll(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    connected: Connected,
    subscribes: Vec<Subscribe>,
    wait: Duration,
) -> Vec<u8> {
    let deadline = Instant::now() + wait;
    let start = Start::of(&subscribes);
    session.push_message(session.encoding.encode(&Push::Connected(connected).into()));
    let mut catch_up = CatchUp::new(session, worker);
    let joining = Box::pin(commands::subscribe_all(session, worker, subscribes.into_iter()));
    alongside(session, worker, joining, &mut catch_up).await;
    let mut until = async |deadline, is_enough: fn(&Session) -> bool| {
        let enough = poll_fn(|context| session.poll_until(is_enough, context, &mut catch_up));
        let _ = timeout_at(deadline, enough).await;
    };
    until(Instant::now() + READ_TIMEOUT, Session::is_level).await;
    tokio::select! {
        biased;
        // Who asks again comes to another edge.
        _ = worker.drain().begun() => leaving::see_off_poll(worker, session),
        () = until(deadline, |session| session.is_level() && session.has_news()) => {}
    }
    drop(catch_up);
    let places = poll_fn(|context| match session.places(worker, &start.channels) {
        Some(places) => Poll::Ready(places),
        None => {
            // The hub gives way to others on its way: look again when it has.
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    let mut places = places.await;
    if session.is_cut() {
        // It does not get what has waited for it.
        places.0.fill(None);
    }
    let mut body = br#"{"messages":["#.to_vec();
    session.take_messages(worker, &start.channels, &places, &mut body);
    body.extend_from_slice(br#"],"cursor":""#);
    // An epoch may be any visible text.
    let cursor = serde_json::Value::from(start.cursor(&places).to_string()).to_string();
    body.extend_from_slice(&cursor.as_bytes()[1..cursor.len() - 1]);
    body.extend_from_slice(br#""}"#);
    body
}

/// Carries out the commands of one request and gives the answers, as a JSON array.
pub(crate) async fn commands(session: &Rc<Session>, worker: &Rc<Worker>, body: &[u8]) -> Vec<u8> {
    let mut decoded = session.encoding.codec.decode_commands(body);
    if decoded.len() > MAX_COMMANDS {
        let message =
            format!("a request holds at most {MAX_COMMANDS} commands: send the others in another one");
        decoded = vec![Err(ErrorMessage::new(ErrorCode::Limit, message))];
    }
    carry_out(session, worker, decoded.into_iter().map(without_stream).collect()).await;
    let mut answers = vec![b'['];
    session.take_messages(worker, &[], &Places::default(), &mut answers);
    answers.push(b']');
    answers
}

/// Publishes, and gives the answer.
pub(crate) async fn publish(session: &Rc<Session>, worker: &Rc<Worker>, publish: Publish) -> ServerBody {
    let command = CommandMessage {
        id: Some(PUBLISH_ID),
        command: Command::Publish(publish),
    };
    carry_out(session, worker, vec![Ok(command)]).await;
    leave(session, worker);
    let events = session.outbox.borrow_mut().take_all(session.encoding);
    let decode = |message| session.encoding.codec.decode_server(message).unwrap_or_default();
    let mut told = event_stream::messages(&events).flat_map(decode);
    let answer = told.find(|message| message.id == Some(PUBLISH_ID));
    answer.map_or_else(
        || {
            let message = "the session was ended before the answer came: repeat it with the same `key`";
            let error = ErrorMessage::new(ErrorCode::Unavailable, message);
            ServerBody::Push(Push::Error(ErrorMessage {
                retry_after_ms: Some(commands::RETRY_AFTER_MS),
                ..error
            }))
        },
        |answer| answer.body,
    )
}

/// Refuses what is about a stream that lasts.
fn without_stream(decoded: Decoded) -> Decoded {
    let CommandMessage { id, command } = decoded?;
    let instead = match &command {
        Command::Subscribe(_) | Command::Unsubscribe(_) => {
            "a request has no subscriptions: name the channels in the query of `/sse` or `/poll`"
        }
        Command::Connect(_) | Command::Refresh(_) => {
            "send the token with each request, in `Authorization: Bearer`"
        }
        _ => return Ok(CommandMessage { id, command }),
    };
    let message = format!("`{}` is for WebSockets: {instead}", command.kind());
    Err(ErrorMessage {
        id,
        ..ErrorMessage::new(ErrorCode::BadMessage, message)
    })
}

async fn carry_out(session: &Rc<Session>, worker: &Rc<Worker>, commands: Vec<Decoded>) {
    let mut catch_up = CatchUp::new(session, worker);
    let executing = Box::pin(commands::execute(session, worker, commands));
    alongside(session, worker, executing, &mut catch_up).await;
    // Each has a deadline of its own.
    poll_fn(|context| {
        session.waker.set(Some(context.waker().clone()));
        session.poll_requests(worker, context);
        match session.is_ending() || !session.has_requests() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

impl Session {
    /// Goes on until it is enough, or the answer is large enough or takes no more, or the session ends.
    fn poll_until(
        &self,
        is_enough: fn(&Self) -> bool,
        context: &mut Context<'_>,
        catch_up: &mut CatchUp<'_>,
    ) -> Poll<()> {
        self.waker.set(Some(context.waker().clone()));
        catch_up.poll(context);
        let is_full = self.full.get() || self.outbox.borrow().bytes() >= STORED_BYTES / 2;
        if is_full || self.is_ending() || is_enough(self) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn is_level(&self) -> bool {
        !self.behind.get()
    }

    /// Whether there is something to tell beside that the request was understood.
    fn has_news(&self) -> bool {
        let is_news = |event: &[u8]| {
            event_stream::messages(event).any(|message| !QUIET.iter().any(|quiet| message.starts_with(quiet)))
        };
        self.outbox.borrow().has_news(is_news)
    }

    fn is_cut(&self) -> bool {
        matches!(self.end.get(), Some(End::Cut(..)))
    }

    /// Ends the session and writes what it was told behind `body`, with commas between: last where it stands, and why it
    /// ends if it is not that the request is done.
    fn take_messages(&self, worker: &Worker, channels: &[Channel], places: &Places, body: &mut Vec<u8>) {
        leave(self, worker);
        if self.is_cut() {
            self.outbox.borrow_mut().clear();
        }
        let mut events = self.outbox.borrow_mut().take_all(self.encoding);
        for (channel, place) in channels.iter().zip(&places.0) {
            if let Some(place) = place {
                let position = Push::Position {
                    channel: channel.clone(),
                    offset: place.offset,
                    epoch: place.epoch.clone(),
                };
                events.extend_from_slice(&self.encoding.encode(&position.into()));
            }
        }
        if let Some(End::Close(code, reason) | End::Cut(code, reason)) = self.end.get() {
            events.extend_from_slice(&self.encoding.close(code.code(), reason));
        }
        for (index, message) in event_stream::messages(&events).enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(message);
        }
    }
}
