//! Every key there is: kind, range and unit, default, meaning. They stand here once; what reads a configuration, what
//! explains a mistake and the table in the README are all made from this list.

use std::fmt;

/// One key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted path; `*` stands for the name that the configuration chooses.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// As one would write it in an environment variable; `None`: optional, or required as the meaning says.
    pub(super) default: Option<&'static str>,
    /// One line for the README.
    pub(super) meaning: &'static str,
}

/// What a value must be before its own parser sees it.
#[derive(Debug)]
pub(super) enum Kind {
    Integer {
        least: u64,
        most: u64,
        unit: &'static str,
    },
    Boolean,
    Text,
    /// Text that no message repeats.
    Secret,
    /// A file; if it stands in a configuration file, relative to the folder of that.
    Path,
    /// One text or a list of them; comma separated outside of files.
    Texts,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { least, most, unit } => write!(out, "{least} to {most} {unit}"),
            Self::Boolean => out.write_str("`true` or `false`"),
            Self::Text => out.write_str("text"),
            Self::Secret => out.write_str("secret text"),
            Self::Path => out.write_str("path"),
            Self::Texts => out.write_str("text or list"),
            Self::Word(words) => {
                for (index, word) in words.iter().enumerate() {
                    let separator = match index {
                        0 => "",
                        _ if index + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(out, "{separator}`{word}`")?;
                }
                Ok(())
            }
        }
    }
}

/// Tables, in the order of the README.
pub(super) const TABLES: &[&str] = &[
    "edge",
    "admin",
    "control",
    "log",
    "telemetry",
    "nats",
    "nats.tls",
    "tls",
    "websocket",
    "http",
    "proxy",
    "origin",
    "limits",
    "outbox",
    "feed",
    "console",
    "drain",
    "identity",
    "identity.issuer",
    "identity.issuer.*",
    "requests",
    "hook",
    "hook.connect",
    "hook.subscribe",
    "namespace",
    "namespace.*",
    "stream",
    "stream.*",
];

/// Variables that begin with `TAILWATER_` and are no key of the file: name and meaning.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    (
        "TAILWATER_CONFIG",
        "the configuration file, where `--config` is not given",
    ),
    (
        "TAILWATER_LOG",
        "short for `TAILWATER_LOG__LEVEL`, which wins if both are set",
    ),
    (
        "TAILWATER_NATS_SERVER",
        "the `nats-server` program that `tailwater dev` starts",
    ),
    (
        "TAILWATER_TOKEN",
        "the token with which `tailwater sub` connects, where `--token-file` is not given",
    ),
    (
        "TAILWATER_STATE_DIR",
        "where `tailwater dev` keeps its state, where `--state-dir` is not given",
    ),
];

const MEBIBYTE: u64 = 1024 * 1024;
const NO_UNIT: &str = "";

/// The key with this path, of which the second part may be a name.
pub(super) fn find(path: &[&str]) -> Option<&'static Key> {
    KEYS.iter().find(|key| matches(key.path, path))
}

/// Whether this path is a table.
pub(super) fn is_table(path: &[&str]) -> bool {
    TABLES.iter().any(|table| matches(table, path))
}

/// Tables of whose kind there may be several, each with a name that the configuration chooses.
const NAMED: &[&str] = &["namespace", "stream", "identity.issuer"];

/// The kind of named table that this path lies in, or is, and which part of the path is its name.
pub(super) fn named_table(path: &[&str]) -> Option<(&'static str, usize)> {
    let depth = |kind: &str| kind.split('.').count();
    let is_inside =
        |kind: &str| path.len() > depth(kind) && kind.split('.').eq(path[..depth(kind)].iter().copied());
    let kind = NAMED.iter().copied().find(|kind| is_inside(kind))?;
    Some((kind, depth(kind)))
}

/// Whether this path is a table whose name the configuration chooses.
pub(super) fn is_named_table(path: &[&str]) -> bool {
    named_table(path).is_some_and(|(_, name)| name + 1 == path.len())
}

fn matches(known: &str, path: &[&str]) -> bool {
    let mut parts = known.split('.');
    path.iter()
        .all(|part| parts.next().is_some_and(|known| known == "*" || known == *part))
        && parts.next().is_none()
}

/// Every key as a markdown table: key, default, range and unit, meaning. The README holds exactly
/// this.
pub fn reference() -> String {
    let mut table = String::from("| Key | Default | Value | Meaning |\n| --- | --- | --- | --- |\n");
    for Key {
        path,
        kind,
        default,
        meaning,
    } in KEYS
    {
        let path = path.replace('*', "NAME");
        let default = match default {
            None => String::new(),
            Some("") => "`\"\"`".to_owned(),
            Some(text) => format!("`{text}`"),
        };
        let value = kind.to_string();
        table.push_str(&format!(
            "| `{path}` | {default} | {} | {meaning} |\n",
            value.trim_end()
        ));
    }
    table
}

const fn integer(least: u64, most: u64, unit: &'static str) -> Kind {
    Kind::Integer { least, most, unit }
}

const fn key(path: &'static str, default: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key {
        path,
        kind,
        default: Some(default),
        meaning,
    }
}

const fn optional(path: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key {
        path,
        kind,
        default: None,
        meaning,
    }
}

/// All keys, in the order of the README.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("listen", "127.0.0.1:8080", Kind::Text, "address and port that clients connect to; port 0 takes a free one"),
    key("edge.workers", "0", integer(0, 1024, "threads"), "threads that serve clients; 0: one per core"),
    key("admin.listen", "127.0.0.1:8081", Kind::Text, "address and port of what is for operators: `/livez`, `/readyz`, `/metrics`, sessions and revocations"),
    optional("admin.token", Kind::Secret, "bearer token for all of it but `/livez` and `/readyz`; without it the rest is served on the loopback only"),
    optional("admin.token_file", Kind::Path, "file with that token"),
    key("admin.open_metrics", "false", Kind::Boolean, "serve `/metrics` to everybody who can connect to `admin.listen`; otherwise it is for who may use the rest"),
    key("control.enabled", "true", Kind::Boolean, "listen to orders over NATS, and follow the bucket of revocations"),
    key("control.subject", "_tw.control", Kind::Text, "orders come on this, a dot and `disconnect`, `unsubscribe` or `revoke`; begins with `_`, where no channel can reach"),
    key("control.revocation_bucket", "tailwater_revocations", Kind::Text, "key-value bucket of JetStream with the revocations; nothing: they are forgotten when the edge restarts"),
    key("control.revocation_max_age_secs", "604800", integer(60, 3_153_600_000, "seconds"), "how long a revocation is remembered: at least as long as tokens live"),
    key("control.revocation_replicas", "1", integer(1, 5, NO_UNIT), "servers that hold a copy of the bucket, if the edge makes it"),
    key("control.manage_bucket", "true", Kind::Boolean, "make the bucket if it is missing"),
    key("log.format", "json", Kind::Word(&["human", "json"]), "how log lines look; `tailwater dev` sets `human`"),
    key("log.level", "info", Kind::Text, "`error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter such as `info,tailwater_edge=debug`"),

    optional("telemetry.otlp_endpoint", Kind::Text, "collector to which metrics and spans are sent by OTLP (HTTP, protobuf), such as `http://collector:4318`; see *Metrics and traces*"),
    optional("telemetry.otlp_headers", Kind::Secret, "headers of these requests: `NAME=VALUE` with commas between them, values in percent encoding"),
    optional("telemetry.otlp_headers_file", Kind::Path, "file with those headers"),
    optional("telemetry.otlp_ca_file", Kind::Path, "certificates (PEM) to trust for `https://`, instead of the system's"),
    key("telemetry.metrics", "true", Kind::Boolean, "send metrics there"),
    key("telemetry.metrics_interval_secs", "60", integer(1, 3600, "seconds"), "pause between two sets of metrics"),
    key("telemetry.traces", "true", Kind::Boolean, "send spans there"),
    key("telemetry.sample_per_million", "10000", integer(0, 1_000_000, "traces"), "of a million handshakes, subscriptions and requests, so many get a trace; whoever brings a `traceparent` has decided"),
    key("telemetry.timeout_secs", "10", integer(1, 60, "seconds"), "how long one request to the collector may take"),
    key("telemetry.service_name", "tailwater", Kind::Text, "`service.name` of what is sent"),
    optional("telemetry.resource_attributes", Kind::Texts, "other attributes of the resource, each `NAME=VALUE`"),

    key("nats.url", "nats://127.0.0.1:4222", Kind::Texts, "NATS servers, `nats://HOST:PORT` or `tls://HOST:PORT`; any one that answers is used"),
    key("nats.name", "tailwater", Kind::Text, "the connection's name in NATS monitoring"),
    optional("nats.user", Kind::Text, "user name; needs a password"),
    optional("nats.password", Kind::Secret, "password of `nats.user`"),
    optional("nats.password_file", Kind::Path, "file with the password of `nats.user`"),
    optional("nats.token", Kind::Secret, "NATS token"),
    optional("nats.token_file", Kind::Path, "file with the NATS token"),
    optional("nats.nkey_seed", Kind::Secret, "nkey seed, `SU…`"),
    optional("nats.nkey_seed_file", Kind::Path, "file with the nkey seed"),
    optional("nats.credentials_file", Kind::Path, "`.creds` file (user JWT and seed)"),
    key("nats.inbox_prefix", "_INBOX_tw", Kind::Text, "subject prefix of replies to us; begins with `_`, where no channel can reach"),
    optional("nats.jetstream_domain", Kind::Text, "JetStream domain, if the streams are in one"),
    key("nats.connect_timeout_secs", "5", integer(1, 60, "seconds"), "one attempt to connect"),
    key("nats.ping_interval_secs", "3", integer(1, 60, "seconds"), "a dead link to NATS is noticed after about three of these"),
    key("nats.reconnect_max_delay_secs", "8", integer(1, 300, "seconds"), "longest pause between attempts to reconnect"),
    key("nats.tls.required", "false", Kind::Boolean, "refuse a NATS server without TLS; `tls://` addresses do in any case"),
    key("nats.tls.first", "false", Kind::Boolean, "TLS before the first byte (the server's `handshake_first`)"),
    optional("nats.tls.ca_file", Kind::Path, "certificates (PEM) to trust, instead of the system's"),
    optional("nats.tls.cert_file", Kind::Path, "our certificate (PEM); needs `nats.tls.key_file`"),
    optional("nats.tls.key_file", Kind::Path, "key (PEM) of our certificate"),

    optional("tls.certificate", Kind::Path, "certificate (PEM) of the public listener, with its chain; with it the listener speaks TLS only (`https`, `wss`); needs `tls.key`"),
    optional("tls.key", Kind::Path, "key (PEM: PKCS#8, PKCS#1 or SEC1) of that certificate"),
    key("tls.client_auth", "none", Kind::Word(&["none", "optional", "required"]), "whether clients are asked for a certificate, and refused without; a wrong one is refused in any case"),
    optional("tls.client_ca", Kind::Path, "authorities (PEM) that sign the certificates of clients"),
    key("tls.reload_secs", "10", integer(1, 86_400, "seconds"), "how often the files of `[tls]` are looked at; new ones are used for new connections"),

    key("websocket.path", "/ws", Kind::Text, "path of the WebSocket"),
    key("websocket.ping_interval_secs", "25", integer(2, 3600, "seconds"), "pause between pings to a client"),
    key("websocket.pong_timeout_secs", "10", integer(1, 3600, "seconds"), "a client that does not answer a ping for this long is gone; counts up to the next ping at most"),
    key("websocket.max_message_bytes", "65536", integer(256, 64 * MEBIBYTE, "bytes"), "longest message of a client, all fragments together"),
    key("websocket.header_timeout_secs", "10", integer(1, 300, "seconds"), "how long a client may take for its TLS handshake, and again to send its request headers"),
    key("websocket.max_header_bytes", "16384", integer(8192, MEBIBYTE, "bytes"), "longest request line and headers together"),
    key("websocket.close_timeout_secs", "2", integer(0, 60, "seconds"), "how long we wait for a client's close frame after ours"),
    key("websocket.hello_timeout_secs", "10", integer(1, 300, "seconds"), "how long a client may take to send `connect` with a token, where no namespace admits it without"),
    key("websocket.max_channels_per_session", "256", integer(1, 65_536, "channels"), "subscriptions of one client at a time"),
    key("websocket.max_connections", "0", integer(0, 10_000_000, "connections"), "clients at a time; 0: what the limit on open files allows"),

    key("http.transports", "sse,poll,command,publish", Kind::Texts, "what is served beside the WebSocket, under paths beside its own: `sse` (server-sent events), `poll` (long and short polling), `command` (commands of those who listen so), `publish` (publications of services); see *Without a WebSocket*"),

    optional("proxy.trusted", Kind::Texts, "addresses of the proxies in front, such as `10.0.0.0/8`: only they may say who a client is; see *Limits*"),
    key("proxy.header", "x-forwarded-for", Kind::Word(&["x-forwarded-for", "forwarded"]), "the header in which they do"),
    key("proxy.protocol", "false", Kind::Boolean, "they begin each connection with a header of the PROXY protocol, version 2, before TLS"),

    key("origin.allow", "same-host", Kind::Texts, "web pages that may connect: `same-host`, `loopback`, `null`, `*` for all, or origins such as `https://*.example.com`; `tailwater dev` adds `loopback`"),

    key("limits.connections_per_address", "1000", integer(0, 10_000_000, "connections"), "connections of one IPv4 address or IPv6 /64; 0: no limit"),
    key("limits.connections_per_user", "100", integer(0, 10_000_000, "sessions"), "sessions of one user; 0: no limit"),
    key("limits.handshakes_per_address_per_sec", "100", integer(0, 1_000_000, "connections"), "connections and requests over HTTP that one address may make a second; 0: no limit"),
    key("limits.handshakes_per_sec", "0", integer(0, 1_000_000, "connections"), "connections and requests over HTTP that all clients together may make a second; 0: no limit"),
    key("limits.commands_per_sec", "100", integer(0, 1_000_000, "commands"), "commands of one session a second; 0: no limit"),
    key("limits.bytes_per_sec", "1048576", integer(0, 1024 * MEBIBYTE, "bytes"), "bytes of one session a second; 0: no limit"),
    key("limits.burst_secs", "5", integer(1, 3600, "seconds"), "what these rates bring in so much time may be taken at once"),
    key("limits.grace_secs", "30", integer(0, 3600, "seconds"), "a session that asks for more is slowed down, and closed if it goes on for so long"),

    key("outbox.max_bytes", "1048576", integer(4096, 1024 * MEBIBYTE, "bytes"), "what may wait for one slow client"),
    key("outbox.max_messages", "8192", integer(1, 1_000_000, "messages"), "what may wait for one slow client"),
    key("outbox.max_total_bytes", "0", integer(0, 1 << 40, "bytes"), "what may wait for all slow clients together; 0: a quarter of the memory that the process may have, at least 64 MiB"),
    key("outbox.stall_timeout_secs", "30", integer(2, 3600, "seconds"), "a client that takes nothing of what waits for it for this long is closed"),
    key("outbox.send_buffer_bytes", "65536", integer(4096, 16 * MEBIBYTE, "bytes"), "kernel buffer of one client (`SO_SNDBUF`)"),
    key("outbox.unsent_low_water_bytes", "16384", integer(1024, 16 * MEBIBYTE, "bytes"), "unsent bytes the kernel takes before a client counts as slow (`TCP_NOTSENT_LOWAT`)"),

    key("feed.worker_inbox_bytes", "8388608", integer(65_536, 1024 * MEBIBYTE, "bytes"), "what may wait between the NATS connection and one worker"),
    key("feed.linger_ms", "2000", integer(0, 60_000, "milliseconds"), "how long a NATS subscription outlives its last client"),

    key("console.enabled", "false", Kind::Boolean, "serve the console at `/`; `tailwater dev` sets `true`"),
    key("drain.linger_secs", "5", integer(0, 3600, "seconds"), "how long new clients are still taken at a clean end, for balancers that have not noticed; `tailwater dev` sets 0"),
    key("drain.window_secs", "30", integer(0, 3600, "seconds"), "how long the times are then spread over at which clients are told to leave; 0: they are told none and closed at once; `tailwater dev` sets 0"),
    key("drain.timeout_secs", "10", integer(0, 3600, "seconds"), "how long what waits for those who are left may take after that"),

    key("identity.places", "header,cookie,subprotocol,connect", Kind::Texts, "where a token may stand: `header` (`Authorization: Bearer`), `cookie`, `subprotocol` (`tailwater.bearer.TOKEN`), `connect` (the command), `query` (`?token=`; URLs get logged)"),
    key("identity.cookie", "tailwater_token", Kind::Text, "name of the cookie that holds a token"),
    key("identity.leeway_secs", "30", integer(0, 600, "seconds"), "how far clocks may differ where `exp` and `nbf` are judged"),
    key("identity.grace_secs", "30", integer(0, 3600, "seconds"), "how long a client may take to `refresh` after its token has expired"),
    key("identity.max_token_bytes", "8192", integer(256, 65_536, "bytes"), "longest token"),
    key("identity.require_expiry", "true", Kind::Boolean, "refuse tokens without `exp`"),
    optional("identity.issuer.*.issuer", Kind::Text, "the `iss` of its tokens; required where there are several issuers; with `oidc_issuer` it is that"),
    optional("identity.issuer.*.audience", Kind::Texts, "tokens must have one of these as `aud`; without it tokens that have an `aud` are refused"),
    optional("identity.issuer.*.algorithms", Kind::Texts, "signatures that are accepted, such as `ES256`; without it all that the keys can do"),
    optional("identity.issuer.*.hmac_secret", Kind::Secret, "secret shared with the issuer, at least 32 bytes (`HS384`: 48, `HS512`: 64); each issuer has exactly one source of keys"),
    optional("identity.issuer.*.hmac_secret_file", Kind::Path, "file with that secret"),
    optional("identity.issuer.*.public_key_file", Kind::Path, "public key or certificate (PEM): RSA, ECDSA (P-256, P-384) or Ed25519"),
    optional("identity.issuer.*.jwks_file", Kind::Path, "file with a JSON Web Key Set"),
    optional("identity.issuer.*.jwks_url", Kind::Text, "`https://` address of a JSON Web Key Set; `http://` on this machine alone"),
    optional("identity.issuer.*.oidc_issuer", Kind::Text, "OpenID Connect issuer, whose discovery document says where its keys are"),
    optional("identity.issuer.*.ca_file", Kind::Path, "certificates (PEM) to trust where keys are fetched, instead of the system's"),
    key("identity.issuer.*.refresh_secs", "300", integer(10, 86_400, "seconds"), "how often keys are read or fetched again"),
    key("identity.issuer.*.max_stale_secs", "86400", integer(60, 2_592_000, "seconds"), "how long keys stay in use while they cannot be read or fetched"),
    key("requests.max_in_flight", "4096", integer(1, 65_536, "requests"), "requests of all clients that wait for their services at a time"),
    key("requests.max_in_flight_per_session", "32", integer(1, 1024, "requests"), "requests of one client that wait for their services at a time"),

    optional("hook.connect.subject", Kind::Text, "NATS subject of the service that is asked about every new session; out of clients' reach, such as `_hooks.connect`; see *Hooks*"),
    key("hook.connect.timeout_ms", "2000", integer(1, 60_000, "milliseconds"), "how long that service may take"),
    key("hook.connect.max_in_flight", "256", integer(1, 65_536, "questions"), "questions that wait for that service at a time; beyond it, what `on_failure` says"),
    optional("hook.connect.headers", Kind::Texts, "headers of the client's handshake that the service is shown, such as `cookie`"),
    key("hook.connect.cache_secs", "0", integer(0, 3600, "seconds"), "how long the service's answer holds for the same question; 0: not at all"),
    key("hook.connect.on_failure", "deny", Kind::Word(&["deny", "allow"]), "what happens while the service does not answer"),
    optional("hook.subscribe.subject", Kind::Text, "NATS subject of the service that is asked about subscriptions and history in namespaces with `subscribe_hook`"),
    key("hook.subscribe.timeout_ms", "2000", integer(1, 60_000, "milliseconds"), "how long that service may take"),
    key("hook.subscribe.max_in_flight", "256", integer(1, 65_536, "questions"), "questions that wait for that service at a time; beyond it, what `on_failure` says"),
    optional("hook.subscribe.headers", Kind::Texts, "headers of the client's handshake that the service is shown, such as `cookie`"),
    key("hook.subscribe.cache_secs", "0", integer(0, 3600, "seconds"), "how long the service's answer holds for the same question; 0: not at all"),
    key("hook.subscribe.on_failure", "deny", Kind::Word(&["deny", "allow"]), "what happens while the service does not answer"),

    optional("namespace.*.channels", Kind::Texts, "required: which channels belong to it, `*` for one token, a final `>` for the rest"),
    key("namespace.*.durable", "false", Kind::Boolean, "kept in JetStream: ordered, without gaps, resumable"),
    optional("namespace.*.stream", Kind::Text, "stream of a durable namespace; without it the namespace's name in upper case"),
    key("namespace.*.anonymous", "false", Kind::Boolean, "clients may use it without a token; with one too"),
    optional("namespace.*.allow_subscribe", Kind::Texts, "patterns that every client with a token may subscribe to; `{sub}` and `{CLAIM}` stand for the token's own"),
    optional("namespace.*.allow_publish", Kind::Texts, "patterns on which every client with a token may publish; needs `publish = true`"),
    optional("namespace.*.allow_request", Kind::Texts, "patterns on which every client with a token may send requests; needs `request = true`"),
    optional("namespace.*.deny", Kind::Texts, "patterns that no client may use, whatever else allows it"),
    key("namespace.*.wildcards", "true", Kind::Boolean, "clients may subscribe to patterns"),
    key("namespace.*.publish", "false", Kind::Boolean, "clients may publish"),
    key("namespace.*.request", "false", Kind::Boolean, "clients may send requests to the services behind its channels; see *Requests*"),
    key("namespace.*.request_timeout_ms", "5000", integer(1, 60_000, "milliseconds"), "how long a service may take to answer; a client may ask for less"),
    key("namespace.*.subscribe_hook", "false", Kind::Boolean, "`hook.subscribe` is asked about every subscription, and about history"),
    key("namespace.*.subject_prefix", "", Kind::Text, "the channel `a.b` is the NATS subject `PREFIX.a.b`"),
    key("namespace.*.slow_consumer", "drop_oldest", Kind::Word(&["drop_oldest", "latest", "disconnect"]), "what happens to a client whose outbox is full; live namespaces only"),
    key("namespace.*.max_delay_ms", "0", integer(0, 1000, "milliseconds"), "publications may wait this long to go out together; 0: never"),
    key("namespace.*.compress", "false", Kind::Boolean, "compress publications of 512 bytes and more, once for all clients that offer `permessage-deflate`; see *Compression*"),
    key("namespace.*.trace", "false", Kind::Boolean, "pass the `traceparent` of a publication on to clients, in `update.trace`"),

    optional("stream.*.subjects", Kind::Texts, "subjects of the stream; without it those of its namespaces"),
    key("stream.*.max_messages_per_channel", "0", integer(0, 1_000_000_000, "messages"), "history of one channel; 0: no limit"),
    key("stream.*.max_age_secs", "86400", integer(0, 3_153_600_000, "seconds"), "how long publications are kept; 0: no limit"),
    key("stream.*.max_bytes", "1073741824", integer(0, 1 << 50, "bytes"), "size of the stream; 0: no limit"),
    key("stream.*.storage", "file", Kind::Word(&["file", "memory"]), "where NATS keeps the stream; reading history from `memory` is slow"),
    key("stream.*.replicas", "1", integer(1, 5, NO_UNIT), "servers that hold a copy"),
    key("stream.*.allow_message_ttl", "false", Kind::Boolean, "publishers may set `Nats-TTL`"),
    key("stream.*.duplicate_window_secs", "120", integer(1, 86_400, "seconds"), "how long a repeated `Nats-Msg-Id` is recognised"),
    key("stream.*.manage", "true", Kind::Boolean, "create the stream and change what can be changed without loss; otherwise only verify it"),
    key("stream.*.audit_interval_secs", "30", integer(1, 3600, "seconds"), "a lost last message of a quiet channel is noticed within this"),
];
