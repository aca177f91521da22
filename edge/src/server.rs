//! Starts everything that serves clients, and ends it in order.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tailwater_broker::feed::{Feed, Inbox};
use tailwater_broker::history::{History, HistoryThread};
use tailwater_broker::publish::Publisher;
use tailwater_broker::stream::Provisioning;
use tailwater_broker::{Connection, ConnectionState, Streams};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, Health};
use crate::config::Config;
use crate::connections::{self, Connections, KernelLimits};
use crate::console::Console;
use crate::error::EdgeError;
use crate::nats::broker_config;
use crate::socket;
use crate::streams::specs;
use crate::worker::{self, Parts};

/// Says that a worker has ended, also when it ends by a panic. Nobody may listen any more.
struct Ending(mpsc::Sender<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

/// A running edge.
#[derive(Debug)]
pub struct Server {
    public: SocketAddr,
    ws: String,
    admin: SocketAddr,
    publisher: Publisher,
    streams: Streams,
    provisioning: Provisioning,
    stopping: watch::Sender<bool>,
    feed: Feed,
    history: History,
    history_thread: HistoryThread,
    workers: Vec<thread::JoinHandle<()>>,
    /// A worker that ended says so.
    ended: mpsc::Receiver<()>,
    operators: JoinHandle<()>,
}

impl Server {
    /// Starts the edge: listeners first, so that a taken port is known at once; then NATS, which may be
    /// away; then the workers. Must be called in a tokio runtime, which serves the operators and provisions
    /// the streams.
    ///
    /// # Errors
    /// [`EdgeError`] for what cannot work. That NATS is away is no error: it is waited for.
    pub async fn start(config: Config) -> Result<Self, EdgeError> {
        let config = Arc::new(config);
        let tls = config.tls.as_ref().map(socket::tls::settings).transpose();
        let tls = tls.map_err(EdgeError::Tls)?;
        let connections = Connections::new(config.websocket.max_connections);
        let count = config.workers.get();
        let limits = KernelLimits {
            send_buffer: config.outbox.send_buffer_bytes,
            unsent_low_water: config.outbox.unsent_low_water_bytes,
        };
        let listeners = connections::listeners(config.listen, count, limits)?;
        let public = listeners[0].local_addr().map_err(EdgeError::Runtime)?;
        let listen_error = |source| EdgeError::Listen {
            address: config.admin.listen,
            source,
        };
        let admin_listener = TcpListener::bind(config.admin.listen)
            .await
            .map_err(listen_error)?;
        let admin = admin_listener.local_addr().map_err(listen_error)?;

        let nats = broker_config(&config.nats)?;
        let inboxes: Vec<_> = (0..count)
            .map(|_| Arc::new(Inbox::new(config.feed.worker_inbox_bytes)))
            .collect();
        let publisher = Publisher::new(Connection::open(&nats, "publish").await?);
        let (history, history_thread) = History::start(&nats)?;
        let connection = publisher.connection().clone();
        let linger = config.feed.linger;
        let (streams, provisioning) = Streams::start(
            publisher.connection().clone(),
            config.nats.jetstream_domain.as_deref(),
            specs(&config.streams),
        );
        let feed = Feed::start(
            nats,
            inboxes.clone(),
            linger,
            history.clone(),
            connection,
            streams.clone(),
        )
        .await?;
        let (stopping, stopped) = watch::channel(false);
        let states = vec![
            feed.handle().state(),
            history.state(),
            publisher.connection().state(),
        ];
        let health = Health {
            nats: states,
            streams: streams.clone(),
            stopping: stopped.clone(),
        };
        let operators = tokio::spawn(admin::serve(admin_listener, health));

        let ws = ws_url(&config, public);
        let console = config
            .console
            .enabled
            .then(|| Arc::new(Console::new(&config, &ws)));
        let (ending, ended) = mpsc::channel(count);
        let mut workers = Vec::with_capacity(count);
        for (index, (listener, inbox)) in listeners.into_iter().zip(inboxes).enumerate() {
            let parts = Parts {
                index,
                config: config.clone(),
                inbox,
                feed: feed.handle(),
                history: history.clone(),
                publisher: publisher.clone(),
                streams: streams.clone(),
                connections: connections.clone(),
                console: console.clone(),
                tls: tls.clone(),
                stopping: stopped.clone(),
            };
            let ending = Ending(ending.clone());
            let body = move || {
                let _ending = ending;
                if let Err(error) = worker::run(parts, listener) {
                    tracing::error!(%error, "a worker cannot run");
                }
            };
            let name = format!("tailwater-{index}");
            workers.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(body)
                    .map_err(EdgeError::Runtime)?,
            );
        }
        tracing::info!(%public, %admin, workers = count, connections = connections.limit(), "the edge serves");
        Ok(Self {
            public,
            ws,
            admin,
            publisher,
            streams,
            provisioning,
            stopping,
            feed,
            history,
            history_thread,
            workers,
            ended,
            operators,
        })
    }

    /// Where clients connect.
    pub fn public_addr(&self) -> SocketAddr {
        self.public
    }

    /// The URL of the WebSocket, as a client on this machine writes it.
    pub fn ws_url(&self) -> &str {
        &self.ws
    }

    /// Where operators ask.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Publishes over the edge's own connection.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Waits until the edge's connections to NATS are up and all streams are ready; false if that takes longer than
    /// `timeout`.
    pub async fn connected(&self, timeout: Duration) -> bool {
        let mut live = self.feed.handle().state();
        let mut publish = self.publisher.connection().state();
        let mut history = self.history.state();
        let mut streams = self.streams.all_ready();
        let all = async {
            for state in [&mut live, &mut publish, &mut history] {
                state
                    .wait_for(|state| *state == ConnectionState::Connected)
                    .await
                    .ok()?;
            }
            streams.wait_for(|ready| *ready).await.ok()?;
            Some(())
        };
        matches!(tokio::time::timeout(timeout, all).await, Ok(Some(())))
    }

    /// Waits until a worker ends without having been asked to.
    pub async fn failed(&mut self) -> EdgeError {
        self.ended.recv().await;
        EdgeError::Worker
    }

    /// Stops: not ready any more, no new connections, every client is told to reconnect elsewhere, and
    /// what waits for it is written, for at most `drain.timeout`.
    ///
    /// # Errors
    /// [`EdgeError::Worker`] if a worker has panicked.
    pub async fn stop(self) -> Result<(), EdgeError> {
        self.stopping.send_replace(true);
        self.provisioning.stop().await;
        let (workers, feed, history) = (self.workers, self.feed, self.history_thread);
        let joined = tokio::task::spawn_blocking(move || {
            let joined = workers
                .into_iter()
                .map(thread::JoinHandle::join)
                .filter(Result::is_err)
                .count();
            feed.stop();
            history.stop();
            joined
        });
        let panicked = joined.await.map_err(|_| EdgeError::Worker)?;
        self.operators.abort();
        if panicked > 0 {
            Err(EdgeError::Worker)
        } else {
            Ok(())
        }
    }
}

fn ws_url(config: &Config, public: SocketAddr) -> String {
    let mut address = public;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    format!("{scheme}://{address}{}", config.websocket.path)
}
