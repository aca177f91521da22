//! One subscriber: connects, subscribes, keeps its cursors as the protocol tells a client to, and notes what it reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tailwater_edge::client::{Client, ClientError};
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Subscribe, Unsubscribe};
use tailwater_protocol::message::{ServerBody, ServerMessage};
use tailwater_protocol::position::{Position, Since};
use tailwater_protocol::push::{Push, Update};
use tailwater_protocol::reply::{Reply, Subscribed};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Habit, Subscriber, World};
use crate::checker::pause;
use crate::checker::truth::{fingerprint, lock};
use crate::checker::verdict::{Event, Wrong};

/// The life of one subscriber.
pub(super) struct Life {
    pub(super) me: Arc<Subscriber>,
    pub(super) world: Arc<World>,
    pub(super) habit: Habit,
    pub(super) codec: Codec,
    pub(super) late: bool,
    pub(super) random: fastrand::Rng,
    /// As the client keeps them, by the index of the subscription.
    pub(super) cursors: Vec<Option<Position>>,
    /// In this connection, between `subscribed` and `unsubscribed`.
    pub(super) active: Vec<bool>,
    /// In this connection, between an `unsubscribe` and its answer: a second one would be answered too.
    pub(super) leaving: bool,
}

/// Why a connection is over.
enum End {
    /// The edge or the network ended it.
    Broken,
    /// The subscriber did.
    Chosen,
}

/// What a message asks the subscriber to do.
enum Then {
    Read,
    Retry(usize, Duration),
    Unsubscribed(usize),
}

impl Life {
    /// Connects again and again, until it is told to stop.
    pub(super) async fn live(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.connections() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn connections(&mut self) {
        if self.late && !self.is_calm() {
            self.rest(1000..15_000).await;
        }
        let mut edge = self.random.usize(..self.world.edges.len());
        let mut failures = 0;
        loop {
            let url = &self.world.edges[edge];
            let opening = timeout(Duration::from_secs(5), Client::connect(url, Some(self.codec)));
            let end = match opening.await {
                Ok(Ok(client)) => {
                    self.world.connections.fetch_add(1, Ordering::Relaxed);
                    failures = 0;
                    self.active.fill(false);
                    self.leaving = false;
                    Box::pin(self.session(client)).await
                }
                Ok(Err(_)) | Err(_) => {
                    failures = (failures + 1).min(4);
                    End::Broken
                }
            };
            match end {
                End::Chosen => self.rest(100..4000).await,
                // With back-off and jitter, to another edge.
                End::Broken => pause(Duration::from_millis(self.random.u64(20..100 << failures))).await,
            }
            edge = (edge + 1) % self.world.edges.len();
        }
    }

    async fn session(&mut self, mut client: Client) -> End {
        for index in 0..self.cursors.len() {
            if self.subscribe(&mut client, index).await.is_err() {
                return End::Broken;
            }
        }
        let mut turn = self.turn();
        loop {
            let leaves = matches!(self.habit, Habit::Closes | Habit::Breaks) && !self.is_calm();
            let next = if leaves {
                timeout_at(turn, client.next()).await
            } else {
                Ok(client.next().await)
            };
            let message = match next {
                Ok(Ok(message)) => message,
                Ok(Err(error)) => {
                    self.note(&error);
                    return End::Broken;
                }
                Err(_) => {
                    if self.habit == Habit::Closes {
                        // What arrives meanwhile is read by nobody, and the cursor stays.
                        let _ = timeout(Duration::from_secs(2), client.close()).await;
                    }
                    return End::Chosen;
                }
            };
            let mut sent = Ok(());
            match self.handle(message) {
                Then::Read => {}
                Then::Retry(index, after) => {
                    pause(after).await;
                    sent = self.subscribe(&mut client, index).await;
                }
                Then::Unsubscribed(index) => {
                    self.rest(100..3000).await;
                    sent = self.subscribe(&mut client, index).await;
                }
            }
            if Instant::now() >= turn && !self.is_calm() {
                turn = self.turn();
                match self.habit {
                    Habit::Stalls => self.rest(1000..8000).await,
                    Habit::Unsubscribes if self.active[0] && !self.leaving => {
                        self.leaving = true;
                        let channel = lock(&self.me.followers[0]).channel().clone();
                        let command = Command::Unsubscribe(Unsubscribe { channel });
                        sent = sent.and(client.send(Some(UNSUBSCRIBE), command).await);
                    }
                    _ => {}
                }
            }
            if let Err(error) = sent {
                self.note(&error);
                return End::Broken;
            }
        }
    }

    async fn subscribe(&self, client: &mut Client, index: usize) -> Result<(), ClientError> {
        let command = Command::Subscribe(Subscribe {
            channel: lock(&self.me.followers[index]).channel().clone(),
            since: self.cursors[index].clone().map(Since::Position),
            latest: false,
        });
        let id = u32::try_from(index).expect("there are few");
        client.send(Some(id), command).await
    }

    fn handle(&mut self, message: ServerMessage) -> Then {
        match message.body {
            ServerBody::Reply(Reply::Subscribed(subscribed)) => self.subscribed(subscribed),
            ServerBody::Reply(Reply::Unsubscribed { channel }) => {
                let Some(index) = self.index(&channel) else {
                    return self.complain(0, &format!("`unsubscribed` from {channel}"));
                };
                self.active[index] = false;
                self.leaving = false;
                Then::Unsubscribed(index)
            }
            ServerBody::Push(Push::Update(update)) => self.update(&update),
            ServerBody::Push(Push::Lost(lost)) => {
                let Some(index) = self.index(&lost.channel) else {
                    return self.complain(0, &format!("`lost` of {}", lost.channel));
                };
                let event = Event::Lost {
                    from: lost.from.map(u64::from),
                    to: lost.to.map(u64::from),
                    reason: lost.reason.to_string(),
                };
                self.record(index, event)
            }
            ServerBody::Push(Push::Position {
                channel,
                offset,
                epoch,
            }) => match self.index(&channel) {
                Some(index) if self.active[index] && channel.is_wildcard() => {
                    let event = Event::Position { offset: offset.get() };
                    self.cursors[index] = Some(Position { offset, epoch });
                    self.record(index, event)
                }
                index => self.complain(index.unwrap_or(0), &format!("`position` of {channel}")),
            },
            ServerBody::Push(Push::Error(error)) => {
                self.count(format!("error {}", error.code));
                let after = Duration::from_millis(error.retry_after_ms.unwrap_or(200).min(5000).into());
                match error.id {
                    Some(UNSUBSCRIBE) | None => Then::Read,
                    Some(id) => Then::Retry(id as usize, after),
                }
            }
            _ => Then::Read,
        }
    }

    fn subscribed(&mut self, subscribed: Subscribed) -> Then {
        let channel = &subscribed.channel;
        let Some(index) = self.index(channel) else {
            return self.complain(0, &format!("`subscribed` to {channel}"));
        };
        let (true, Some(offset), Some(epoch)) = (subscribed.durable, subscribed.offset, subscribed.epoch)
        else {
            return self.complain(index, &format!("`subscribed` to {channel} without a cursor"));
        };
        self.active[index] = true;
        let event = Event::Subscribed {
            since: self.cursors[index].as_ref().map(|cursor| cursor.offset.get()),
            offset: offset.get(),
            epoch: epoch.to_string(),
            recovered: subscribed.recovered,
        };
        self.cursors[index] = Some(Position { offset, epoch });
        self.record(index, event)
    }

    fn update(&mut self, update: &Update) -> Then {
        let (index, offset) = match (self.index(&update.channel), update.offset) {
            (Some(index), Some(offset)) if self.active[index] => (index, offset),
            (index, offset) => {
                let what = format!("`update` of {} at {offset:?}, not subscribed to", update.channel);
                return self.complain(index.unwrap_or(0), &what);
            }
        };
        if update.channel.is_wildcard() {
            if update.subject.is_none() {
                return self.complain(index, "`update` of a pattern without `subject`");
            }
        } else if let Some(cursor) = &mut self.cursors[index] {
            cursor.offset = offset;
        }
        let subject = update.subject.as_deref().unwrap_or(update.channel.as_str());
        let event = Event::Update {
            subject: lock(&self.world.truth).id(subject),
            offset: offset.get(),
            print: fingerprint(&update.payload.to_bytes()),
        };
        self.record(index, event)
    }

    fn record(&self, index: usize, event: Event) -> Then {
        let truth = lock(&self.world.truth);
        lock(&self.me.followers[index]).record(event, &truth);
        Then::Read
    }

    fn complain(&self, index: usize, what: &str) -> Then {
        lock(&self.me.followers[index]).complain(Wrong::Protocol(what.to_owned()));
        Then::Read
    }

    fn index(&self, channel: &Channel) -> Option<usize> {
        let mut followers = self.me.followers.iter();
        followers.position(|follower| lock(follower).channel() == channel)
    }

    /// Does not read for a time, by choice.
    async fn rest(&mut self, milliseconds: std::ops::Range<u64>) {
        self.me.away.store(true, Ordering::Relaxed);
        pause(Duration::from_millis(self.random.u64(milliseconds))).await;
        self.me.away.store(false, Ordering::Relaxed);
    }

    /// When the habit acts next.
    fn turn(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(self.random.u64(2000..10_000))
    }

    fn is_calm(&self) -> bool {
        self.world.calm.load(Ordering::Relaxed)
    }

    fn note(&self, error: &ClientError) {
        let end = match error {
            ClientError::Closed { code, .. } => format!("closed {code}"),
            ClientError::Decode(error) => {
                self.complain(0, &format!("a message that cannot be read: {error}"));
                "unreadable".to_owned()
            }
            _ => "broken".to_owned(),
        };
        self.count(end);
    }

    fn count(&self, what: String) {
        *lock(&self.world.ends).entry(what).or_default() += 1;
    }
}

/// The id of `unsubscribe`; those of `subscribe` are the indexes of the subscriptions.
const UNSUBSCRIBE: u32 = 1000;
