//! A nats-server of a test's own, what an operator does there, and how a stream fares.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tailwater_broker::config::{Credentials, NatsConfig, TlsConfig};
use tailwater_broker::stream::Provisioning;
use tailwater_broker::{Connection, Storage, Stream, StreamSpec, StreamState, Streams, embedded};

use crate::ports::free_port;

/// The longest that anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running nats-server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    /// With JetStream.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With JetStream and these lines in its configuration.
    pub(crate) async fn start_with(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("store");
        let jetstream = format!("jetstream {{ store_dir: {store:?}, max_file_store: 1GB }}\n{config}\n");
        Self::spawn(folder, free_port(), &jetstream).await
    }

    /// Without JetStream.
    pub(crate) async fn start_plain() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::spawn(folder, free_port(), "debug: false\n").await
    }

    /// The same again after its end: the same port, the same store.
    pub(crate) async fn again(mut self) -> Self {
        let _ = (self.child.kill(), self.child.wait());
        let config = std::fs::read_to_string(self.folder.path().join("nats.conf")).expect("written before");
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder"));
        Self::spawn(folder, self.port, &config).await
    }

    /// Three of them that form a cluster.
    pub(crate) async fn start_cluster() -> [Self; 3] {
        let ports = [(); 3].map(|()| free_port());
        let routes = ports
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .join(", ");
        let start = async |index: usize| {
            let port = ports[index];
            let config = format!(
                "server_name: n{index}\ncluster {{ name: c, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
            );
            Self::start_with(&config).await
        };
        let (one, two, three) = tokio::join!(start(0), start(1), start(2));
        [one, two, three]
    }

    async fn spawn(folder: tempfile::TempDir, port: u16, config: &str) -> Self {
        let cache = embedded::default_cache_dir().expect("a cache folder");
        let located =
            tokio::task::spawn_blocking(move || embedded::locate(&cache, &|line| eprintln!("{line}")));
        let binary = located
            .await
            .expect("it does not panic")
            .expect("a nats-server")
            .path;
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, config).expect("written");
        let child = Command::new(binary)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "--ports_file_dir"])
            .arg(folder.path())
            .arg("-l")
            .arg(folder.path().join("nats.log"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("nats-server runs");
        let ports = folder.path().join(format!("nats-server_{}.ports", child.id()));
        let port = eventually("nats-server listens", async || read_port(&ports)).await;
        Self { child, port, folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn config(&self) -> NatsConfig {
        NatsConfig {
            servers: vec![self.url()],
            name: "streams".to_owned(),
            credentials: Credentials::Anonymous,
            tls: TlsConfig::default(),
            inbox_prefix: "_INBOX_tw".to_owned(),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(2),
            reconnect_max_delay: Duration::from_millis(100),
        }
    }

    pub(crate) fn config_of(&self, user: &str) -> NatsConfig {
        let credentials = Credentials::UserPassword {
            user: user.to_owned(),
            password: "CHANGE-ME".to_owned(),
        };
        NatsConfig {
            credentials,
            ..self.config()
        }
    }

    /// The edge's connection.
    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.config()).await
    }

    /// An operator.
    pub(crate) async fn operator(&self) -> Operator {
        Operator(async_nats::connect(self.url()).await.expect("the server answers"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_port(ports: &Path) -> Option<u16> {
    let ports: Value = serde_json::from_slice(&std::fs::read(ports).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
}

pub(crate) async fn connect(config: &NatsConfig) -> Connection {
    let connection = Connection::open(config, "test").await.expect("a configuration");
    connection
        .wait_until_connected(DEADLINE)
        .await
        .expect("the server answers");
    connection
}

/// A NATS client that is not ours.
pub(crate) struct Operator(pub(crate) async_nats::Client);

impl Operator {
    /// Asks JetStream.
    pub(crate) async fn ask(&self, request: &str, body: &Value) -> Value {
        let subject = format!("$JS.API.{request}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.0.request(subject, body.into()).await;
        serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON")
    }

    /// Creates the stream, which must be possible.
    pub(crate) async fn create(&self, config: &Value) {
        let name = config["name"].as_str().expect("a name");
        let answer = self.ask(&format!("STREAM.CREATE.{name}"), config).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// Changes the stream, which must be possible.
    pub(crate) async fn update(&self, config: &Value) {
        let name = config["name"].as_str().expect("a name");
        let answer = self.ask(&format!("STREAM.UPDATE.{name}"), config).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }

    pub(crate) async fn info(&self, stream: &str) -> Value {
        self.ask(&format!("STREAM.INFO.{stream}"), &Value::Null).await
    }

    pub(crate) async fn last_sequence(&self, stream: &str) -> u64 {
        self.info(stream).await["state"]["last_seq"]
            .as_u64()
            .expect("a number")
    }

    /// Stores a message, and waits until it is.
    pub(crate) async fn store(&self, subject: &str, body: &str) {
        let answer = self.0.request(subject.to_owned(), body.to_owned().into()).await;
        let answer = answer.expect("an answer").payload;
        assert!(!answer.windows(5).any(|part| part == b"error"), "{answer:?}");
    }
}

/// The configuration of a stream as an edge would have made it, with these fields instead.
pub(crate) fn stream_config(name: &str, more: Value) -> Value {
    let mut config = json!({
        "name": name,
        "subjects": [format!("{name}.>"), format!("_tw.sync.{name}")],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": 1,
        "max_msgs_per_subject": 100,
        "max_age": 3_600_000_000_000_u64,
        "max_bytes": 1_000_000,
        "duplicate_window": 60_000_000_000_u64,
        "allow_direct": true,
        "republish": {"src": ">", "dest": "_tw.live.>"},
    });
    let fields = more.as_object().expect("an object").clone();
    config.as_object_mut().expect("an object").extend(fields);
    config
}

/// What asks for a stream like that.
pub(crate) fn spec(name: &str) -> StreamSpec {
    StreamSpec {
        name: name.into(),
        subjects: vec![format!("{name}.>")],
        max_messages_per_subject: 100.try_into().ok(),
        max_age: Some(Duration::from_secs(3600)),
        max_bytes: 1_000_000.try_into().ok(),
        storage: Storage::File,
        replicas: 1,
        allow_message_ttl: false,
        duplicate_window: Duration::from_secs(60),
        manage: true,
        audit_interval: Duration::from_secs(30),
    }
}

/// One stream that is being provisioned.
pub(crate) struct Provisioned {
    pub(crate) streams: Streams,
    name: Arc<str>,
    _task: Provisioning,
}

pub(crate) fn provision(connection: &Connection, domain: Option<&str>, spec: StreamSpec) -> Provisioned {
    let name = spec.name.clone();
    let (streams, task) = Streams::start(connection.clone(), domain, vec![spec]);
    Provisioned {
        streams,
        name,
        _task: task,
    }
}

impl Provisioned {
    pub(crate) async fn ready(&self) -> Arc<Stream> {
        let mut ready = self.streams.all_ready();
        let waited = tokio::time::timeout(DEADLINE, ready.wait_for(|ready| *ready)).await;
        assert!(waited.is_ok(), "not ready: {:?}", self.streams.state(&self.name));
        self.streams.ready(&self.name).expect("all are ready")
    }

    /// Waits for a reason that it is not ready which has all of these in it.
    pub(crate) async fn waits_because(&self, parts: &[&str]) -> String {
        let mut last = None;
        let begin = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while begin.elapsed() < DEADLINE {
            match self.streams.state(&self.name) {
                Some(StreamState::Waiting { reason: Some(reason) })
                    if parts.iter().all(|part| reason.contains(part)) =>
                {
                    assert!(!*self.streams.all_ready().borrow());
                    return reason;
                }
                state => last = state,
            }
            tick.tick().await;
        }
        panic!("no reason with {parts:?}: {last:?}");
    }
}

/// Creates or verifies the stream and waits until it is ready.
pub(crate) async fn ready(connection: &Connection, spec: StreamSpec) -> Arc<Stream> {
    provision(connection, None, spec).ready().await
}

/// Tries every few milliseconds until there is something.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while begin.elapsed() < DEADLINE {
        if let Some(value) = condition().await {
            return value;
        }
        tick.tick().await;
    }
    panic!("{what}: not within {DEADLINE:?}");
}
