//! What the tests of the whole system share: a real nats-server, an edge in this process, the binary,
//! and waiting without sleeping.

pub mod authority;
pub mod binary;
pub mod checker;
pub mod cluster;
pub mod collector;
pub mod durable;
pub mod edge;
pub mod event_source;
pub mod eventually;
pub mod hostile;
pub mod link;
pub mod nats_process;
pub mod nats_server;
pub mod process;
pub mod proxy;
pub mod raw_nats;
pub mod raw_socket;
pub mod rolling;
pub mod scrape;
pub mod service;
pub mod token;

pub use authority::Authority;
pub use binary::binary;
pub use cluster::Cluster;
pub use collector::Collector;
pub use edge::Edge;
pub use event_source::EventSource;
pub use eventually::eventually;
pub use nats_process::NatsProcess;
pub use nats_server::NatsServer;
pub use process::Process;
pub use proxy::Proxy;
pub use raw_socket::RawSocket;
pub use scrape::Scrape;
pub use service::Service;

use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, Subscribe};
use tailwater_protocol::message::{ServerBody, ServerMessage};
use tailwater_protocol::push::{Push, Update};

/// Messages of a test must come within this time.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(15);

/// Waits for `future`, but not for ever.
///
/// # Panics
/// If it takes longer than [`DEADLINE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing within {DEADLINE:?}"),
    }
}

/// The next message of the server.
///
/// # Panics
/// If none comes in time, or the connection ends.
pub async fn next(client: &mut Client) -> ServerMessage {
    soon("a message", client.next())
        .await
        .expect("the connection lives")
}

/// The next `update`; anything else but `position` fails the test.
///
/// # Panics
/// If something else comes.
pub async fn next_update(client: &mut Client) -> Update {
    match next(client).await.body {
        ServerBody::Push(Push::Update(update)) => update,
        other => panic!("expected an update, got {other:?}"),
    }
}

/// The command to subscribe to `channel` from now on.
///
/// # Panics
/// If `channel` is none.
pub fn subscribe(channel: &str) -> Command {
    let channel = Channel::new(channel).expect("a channel");
    Command::Subscribe(Subscribe {
        channel,
        since: None,
        latest: false,
    })
}

/// Connects, reads the welcome, subscribes to `channels` and reads the confirmations.
///
/// # Panics
/// If any of that fails.
pub async fn subscriber(
    edge: &Edge,
    codec: Option<tailwater_protocol::codec::Codec>,
    channels: &[&str],
) -> Client {
    let mut client = soon("a connection", Client::connect(edge.ws(), codec))
        .await
        .expect("the edge answers");
    assert_eq!(next(&mut client).await.kind(), "connected");
    for channel in channels {
        client
            .send(Some(1), subscribe(channel))
            .await
            .expect("the connection lives");
        let answer = next(&mut client).await;
        assert_eq!((answer.kind(), answer.id), ("subscribed", Some(1)), "{answer:?}");
    }
    client
}
