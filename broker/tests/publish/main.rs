//! Publications of clients against real nats-servers: each ends in an offset or in an error that says what to do.

#[path = "../wire/ports.rs"]
mod ports;
#[path = "../wire/server.rs"]
#[expect(dead_code, reason = "the tests of the lean reader use the rest")]
mod server;
#[path = "../wire/witness.rs"]
#[expect(dead_code, reason = "the tests of the lean reader use the rest")]
mod witness;

mod outages;
mod refusals;
mod stored;

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use rustix::process::Signal;
use tailwater_broker::publish::{ClientPublication, MAX_USER_BYTES, Publisher, Stored, USER_HEADER};
use tailwater_broker::subject::SubjectPrefix;
use tailwater_broker::{BrokerError, Connection, ConnectionState, Credentials, NatsConfig};
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::Key;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::server::Server;
use crate::witness::{DEADLINE, config, eventually};

/// One who may publish as the test says, and one who may do everything.
fn users(permissions: &str) -> String {
    format!(
        "authorization {{ users: [ {{ user: edge, password: p, permissions: {{ {permissions} }} }}, \
         {{ user: admin, password: p }} ] }}"
    )
}

fn as_user(server: &Server, user: &str) -> NatsConfig {
    let mut config = config(&[server.url()]);
    config.credentials = Credentials::UserPassword {
        user: user.to_owned(),
        password: "p".to_owned(),
    };
    config
}

async fn publisher_of(config: &NatsConfig) -> Publisher {
    let connection = Connection::open(config, "publish")
        .await
        .expect("a good configuration");
    connection
        .wait_until_connected(DEADLINE)
        .await
        .expect("connected");
    Publisher::new(connection)
}

async fn publisher(server: &Server) -> Publisher {
    publisher_of(&config(&[server.url()])).await
}

/// The stream `CHAT` over `chat.>`, made by somebody else.
async fn create(client: async_nats::Client, change: impl FnOnce(&mut stream::Config)) -> jetstream::Context {
    let mut config = stream::Config {
        name: "CHAT".to_owned(),
        subjects: vec!["chat.>".to_owned()],
        allow_direct: true,
        ..stream::Config::default()
    };
    change(&mut config);
    let context = jetstream::new(client);
    context.create_stream(config).await.expect("a stream");
    context
}

async fn stranger(server: &Server) -> async_nats::Client {
    async_nats::connect(server.url()).await.expect("it listens")
}

/// What `client` hears on `subject`, from now on.
async fn listen(client: &async_nats::Client, subject: &'static str) -> async_nats::Subscriber {
    let heard = client.subscribe(subject).await.expect("the connection lives");
    // A flush is written, no more; the server answers in order that nobody serves this.
    client.request("nobody", "".into()).await.expect_err("nobody");
    heard
}

async fn stream_with(change: impl FnOnce(&mut stream::Config)) -> (Server, jetstream::Context) {
    let server = Server::start("").await;
    let context = create(stranger(&server).await, change).await;
    (server, context)
}

/// What a test publishes.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    channel: &'a str,
    payload: &'a [u8],
    user: Option<&'a str>,
    key: Option<&'a str>,
    within: Duration,
}

const PLAIN: Attempt<'_> = Attempt {
    channel: "chat.a",
    payload: b"hello",
    user: None,
    key: None,
    within: DEADLINE,
};

async fn store(publisher: &Publisher, attempt: Attempt<'_>) -> Result<Stored, BrokerError> {
    let channel = Channel::new(attempt.channel).expect("a channel");
    let key = attempt.key.map(|key| Key::new(key).expect("a key"));
    let publication = ClientPublication {
        channel: &channel,
        payload: Bytes::copy_from_slice(attempt.payload),
        user: attempt.user,
        key: key.as_ref(),
    };
    publisher
        .publish_stored(&SubjectPrefix::default(), "CHAT", publication, attempt.within)
        .await
}

/// Stores it, and gives its offset and whether it was there before.
async fn stored(publisher: &Publisher, attempt: Attempt<'_>) -> (u64, bool) {
    let stored = store(publisher, attempt).await.expect("stored");
    (stored.offset.get(), stored.duplicate)
}

async fn refused(publisher: &Publisher, attempt: Attempt<'_>) -> BrokerError {
    store(publisher, attempt).await.expect_err("refused")
}

async fn count(context: &jetstream::Context) -> u64 {
    let mut stream = context.get_stream("CHAT").await.expect("a stream");
    stream.info().await.expect("its state").state.messages
}
