//! How to reach NATS: servers, credentials, TLS, timeouts. Plain values, checked by whoever read them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach NATS.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// URLs of the servers, `nats://host:port` or `tls://host:port`; any one is enough to find the cluster.
    pub servers: Vec<String>,
    /// The connection's name, as `nats server report connections` shows it.
    pub name: String,
    /// Who we are.
    pub credentials: Credentials,
    /// TLS towards NATS.
    pub tls: TlsConfig,
    /// Prefix of our inboxes; NATS permissions can be tied to it.
    pub inbox_prefix: String,
    /// Longest wait for one connection attempt.
    pub connect_timeout: Duration,
    /// How often a silent server is asked whether it is there; a dead link is noticed after about three.
    pub ping_interval: Duration,
    /// The longest pause between two attempts to connect.
    pub reconnect_max_delay: Duration,
}

/// Who we are to NATS: exactly one form.
#[derive(Clone, Default)]
pub enum Credentials {
    /// None: the server lets anyone in, or knows us by our TLS certificate.
    #[default]
    Anonymous,
    /// User and password.
    UserPassword {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// The seed of an nkey (`SU…`).
    NkeySeed(String),
    /// A credentials file (`.creds`: JWT and seed).
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Anonymous => formatter.write_str("Anonymous"),
            Credentials::UserPassword { user, .. } => write!(formatter, "UserPassword({user}, ***)"),
            Credentials::Token(_) => formatter.write_str("Token(***)"),
            Credentials::NkeySeed(_) => formatter.write_str("NkeySeed(***)"),
            Credentials::File(path) => write!(formatter, "File({})", path.display()),
        }
    }
}

/// TLS towards NATS. The scheme `tls://` of a server also asks for it.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// Refuse a server that does not offer TLS.
    pub required: bool,
    /// Speak TLS before the server's first line (`handshake_first` on the server).
    pub first: bool,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our certificate and its key, for mutual TLS.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}
