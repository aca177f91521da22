//! Starts everything that serves clients, and ends it in order.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tailwater_broker::feed::{Feed, Inbox};
use tailwater_broker::history::{History, HistoryThread};
use tailwater_broker::publish::Publisher;
use tailwater_broker::request::{InFlight, Requester, RequesterTask};
use tailwater_broker::stream::Provisioning;
use tailwater_broker::{Connection, ConnectionState, NatsConfig, Streams};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::admin::{self, Access, Operators};
use crate::config::Config;
use crate::connections::{self, Connections, KernelLimits};
use crate::console::Console;
use crate::control::sessions::Workers;
use crate::control::{Control, Listening};
use crate::drain::Drain;
use crate::error::EdgeError;
use crate::hooks::Hooks;
use crate::identity::{self, verifier::Verifier};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::metrics::meters::Meters;
use crate::nats::broker_config;
use crate::readiness::Readiness;
use crate::renewal::Renewal;
use crate::streams::specs;
use crate::telemetry::collector::Collector;
use crate::telemetry::push::{self, Push};
use crate::telemetry::traces::{self, Spans, Tracer};
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
    drain: Drain,
    feed: Feed,
    history: History,
    history_thread: HistoryThread,
    /// Only if a namespace or a hook needs it.
    requester: Option<(Requester, RequesterTask)>,
    control: Control,
    listening: Listening,
    workers: Vec<thread::JoinHandle<()>>,
    /// A worker that ended says so.
    ended: mpsc::Receiver<()>,
    operators: JoinHandle<()>,
    /// Keeps the keys of issuers current.
    _keys: identity::verifier::Owner,
    /// With TLS on the public listener; ends when it is dropped.
    renewal: Option<Renewal>,
    /// Sends metrics to a collector, if there is one.
    push: Option<Push>,
    /// Sends spans to it.
    spans: Option<Spans>,
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
        let tls = config.tls.as_ref().map(Renewal::start).transpose();
        let (renewal, tls) = tls.map_err(EdgeError::Tls)?.unzip();
        let connections = Connections::new(config.websocket.max_connections);
        let client_limits = Arc::new(Limits::new(&config));
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

        let (verifier, keys) = Verifier::start(&config.identity);
        let nats = broker_config(&config.nats)?;
        let inboxes: Vec<_> = (0..count)
            .map(|_| Arc::new(Inbox::new(config.feed.worker_inbox_bytes)))
            .collect();
        let publisher = Publisher::new(Connection::open(&nats, "publish").await?);
        let (history, history_thread) = History::start(&nats)?;
        let requester = start_requester(&config, &nats)?;
        let asking = requester.as_ref().map(|(requester, _)| requester);
        let telemetry = &config.telemetry;
        let resource = telemetry.resource();
        let collector = |path| Collector::new(telemetry, path).map(Arc::new);
        let (tracer, spans) = match collector(traces::PATH).filter(|_| telemetry.traces) {
            Some(collector) => {
                let (tracer, spans) = traces::start(telemetry, resource.clone(), collector)?;
                (tracer, Some(spans))
            }
            None => (Tracer::default(), None),
        };
        let hooks = Arc::new(Hooks::new(&config.hooks, asking, &tracer));
        let connection = publisher.connection().clone();
        let linger = config.feed.linger;
        let (streams, provisioning) = Streams::start(
            publisher.connection().clone(),
            config.nats.jetstream_domain.as_deref(),
            specs(&config.streams),
        );
        let (sessions, requests) = Workers::new(count);
        let (control, listening) = Control::start(
            &config.control,
            sessions,
            &nats,
            publisher.connection().clone(),
            config.nats.jetstream_domain.as_deref(),
        )?;
        let feed = Feed::start(
            nats,
            inboxes.clone(),
            linger,
            history.clone(),
            connection,
            streams.clone(),
            telemetry.makes_spans(),
        )
        .await?;
        let drain = Drain::new(&config.drain);
        let mut states = vec![
            feed.handle().state(),
            history.state(),
            publisher.connection().state(),
        ];
        states.extend(asking.map(Requester::state));
        states.extend(control.state());
        let readiness = Readiness {
            nats: states,
            streams: streams.clone(),
            control: control.clone(),
            drain: drain.clone(),
        };
        let meters: Vec<Arc<Meters>> = (0..count).map(|_| Arc::default()).collect();
        let mut links = vec![
            ("live", feed.handle().health()),
            ("history", history.health()),
            ("publish", publisher.connection().health()),
        ];
        links.extend(asking.map(|requester| ("request", requester.health())));
        links.extend(control.health().map(|health| ("control", health)));
        let metrics = Arc::new(Metrics {
            meters: meters.clone(),
            links,
            feed: feed.handle(),
            connections: connections.clone(),
            limits: client_limits.clone(),
            drain: drain.clone(),
            readiness: readiness.clone(),
            started_at: SystemTime::now(),
        });
        let push = collector(push::PATH).filter(|_| telemetry.metrics);
        let push = push
            .map(|collector| Push::start(metrics.clone(), collector, resource, telemetry.metrics_interval));
        let operators = Operators {
            readiness,
            drain: drain.clone(),
            control: control.clone(),
            access: Access::new(&config.admin, admin),
            metrics: metrics.clone(),
            open_metrics: config.admin.open_metrics,
        };
        let operators = tokio::spawn(admin::serve(admin_listener, operators));

        let ws = ws_url(&config, public);
        let console = config
            .console
            .enabled
            .then(|| Arc::new(Console::new(&config, &ws)));
        let (ending, ended) = mpsc::channel(count);
        let mut workers = Vec::with_capacity(count);
        let each = listeners.into_iter().zip(inboxes).zip(requests).zip(meters);
        for (index, (((listener, inbox), requests), meters)) in each.enumerate() {
            let parts = Parts {
                index,
                config: config.clone(),
                inbox,
                feed: feed.handle(),
                history: history.clone(),
                publisher: publisher.clone(),
                requester: asking.cloned(),
                hooks: hooks.clone(),
                streams: streams.clone(),
                connections: connections.clone(),
                limits: client_limits.clone(),
                meters,
                tracer: tracer.clone(),
                console: console.clone(),
                tls: tls.clone(),
                verifier: verifier.clone(),
                revocations: control.revocations().clone(),
                awaited: control.awaited(),
                drain: drain.clone(),
            };
            let ending = Ending(ending.clone());
            let body = move || {
                let _ending = ending;
                if let Err(error) = worker::run(parts, listener, requests) {
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
            drain,
            feed,
            history,
            history_thread,
            requester,
            control,
            listening,
            workers,
            ended,
            operators,
            _keys: keys,
            renewal,
            push,
            spans,
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

    /// Waits until the edge's connections to NATS are up, all streams are ready, and orders and revocations can be heard
    /// of; false if that takes longer than `timeout`.
    pub async fn connected(&self, timeout: Duration) -> bool {
        let requester = self.requester.as_ref().map(|(requester, _)| requester.state());
        let states = [
            self.feed.handle().state(),
            self.publisher.connection().state(),
            self.history.state(),
        ];
        let mut streams = self.streams.all_ready();
        let mut awaited = self.control.awaited();
        let all = async {
            for mut state in states.into_iter().chain(requester) {
                state
                    .wait_for(|state| *state == ConnectionState::Connected)
                    .await
                    .ok()?;
            }
            streams.wait_for(|ready| *ready).await.ok()?;
            awaited.wait_for(Vec::is_empty).await.ok()?;
            Some(())
        };
        matches!(tokio::time::timeout(timeout, all).await, Ok(Some(())))
    }

    /// Looks at the files of `[tls]` now, in the background: the log has what came of it.
    pub fn reload(&self) {
        match &self.renewal {
            Some(renewal) => renewal.reload(),
            None => tracing::info!("there is nothing to read again: clients do not speak TLS with us"),
        }
    }

    /// Waits until a worker ends without having been asked to.
    pub async fn failed(&mut self) -> EdgeError {
        self.ended.recv().await;
        EdgeError::Worker
    }

    /// Drains, or goes on with the drain that an operator has begun, and stops: not ready any more, new clients are taken
    /// for `drain.linger` only, every client is told when to reconnect elsewhere, within `drain.window`, and closed if it
    /// does not, once what waits for it is written; for that there is `drain.timeout` more.
    ///
    /// # Errors
    /// [`EdgeError::Worker`] if a worker has panicked.
    pub async fn stop(self) -> Result<(), EdgeError> {
        self.drain.begin_last();
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
        // What the collector is still to hear: of the end too.
        let spans = self
            .spans
            .map(|spans| tokio::task::spawn_blocking(|| spans.finish()));
        if let Some(push) = self.push {
            push.finish().await;
        }
        if let Some(spans) = spans {
            let _ = spans.await;
        }
        self.operators.abort();
        drop(self.listening);
        if panicked > 0 {
            Err(EdgeError::Worker)
        } else {
            Ok(())
        }
    }
}

/// The connection that asks services, if the configuration needs one.
fn start_requester(
    config: &Config,
    nats: &NatsConfig,
) -> Result<Option<(Requester, RequesterTask)>, EdgeError> {
    let hooks = [&config.hooks.connect, &config.hooks.subscribe];
    let own = hooks.into_iter().flatten().map(|hook| hook.max_in_flight).sum();
    if own == 0 && !config.namespaces.any_takes_requests() {
        return Ok(None);
    }
    let clients = config.requests.max_in_flight;
    Ok(Some(Requester::start(nats, InFlight { clients, own })?))
}

fn ws_url(config: &Config, public: SocketAddr) -> String {
    let mut address = public;
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let scheme = if config.tls.is_some() { "wss" } else { "ws" };
    format!("{scheme}://{address}{}", config.websocket.path)
}
