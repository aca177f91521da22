//! Every setting: read once, at start, into values that cannot be wrong; or every mistake at once, each with its place.
//!
//! Sources, the later over the earlier: defaults, built-in development text, the file, environment
//! variables, flags. What the keys are, their ranges and defaults stands in `config/schema.rs` alone; a new key is a
//! line there, a field here and a line in the function that fills it. Connecting, opening ports and comparing with what
//! NATS has are left to others.

mod control;
mod error;
mod hook;
mod http;
mod identity;
mod limits;
mod namespace;
mod nats;
mod request;
mod schema;
mod secret;
mod settings;
mod source;
mod stream;
mod suggest;
mod telemetry;
mod template;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

pub use self::control::ControlConfig;
pub use self::error::{ConfigError, ConfigErrors, Place};
pub use self::hook::{HookConfig, HooksConfig, OnFailure};
pub use self::http::{HttpConfig, HttpTransport};
pub use self::identity::{IdentityConfig, IssuerConfig, KeySource, KeyUrl, TokenPlace, TokenPlaces};
pub use self::limits::{ForwardedHeader, LimitsConfig, OriginConfig, ProxyConfig};
pub use self::namespace::{Delivery, Namespace, Namespaces, Refusal, ResolveError, SlowConsumer};
pub use self::nats::{ClientCertificate, NatsConfig, NatsCredentials, NatsTlsConfig, ServerUrl};
pub use self::request::RequestsConfig;
pub use self::schema::{OTHER_VARIABLES, reference};
pub use self::secret::{Secret, SecretSource};
pub use self::stream::{StreamConfig, StreamStorage};
pub(crate) use self::telemetry::parse_headers;
pub use self::telemetry::{Endpoint, TelemetryConfig};
pub use self::template::Template;
pub use self::tls::{ClientAuth, TlsConfig, TlsFiles};
pub(crate) use self::tls::{Contents, Material, Standing, Validity};

use self::error::Mistakes;
use self::settings::{Section, Settings};
use self::source::Document;

/// What `tailwater dev` starts from: the lowest layer, over which file, environment and flags go.
const DEVELOPMENT: &str = include_str!("config/development.toml");

/// The whole configuration of an edge.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener.
    pub listen: SocketAddr,
    /// Threads that serve clients.
    pub workers: NonZeroUsize,
    /// The operator's listener.
    pub admin: AdminConfig,
    /// Ending and changing sessions from outside.
    pub control: ControlConfig,
    /// Logs.
    pub log: LogConfig,
    /// Where measurements and traces are sent.
    pub telemetry: TelemetryConfig,
    /// The connection to NATS.
    pub nats: NatsConfig,
    /// TLS on the public listener; nothing: it speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// WebSocket connections.
    pub websocket: WebSocketConfig,
    /// The proxies in front of the edge.
    pub proxy: ProxyConfig,
    /// What is served over plain HTTP beside the WebSocket.
    pub http: HttpConfig,
    /// Which web pages may connect.
    pub origin: OriginConfig,
    /// How much one client may ask for.
    pub limits: LimitsConfig,
    /// What may wait for one client.
    pub outbox: OutboxConfig,
    /// From NATS to the workers.
    pub feed: FeedConfig,
    /// The console.
    pub console: ConsoleConfig,
    /// The clean end.
    pub drain: DrainConfig,
    /// Whose tokens are accepted.
    pub identity: IdentityConfig,
    /// Requests of clients to services.
    pub requests: RequestsConfig,
    /// Services that are asked before a client may do something.
    pub hooks: HooksConfig,
    /// Which channels there are; at least one namespace.
    pub namespaces: Namespaces,
    /// The streams of durable namespaces.
    pub streams: Vec<StreamConfig>,
}

/// The operator's listener.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What has to be shown for everything but `/livez` and `/readyz`; without it those two are all that there is,
    /// unless it listens on the loopback.
    pub token: Option<SecretSource>,
    /// Everybody who can connect may read `/metrics`.
    pub open_metrics: bool,
}

/// What is logged, and how it looks.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// A filter that `tracing_subscriber::EnvFilter` takes.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person in front of a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// WebSocket connections and the HTTP request before them.
#[derive(Clone, Debug)]
pub struct WebSocketConfig {
    /// Path of the endpoint, beginning with `/`.
    pub path: String,
    /// Pause between pings to a client.
    pub ping_interval: Duration,
    /// A client that does not answer a ping for this long is gone.
    pub pong_timeout: Duration,
    /// Longest message of a client in bytes, all fragments together.
    pub max_message_bytes: usize,
    /// How long a client may take for its TLS handshake, and again to send its request headers.
    pub header_timeout: Duration,
    /// Longest request line and headers together, in bytes; at least 8,192, the least that hyper takes.
    pub max_header_bytes: usize,
    /// How long to wait for a client's close frame after ours.
    pub close_timeout: Duration,
    /// How long a client may take to say who it is, where no namespace admits it without.
    pub hello_timeout: Duration,
    /// Subscriptions of one client at a time.
    pub max_channels_per_session: usize,
    /// Clients at a time; `None`: what the limit on open files allows.
    pub max_connections: Option<NonZeroUsize>,
}

/// What may wait for one client.
#[derive(Clone, Debug)]
pub struct OutboxConfig {
    /// In the outbox of a session, in bytes.
    pub max_bytes: usize,
    /// In the outbox of a session, in messages.
    pub max_messages: usize,
    /// In all outboxes together, in bytes; 0: a quarter of the memory that the process may have.
    pub max_total_bytes: usize,
    /// How long a client may take nothing of what waits for it.
    pub stall_timeout: Duration,
    /// In the kernel (`SO_SNDBUF`), in bytes.
    pub send_buffer_bytes: usize,
    /// In the kernel and unsent (`TCP_NOTSENT_LOWAT`), in bytes.
    pub unsent_low_water_bytes: u32,
}

/// From NATS to the workers.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// What may wait for one worker, in bytes.
    pub worker_inbox_bytes: usize,
    /// How long a NATS subscription outlives its last client.
    pub linger: Duration,
}

/// The console at `/`.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// Whether it is served.
    pub enabled: bool,
}

/// The clean end: one after the other.
#[derive(Clone, Debug)]
pub struct DrainConfig {
    /// How long new clients are still taken, for balancers that have not noticed yet.
    pub linger: Duration,
    /// How long the times are spread over at which clients are told to leave. Zero: they are told no time and closed at
    /// once.
    pub window: Duration,
    /// How long what waits for those who are left may then take.
    pub timeout: Duration,
}

impl Config {
    /// Reads a configuration for production. `flags` are dotted keys with values as on the command line: a mistake in
    /// `nats.url` is reported as one of the flag `--nats-url`.
    ///
    /// # Errors
    /// Every mistake in all sources; an unreadable file alone.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigErrors> {
        Self::layered(None, path, environment, flags)
    }

    /// As [`Config::load`], over defaults for development: every channel open to anonymous clients, `chat.>` for their
    /// publications too, the console, an admin listener on a free port, logs for people.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn development(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigErrors> {
        Self::layered(Some(DEVELOPMENT), path, environment, flags)
    }

    pub(crate) fn layered(
        built_in: Option<&str>,
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigErrors> {
        let (mut settings, mut mistakes) = (Settings::default(), Mistakes::default());
        if let Some(text) = built_in {
            let document = Document::new("built-in development configuration", Path::new(""), text);
            document.read(&mut settings, &mut mistakes);
        }
        let mut file = Place::Configuration;
        let mut is_toml = true;
        if let Some(path) = path {
            let text = source::read_file(path)?;
            let name = path.display().to_string();
            let folder = path.parent().unwrap_or(Path::new(""));
            is_toml = Document::new(&name, folder, &text).read(&mut settings, &mut mistakes);
            file = Place::File { file: name.into() };
        }
        source::read_environment(environment, &mut settings, &mut mistakes);
        source::read_flags(flags, &mut settings, &mut mistakes);
        if !is_toml && let Err(errors) = std::mem::take(&mut mistakes).result(()) {
            return Err(errors);
        }
        let config = build(&settings, &file, &mut mistakes);
        mistakes.result(config)
    }
}

/// The environment of this process as [`Config::load`] takes it. A value that is not UTF-8 becomes a mistake there,
/// where `std::env::vars` would panic at any variable that is not.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (lossy(name), lossy(value)))
}

fn build(settings: &Settings, file: &Place, mistakes: &mut Mistakes) -> Config {
    let nats_tls = nats::read_tls(&mut settings.section("nats.tls", mistakes));
    let nats = nats::read(&mut settings.section("nats", mistakes), nats_tls);
    nats::check_tls(&mut settings.section("nats.tls", mistakes), &nats);
    let tls = tls::read(&mut settings.section("tls", mistakes));
    let namespaces = namespace::read(settings, file, mistakes);
    let streams = stream::read(settings, &namespaces, mistakes);
    let requests = request::read(settings, &namespaces, &streams, mistakes);
    let hooks = hook::read(settings, &namespaces, &streams, mistakes);
    let console = settings.section("console", mistakes);
    let console = ConsoleConfig {
        enabled: console.boolean("enabled"),
    };
    let websocket = read_websocket(&mut settings.section("websocket", mistakes), &console);
    let proxy = limits::read_proxy(&mut settings.section("proxy", mistakes));
    let http = http::read(settings, mistakes);
    let origin = limits::read_origin(&mut settings.section("origin", mistakes));
    let limits = limits::read_limits(&settings.section("limits", mistakes));
    let outbox = settings.section("outbox", mistakes);
    let outbox = OutboxConfig {
        max_bytes: outbox.size("max_bytes"),
        max_messages: outbox.size("max_messages"),
        max_total_bytes: outbox.size("max_total_bytes"),
        stall_timeout: outbox.duration("stall_timeout_secs"),
        send_buffer_bytes: outbox.size("send_buffer_bytes"),
        unsent_low_water_bytes: outbox.small("unsent_low_water_bytes"),
    };
    let feed = settings.section("feed", mistakes);
    let feed = FeedConfig {
        worker_inbox_bytes: feed.size("worker_inbox_bytes"),
        linger: feed.duration("linger_ms"),
    };
    let drain = settings.section("drain", mistakes);
    let drain = DrainConfig {
        linger: drain.duration("linger_secs"),
        window: drain.duration("window_secs"),
        timeout: drain.duration("timeout_secs"),
    };
    let identity = identity::read(settings, mistakes);
    let log = read_log(&mut settings.section("log", mistakes));
    let telemetry = telemetry::read(&mut settings.section("telemetry", mistakes));
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut top = settings.section("", mistakes);
    let workers = NonZeroUsize::new(top.size("edge.workers")).unwrap_or(cores);
    let listen = top.parse("listen", parse_address);
    let admin = control::read_admin(&mut top, listen);
    let control = control::read(&mut settings.section("control", mistakes));
    Config {
        listen,
        workers,
        admin,
        control,
        log,
        telemetry,
        nats,
        tls,
        websocket,
        proxy,
        http,
        origin,
        limits,
        outbox,
        feed,
        console,
        drain,
        identity,
        requests,
        hooks,
        namespaces,
        streams,
    }
}

fn read_websocket(websocket: &mut Section<'_>, console: &ConsoleConfig) -> WebSocketConfig {
    let path = websocket.parse("path", parse_path);
    if path == "/" && console.enabled {
        websocket.refuse(
            "path",
            "is `/`, where the console is: choose another one or set `console.enabled = false`",
        );
    }
    WebSocketConfig {
        path,
        ping_interval: websocket.duration("ping_interval_secs"),
        pong_timeout: websocket.duration("pong_timeout_secs"),
        max_message_bytes: websocket.size("max_message_bytes"),
        header_timeout: websocket.duration("header_timeout_secs"),
        max_header_bytes: websocket.size("max_header_bytes"),
        close_timeout: websocket.duration("close_timeout_secs"),
        hello_timeout: websocket.duration("hello_timeout_secs"),
        max_channels_per_session: websocket.size("max_channels_per_session"),
        max_connections: NonZeroUsize::new(websocket.size("max_connections")),
    }
}

fn read_log(log: &mut Section<'_>) -> LogConfig {
    let format = match log.text("format").as_deref() {
        Some("human") => LogFormat::Human,
        _ => LogFormat::Json,
    };
    LogConfig {
        format,
        level: log.parse("level", parse_level),
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "is `{text}`: write an IP address and a port, such as `127.0.0.1:8080` or `[::]:8080` for all"
        )
    })
}

fn parse_path(text: &str) -> Result<String, String> {
    // Those of the other transports are beside it, wherever it is.
    let is_transport = HttpTransport::ALL
        .iter()
        .any(|(name, _)| text.ends_with(&format!("/{name}")));
    if text == "/demo" || is_transport {
        return Err(format!(
            "is `{text}`, which is another route: choose another one, such as `/ws`"
        ));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if !text.starts_with('/') || !text.bytes().all(allowed) {
        return Err(format!(
            "is `{text}`: begin with `/` and use letters, digits, `/`, `-`, `.`, `_` and `~`"
        ));
    }
    Ok(text.to_owned())
}

/// A filter of `tracing`. The library takes a bare word that is no level for the name of a module, which would log
/// everything of nothing: that is refused here.
fn parse_level(text: &str) -> Result<String, String> {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',').map(str::trim) {
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
        if !is_level && !part.contains(['=', '[', ']', '}']) {
            let hint = suggest::nearest_word(part, LEVELS).map(|level| format!("; did you mean `{level}`?"));
            return Err(format!(
                "holds `{part}`, which is no level: use {}, or `MODULE=LEVEL`{}",
                LEVELS.join(", "),
                hint.unwrap_or_default()
            ));
        }
    }
    EnvFilter::try_new(text).map_err(|error| format!("is no log filter: {error}"))?;
    Ok(text.to_owned())
}
