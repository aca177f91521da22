//! A real nats-server of a test's own, on a free port, supervised as in production.

use std::net::{Ipv4Addr, SocketAddr};

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use tailwater_broker::embedded::{self, Embedded, EmbeddedConfig};

use crate::{binary, soon};

/// A nats-server; ends when it is dropped.
pub struct NatsServer {
    embedded: Embedded,
    _state: tempfile::TempDir,
}

impl NatsServer {
    /// Starts one with JetStream and an empty store. Installs nats-server if the machine has none.
    ///
    /// # Panics
    /// With the reason and what to do, if there is none to be had.
    pub async fn start() -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// As [`NatsServer::start`], on this address.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub async fn start_on(listen: SocketAddr) -> Self {
        let state = tempfile::tempdir().expect("a temporary folder");
        let config = EmbeddedConfig {
            supervisor: vec![binary().into(), "supervise".into()],
            listen: Some(listen),
            state_dir: state.path().to_owned(),
            cache_dir: embedded::default_cache_dir().expect("a cache folder"),
        };
        match Embedded::start(config, &|line| eprintln!("{line}")).await {
            Ok(embedded) => Self {
                embedded,
                _state: state,
            },
            Err(error) => panic!("no nats-server: {error}"),
        }
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        self.embedded.url()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.embedded.pid()
    }

    /// A NATS client that is not ours.
    ///
    /// # Panics
    /// If the server does not let it in.
    pub async fn client(&self) -> async_nats::Client {
        soon("a NATS connection", async_nats::connect(self.url()))
            .await
            .expect("the server answers")
    }

    /// What a client that is not ours hears on `subject`, from now on.
    ///
    /// # Panics
    /// If the server does not let it.
    pub async fn listen(&self, subject: &'static str) -> Subscriber {
        let client = self.client().await;
        let heard = client.subscribe(subject).await.expect("the connection lives");
        handled(&client).await;
        heard
    }

    /// Ends it and waits for that.
    pub async fn stop(self) {
        self.embedded.stop().await;
    }
}

/// Waits until the server has handled all that `client` sent, subscriptions too, so that what others publish from now on
/// meets them. A flush says only that it was written to the socket.
///
/// # Panics
/// If the connection ends, or the client may not listen on its inboxes.
pub async fn handled(client: &async_nats::Client) {
    let inbox = client.new_inbox();
    let mut echo = client
        .subscribe(inbox.clone())
        .await
        .expect("the connection lives");
    client
        .publish(inbox, "".into())
        .await
        .expect("the connection lives");
    soon("an echo", echo.next()).await.expect("the connection lives");
}
