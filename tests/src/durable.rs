//! What the tests of durable channels share: a configuration, a publisher that waits for acknowledgements, and a client
//! that keeps its cursor.

use std::collections::HashMap;

use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::codec::Codec;
use tailwater_protocol::command::{Command, Subscribe};
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::payload::Payload;
use tailwater_protocol::position::{Offset, Position, Since};
use tailwater_protocol::push::{Lost, Push, Update};
use tailwater_protocol::reply::{Reply, Subscribed};

use crate::{Edge, next, soon};

/// `d.>` is durable, in the stream `D`, and open to everybody.
pub const DURABLE: &str = r#"
[nats]
ping_interval_secs = 1
connect_timeout_secs = 1
reconnect_max_delay_secs = 1
[websocket]
close_timeout_secs = 0
[namespace.d]
channels = "d.>"
durable = true
anonymous = true
publish = true
stream = "D"
[stream.D]
audit_interval_secs = 1
"#;

/// Publishes as a service does that wants to know that it was stored.
#[derive(Debug)]
pub struct Publisher {
    client: async_nats::Client,
    jetstream: async_nats::jetstream::Context,
}

impl Publisher {
    /// Connects to the NATS at `url`.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn connect(url: &str) -> Self {
        let client = soon("a NATS connection", async_nats::connect(url))
            .await
            .expect("the server answers");
        let jetstream = async_nats::jetstream::new(client.clone());
        Self { client, jetstream }
    }

    /// The connection.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// JetStream's management.
    pub fn jetstream(&self) -> &async_nats::jetstream::Context {
        &self.jetstream
    }

    /// Publishes, and gives the offset at which it was stored.
    ///
    /// # Panics
    /// If it is not acknowledged.
    pub async fn store(&self, subject: &str, payload: impl Into<String>) -> u64 {
        let payload = payload.into().into();
        let sent = soon(
            "a publication",
            self.jetstream.publish(subject.to_owned(), payload),
        )
        .await
        .expect("the connection lives");
        soon("an acknowledgement", sent.into_future())
            .await
            .expect("the stream stores it")
            .sequence
    }

    /// Stores one publication for each of the numbers, and gives their offsets.
    ///
    /// # Panics
    /// As for [`Publisher::store`].
    pub async fn store_all(&self, subject: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut sent = Vec::new();
        for number in numbers {
            let payload = number.to_string().into();
            let publication = self.jetstream.publish(subject.to_owned(), payload).await;
            sent.push(publication.expect("the connection lives").into_future());
        }
        let stored = soon("acknowledgements", futures_util::future::try_join_all(sent)).await;
        let stored = stored.expect("the stream stores them");
        stored.into_iter().map(|stored| stored.sequence).collect()
    }
}

/// The command to subscribe to `channel` from `since` on.
///
/// # Panics
/// If `channel` is none.
pub fn subscribe_since(channel: &str, since: Option<Since>) -> Command {
    Command::Subscribe(Subscribe {
        channel: Channel::new(channel).expect("a channel"),
        since,
        latest: false,
    })
}

/// The cursor after `offset`, in the epoch of `subscribed`.
///
/// # Panics
/// If `subscribed` is not of a durable channel.
pub fn position(subscribed: &Subscribed, offset: u64) -> Since {
    Since::Position(Position {
        offset: Offset::new(offset).expect("an offset"),
        epoch: subscribed.epoch.clone().expect("a durable channel"),
    })
}

/// Connects and reads the welcome.
///
/// # Panics
/// If that fails.
pub async fn connect(edge: &Edge, codec: Option<Codec>) -> Client {
    let mut client = soon("a connection", Client::connect(edge.ws(), codec))
        .await
        .expect("the edge answers");
    assert_eq!(next(&mut client).await.kind(), "connected");
    client
}

/// Subscribes and reads the confirmation.
///
/// # Panics
/// If something else comes.
pub async fn join(client: &mut Client, channel: &str, since: Option<Since>) -> Subscribed {
    ask(client, subscribe_since(channel, since)).await
}

/// Sends a command that subscribes, and reads the confirmation.
///
/// # Panics
/// If something else comes.
pub async fn ask(client: &mut Client, command: Command) -> Subscribed {
    client.send(Some(7), command).await.expect("the connection lives");
    match next(client).await.body {
        ServerBody::Reply(Reply::Subscribed(subscribed)) => subscribed,
        other => panic!("expected `subscribed`, got {other:?}"),
    }
}

/// Waits for audits: a pattern's position passes the offset of what is published now. No loss may be told.
///
/// # Panics
/// If one is told, or it takes too long.
pub async fn audited(publisher: &Publisher, edge: &Edge, times: usize) {
    let mut client = connect(edge, None).await;
    join(&mut client, "d.*", None).await;
    for _ in 0..times {
        let stored = publisher.store("d.probe", "0").await;
        loop {
            match next(&mut client).await.body {
                ServerBody::Push(Push::Position { offset, .. }) if offset.get() >= stored => break,
                ServerBody::Push(Push::Position { .. } | Push::Update(_)) => {}
                other => panic!("expected updates and positions, got {other:?}"),
            }
        }
    }
}

/// The next push that is no `position`.
///
/// # Panics
/// If something else comes.
pub async fn next_push(client: &mut Client) -> Push {
    loop {
        match next(client).await.body {
            ServerBody::Push(Push::Position { .. }) => {}
            ServerBody::Push(push) => return push,
            other => panic!("expected a push, got {other:?}"),
        }
    }
}

/// The next update, `position` pushes left out.
///
/// # Panics
/// If something else comes.
pub async fn next_stored(client: &mut Client) -> Update {
    match next_push(client).await {
        Push::Update(update) => update,
        other => panic!("expected an update, got {other:?}"),
    }
}

/// The next notice of loss, `position` pushes left out.
///
/// # Panics
/// If something else comes.
pub async fn next_lost(client: &mut Client) -> Lost {
    match next_push(client).await {
        Push::Lost(lost) => lost,
        other => panic!("expected a loss, got {other:?}"),
    }
}

/// The next `position`; nothing else may come before it.
///
/// # Panics
/// If something else comes.
pub async fn next_position(client: &mut Client) -> u64 {
    match next(client).await.body {
        ServerBody::Push(Push::Position { offset, .. }) => offset.get(),
        other => panic!("expected a position, got {other:?}"),
    }
}

/// Reads updates and checks that these offsets come, in this order, with these numbers as payloads.
///
/// # Panics
/// If others come.
pub async fn expect(client: &mut Client, offsets: &[u64], numbers: impl IntoIterator<Item = u64>) {
    for (offset, number) in offsets.iter().zip(numbers) {
        let update = next_stored(client).await;
        let got = (update.offset.map(Offset::get), text(&update.payload));
        assert_eq!(got, (Some(*offset), number.to_string()));
    }
}

/// What a client has got: of each subject the numbers from 0 on, in order, each once.
#[derive(Debug, Default)]
pub struct Tally {
    /// By subject: the number that comes next.
    next: HashMap<String, u64>,
}

impl Tally {
    /// Counts an update, whose payload begins with its number.
    ///
    /// # Panics
    /// If it is not the one that comes next on its subject.
    pub fn add(&mut self, update: &Update) {
        let subject = update.subject.as_deref().unwrap_or(update.channel.as_str());
        let next = self.next.entry(subject.to_owned()).or_default();
        let number = number(&update.payload);
        assert_eq!(number, *next, "{subject} at {:?}", update.offset);
        *next += 1;
    }

    /// How many of this subject have come.
    pub fn count(&self, subject: &str) -> u64 {
        self.next.get(subject).copied().unwrap_or(0)
    }

    /// Begins again with what the next update of each subject says.
    pub fn start_over(&mut self) {
        self.next.clear();
    }

    /// Reads until so many of each of these subjects have come; nothing else but positions may come.
    ///
    /// # Panics
    /// If something else comes, or takes too long.
    pub async fn read(&mut self, client: &mut Client, goals: &[(&str, u64)]) {
        while goals.iter().any(|(subject, count)| self.count(subject) < *count) {
            let update = next_stored(client).await;
            self.add(&update);
        }
    }
}

/// The number with which a payload begins, which may be a text.
///
/// # Panics
/// If it begins with none.
pub fn number(payload: &Payload) -> u64 {
    let text = text(payload);
    let digits = text.trim_start_matches('"');
    let end = digits
        .find(|digit: char| !digit.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().expect("a number")
}

/// A payload as text.
pub fn text(payload: &Payload) -> String {
    String::from_utf8_lossy(&payload.to_bytes()).into_owned()
}
