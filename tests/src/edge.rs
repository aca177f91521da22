//! An edge in the test's own process.

use std::io::Write;

use tailwater_edge::Server;
use tailwater_edge::config::Config;

use crate::{NatsServer, soon};

/// What most tests configure: every channel open to everybody, `chat.>` for publications too.
pub const OPEN: &str = r#"
[namespace.all]
channels = ">"
anonymous = true
[namespace.chat]
channels = "chat.>"
anonymous = true
publish = true
"#;

/// A configuration whose edge waits neither for balancers nor for clients when it stops, unless it says how it drains.
pub fn leaving_at_once(config: &str) -> String {
    if config.contains("[drain]") {
        return config.to_owned();
    }
    format!("{config}\n[drain]\nlinger_secs = 0\nwindow_secs = 0\n")
}

/// A running edge.
pub struct Edge {
    server: Server,
}

impl Edge {
    /// An edge with the [`OPEN`] configuration, connected to `nats`.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(nats: &NatsServer) -> Self {
        Self::start_with(nats.url(), OPEN).await
    }

    /// An edge with this configuration, on free ports, connected to the NATS at `nats`.
    ///
    /// # Panics
    /// If it does not start, or does not reach NATS.
    pub async fn start_with(nats: &str, config: &str) -> Self {
        let edge = Self::start_unconnected(nats, config).await;
        let connected = edge.server.connected(crate::DEADLINE).await;
        assert!(connected, "the edge connects to {nats}");
        edge
    }

    /// As [`Edge::start_with`], without waiting for NATS.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_unconnected(nats: &str, config: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(leaving_at_once(config).as_bytes())
            .expect("a temporary file takes text");
        let flags = [
            ("listen", "127.0.0.1:0".to_owned()),
            ("admin.listen", "127.0.0.1:0".to_owned()),
            ("edge.workers", "2".to_owned()),
            ("nats.url", nats.to_owned()),
        ];
        let config = Config::load(Some(file.path()), [], &flags).expect("the configuration is right");
        let server = soon("a start", Box::pin(Server::start(config)))
            .await
            .expect("the edge starts");
        Self { server }
    }

    /// An edge for which there is no NATS, with the [`OPEN`] configuration and `config` behind it.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_alone(config: &str) -> Self {
        Self::start_unconnected("nats://127.0.0.1:1", &format!("{OPEN}{config}")).await
    }

    /// The WebSocket address.
    pub fn ws(&self) -> &str {
        self.server.ws_url()
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What the admin listener answers: the status and the body.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        crate::raw_socket::get(self.server.admin_addr(), path).await
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// If a worker has panicked.
    pub async fn stop(self) {
        soon("a clean end", Box::pin(self.server.stop()))
            .await
            .expect("no worker panicked");
    }
}
