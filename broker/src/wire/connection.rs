//! The task that owns a connection: connects, reads, hands over, writes, and connects again.
//!
//! One turn: read what the socket has, hand over every message in it, tell the handler that this was
//! all, take the commands that wait, and write what all of that came to in one piece. No task is woken
//! and no queue is touched for a message.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::command::Command;
use super::dial::{Dialer, Dialled, dial};
use super::handle::{About, QUEUED_BYTES, Shared, Wire};
use super::handler::{Handler, Incident};
use super::link::Link;
use super::requests::Requests;
use super::servers::{ServerOrder, Servers};
use super::subscriptions::{Numbers, Subscriptions};
use super::tls::Tls;
use super::{ConnectionState, auth};
use crate::config::NatsConfig;
use crate::error::BrokerError;

/// Commands that wait for the connection; a full queue makes the one who asks wait.
const COMMANDS: usize = 4096;

/// Commands that one turn takes, so that reading goes on beside any number of them.
const COMMANDS_A_TURN: usize = 256;

/// The longest time that is spent on saying good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// An attempt to connect.
type Attempt = Pin<Box<dyn Future<Output = Result<Box<Dialled>, String>> + Send>>;

/// The owner's side of a connection: whoever calls [`Driver::run`] runs it.
pub struct Driver<H: Handler> {
    pub(super) handler: H,
    pub(super) role: String,
    dialer: Arc<Dialer>,
    pub(super) servers: Servers,
    pub(super) subscriptions: Subscriptions<H::Subscription>,
    pub(super) requests: Requests,
    commands: mpsc::Receiver<Command<H::Subscription>>,
    pub(super) batch: Vec<Command<H::Subscription>>,
    pub(super) shared: Arc<Shared>,
    pub(super) state: watch::Sender<ConnectionState>,
    pub(super) about: watch::Sender<About>,
    pub(super) was_connected: bool,
    /// The server does not let us have our inbox: no request can be answered.
    pub(super) inbox_refused: bool,
}

/// Why a connection is not served any more.
enum Ended {
    /// Nobody holds a [`Wire`] any more.
    Stopped,
    /// It broke.
    Lost(String),
    /// Another server has taken over.
    Moved(Box<Dialled>),
}

/// What has happened while a connection waited.
#[derive(Default)]
struct Woken {
    read: bool,
    /// The stream has ended, and why.
    ended: Option<String>,
    /// Commands were taken; none means that there will be no more.
    commands: Option<usize>,
    tick: bool,
    moved: Option<Result<Box<Dialled>, String>>,
    /// There is room to go on with what was stopped for lack of it.
    room: bool,
}

/// Sets up a connection. Nothing happens before [`Driver::run`], which goes on connecting for ever.
/// `role` completes the connection's name.
///
/// # Errors
/// [`BrokerError::Credentials`] and [`BrokerError::Setup`] for a configuration that can never work.
pub fn open<H: Handler>(
    config: &NatsConfig,
    role: &str,
    order: ServerOrder,
    handler: H,
) -> Result<(Wire<H::Subscription>, Driver<H>), BrokerError> {
    let servers = Servers::new(&config.servers, order, config.reconnect_max_delay)?;
    auth::check(&config.credentials)?;
    let tls = Tls::new(
        &config.tls,
        config.tls.required || config.tls.first || servers.want_tls(),
    )?;
    let (state, state_receiver) = watch::channel(ConnectionState::Away);
    let (about, about_receiver) = watch::channel(About::default());
    let (commands, command_receiver) = mpsc::channel(COMMANDS);
    let shared = Arc::new(Shared {
        inbox: inbox(&config.inbox_prefix)?,
        numbers: Numbers::default(),
        next_request: AtomicU64::new(1),
        queued_bytes: Arc::new(Semaphore::new(QUEUED_BYTES as usize)),
        state: state_receiver,
        about: about_receiver,
        reconnects: Arc::default(),
        jetstream: Arc::default(),
    });
    let dialer = Dialer {
        config: config.clone(),
        name: format!("{} {role}", config.name),
        tls,
    };
    let driver = Driver {
        handler,
        role: role.to_owned(),
        dialer: Arc::new(dialer),
        servers,
        subscriptions: Subscriptions::default(),
        requests: Requests::default(),
        commands: command_receiver,
        batch: Vec::new(),
        shared: shared.clone(),
        state,
        about,
        was_connected: false,
        inbox_refused: false,
    };
    Ok((Wire { shared, commands }, driver))
}

/// `prefix.random.`, which nobody can guess: whoever could might answer our requests.
fn inbox(prefix: &str) -> Result<String, BrokerError> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = [0_u8; 24];
    let source = rustls::crypto::ring::default_provider().secure_random;
    let filled = source.fill(&mut random);
    filled.map_err(|_| BrokerError::Setup("the system gives no random numbers".into()))?;
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    Ok(format!("{prefix}.{}.", letters.iter().collect::<String>()))
}

impl<H: Handler> Driver<H> {
    /// Allows so many requests in flight, instead of [`MAX_REQUESTS`](super::MAX_REQUESTS). Those that nobody waits for
    /// any more count until the next tick, or until there is no room.
    pub fn allow_requests(&mut self, most: usize) {
        self.requests.limit = most;
    }

    /// Runs until every [`Wire`] of this connection is dropped; a handler that holds one keeps it going.
    /// Dropping the future ends it at once.
    pub async fn run(mut self) {
        let mut next = None;
        loop {
            let dialled = match next.take() {
                Some(dialled) => dialled,
                None => match self.connect().await {
                    Some(dialled) => dialled,
                    None => break,
                },
            };
            let mut link = self.adopt(dialled);
            let ended = self.serve(&mut link).await;
            let reason = match ended {
                Ended::Stopped => {
                    self.state.send_replace(ConnectionState::Away);
                    let farewell = std::future::poll_fn(|cx| link.pipe.poll_shutdown(cx));
                    let _ = tokio::time::timeout(FAREWELL, farewell).await;
                    break;
                }
                Ended::Lost(reason) => reason,
                Ended::Moved(dialled) => {
                    let reason = format!("{} is about to leave", link.server);
                    next = Some(dialled);
                    reason
                }
            };
            self.lose(&mut link, reason);
        }
        self.requests.fail_all(|| BrokerError::Stopped);
    }

    /// Tries one server after the other until one accepts us; nothing if nobody wants that any more.
    async fn connect(&mut self) -> Option<Box<Dialled>> {
        loop {
            let (server, pause) = self.servers.next();
            let mut attempt: Attempt = Box::pin(dial(self.dialer.clone(), server, pause));
            let dialled = loop {
                tokio::select! {
                    dialled = &mut attempt => break dialled,
                    count = self.commands.recv_many(&mut self.batch, COMMANDS_A_TURN) => {
                        if count == 0 {
                            return None;
                        }
                        self.obey_away();
                    }
                }
            };
            match dialled {
                Ok(dialled) => return Some(dialled),
                Err(reason) => self.failed(reason),
            }
        }
    }

    /// A new connection begins.
    fn adopt(&mut self, dialled: Box<Dialled>) -> Link {
        self.servers.connected(dialled.server.clone());
        self.inbox_refused = false;
        let info = dialled.info.clone();
        let link = Link::new(*dialled, &format!("{}*", self.shared.inbox));
        self.servers.learn(&info.connect_urls);
        self.about.send_modify(|about| about.server = Arc::new(info));
        link
    }

    /// Serves a connection until it ends.
    async fn serve(&mut self, link: &mut Link) -> Ended {
        let every = self.dialer.config.ping_interval.max(Duration::from_millis(10));
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut move_on: Option<Attempt> = None;
        // What came right behind the server's acceptance is read already.
        let mut woken = Woken {
            read: true,
            ..Woken::default()
        };
        loop {
            if woken.read
                && let Err(error) = self.receive(link)
            {
                return Ended::Lost(error.to_string());
            }
            match woken.commands {
                Some(0) => return Ended::Stopped,
                Some(_) => self.obey(link),
                None => {}
            }
            match woken.moved {
                Some(Ok(dialled)) => return Ended::Moved(dialled),
                Some(Err(reason)) => {
                    move_on = None;
                    self.failed(reason);
                }
                None => {}
            }
            if let Some(reason) = woken.ended {
                return Ended::Lost(link.complaint.take().unwrap_or(reason));
            }
            if woken.tick {
                self.requests.forget_abandoned();
                if let Err(reason) = link.tick() {
                    return Ended::Lost(reason.to_owned());
                }
            }
            link.resume(&self.subscriptions);
            if link.leaving && move_on.is_none() {
                move_on = self
                    .servers
                    .next_other()
                    .map(|(server, pause)| -> Attempt { Box::pin(dial(self.dialer.clone(), server, pause)) });
            }
            woken = std::future::poll_fn(|cx| {
                wait(
                    link,
                    &mut self.commands,
                    &mut self.batch,
                    &mut tick,
                    &mut move_on,
                    cx,
                )
            })
            .await;
        }
    }

    /// The connection is gone: whoever waits for it hears so now.
    fn lose(&mut self, link: &mut Link, reason: String) {
        self.state.send_replace(ConnectionState::Away);
        self.servers.disconnected(link.since.elapsed());
        link.fail_barriers();
        self.requests.fail_all(|| BrokerError::Away);
        if link.connected {
            tracing::warn!(role = self.role, server = %link.server, reason, "lost the connection to NATS, reconnecting");
            self.about
                .send_modify(|about| about.failure = Some(reason.clone()));
            self.handler
                .incident(&Incident::Disconnected { reason }, &mut self.subscriptions);
        } else {
            self.failed(format!("{}: {reason}", link.server));
        }
    }

    /// An attempt to connect came to nothing.
    fn failed(&mut self, reason: String) {
        tracing::warn!(role = self.role, reason, "NATS cannot be reached, still trying");
        self.about
            .send_modify(|about| about.failure = Some(reason.clone()));
        self.handler
            .incident(&Incident::Failed(reason), &mut self.subscriptions);
    }
}

/// Writes what is to be written and waits until there is something to do; takes all that there is.
fn wait<S>(
    link: &mut Link,
    commands: &mut mpsc::Receiver<Command<S>>,
    batch: &mut Vec<Command<S>>,
    tick: &mut Interval,
    move_on: &mut Option<Attempt>,
    cx: &mut Context<'_>,
) -> Poll<Woken> {
    let mut woken = Woken::default();
    if let Poll::Ready(Err(error)) = link.pipe.poll_write(cx) {
        woken.ended = Some(error.to_string());
    }
    match link.pipe.poll_read(cx) {
        Poll::Ready(Ok(true)) => woken.read = true,
        Poll::Ready(Ok(false)) => woken.ended = Some("the server closed the connection".to_owned()),
        Poll::Ready(Err(error)) => woken.ended = Some(error.to_string()),
        Poll::Pending => {}
    }
    if link.has_room() {
        woken.room = link.is_resuming();
        if let Poll::Ready(count) = commands.poll_recv_many(cx, batch, COMMANDS_A_TURN) {
            woken.commands = Some(count);
        }
    }
    woken.tick = tick.poll_tick(cx).is_ready();
    if let Some(attempt) = move_on
        && let Poll::Ready(dialled) = attempt.as_mut().poll(cx)
    {
        woken.moved = Some(dialled);
    }
    let idle = !woken.read
        && woken.ended.is_none()
        && woken.commands.is_none()
        && !woken.tick
        && woken.moved.is_none()
        && !woken.room;
    if idle { Poll::Pending } else { Poll::Ready(woken) }
}
