//! How to reach NATS and as whom: the `[nats]` table.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::secret::{Secret, SecretSource};
use super::settings::Section;

/// The connection to NATS.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// Servers to try, at least one.
    pub servers: Vec<ServerUrl>,
    /// The connection's name in NATS monitoring.
    pub name: String,
    /// As whom.
    pub credentials: NatsCredentials,
    /// Prefix of the subjects on which answers come back; begins with `_`, so that no channel reaches it.
    pub inbox_prefix: String,
    /// The JetStream domain, if the streams are in one.
    pub jetstream_domain: Option<String>,
    /// One attempt to connect.
    pub connect_timeout: Duration,
    /// Pause between pings.
    pub ping_interval: Duration,
    /// Longest pause between attempts to reconnect.
    pub reconnect_max_delay: Duration,
    /// TLS towards NATS.
    pub tls: NatsTlsConfig,
}

/// The one form of credentials that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsCredentials {
    /// None: the server lets anyone in, or the client certificate is the identity.
    Anonymous,
    /// User name and password.
    Password {
        /// User name.
        user: String,
        /// Its password.
        password: SecretSource,
    },
    /// A token.
    Token(SecretSource),
    /// The seed of an nkey, which signs the server's nonce.
    NkeySeed(SecretSource),
    /// A `.creds` file with user JWT and seed.
    CredentialsFile(PathBuf),
}

/// TLS towards NATS. A server that asks for TLS gets it even if nothing here requires it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsTlsConfig {
    /// Refuse a server without TLS.
    pub required: bool,
    /// TLS before the first byte of the NATS protocol.
    pub first: bool,
    /// Certificates to trust instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for mutual TLS.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key, both files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, with its chain.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// The address of a NATS server: `nats://HOST:PORT` or `tls://HOST:PORT`. `Display` writes it with its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    tls: bool,
    host: String,
    port: u16,
}

impl ServerUrl {
    const DEFAULT_PORT: u16 = 4222;

    /// Reads an address; without a port it is 4222. The error is the rest of a sentence that begins with the key.
    ///
    /// # Errors
    /// The text is no such address, or holds credentials; what it says then is not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Never repeat a text with an `@`: what stands before it is a secret.
        if text.contains('@') {
            return Err(
                "holds credentials inside an address, where logs would show them: \
                        write them as `nats.user` and `nats.password_file` (or `nats.token_file`)"
                    .to_owned(),
            );
        }
        let wrong = |why: &str| {
            Err(format!(
                "holds `{text}`, {why}: write `nats://HOST:4222` or `tls://HOST:4222`"
            ))
        };
        let (tls, address) = match text.split_once("://") {
            Some(("nats", address)) => (false, address),
            Some(("tls", address)) => (true, address),
            Some((scheme, _)) => return wrong(&format!("and `{scheme}` is not a scheme that is known here")),
            None => return wrong("which has no scheme"),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port),
            None => address.split_at(address.find(':').unwrap_or(address.len())),
        };
        let host_is_valid = if address.starts_with('[') {
            host.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        if !host_is_valid {
            return wrong("which has no valid host name");
        }
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0),
            None => port.is_empty().then_some(Self::DEFAULT_PORT),
        };
        match port {
            Some(port) => Ok(Self {
                tls,
                host: host.to_owned(),
                port,
            }),
            None => wrong("which has no valid port"),
        }
    }

    /// Whether the address itself asks for TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Host name or IP address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        if self.host.contains(':') {
            write!(out, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Reads `[nats]`, except for `[nats.tls]`.
pub(super) fn read(nats: &mut Section<'_>, tls: NatsTlsConfig) -> NatsConfig {
    let servers: Vec<_> = nats
        .list("url", ServerUrl::parse)
        .into_iter()
        .map(|(url, _)| url)
        .collect();
    if servers.is_empty() && nats.list("url", |_| Ok(())).is_empty() {
        nats.refuse(
            "url",
            "is empty: give at least one server, such as `nats://127.0.0.1:4222`",
        );
    }
    NatsConfig {
        servers,
        name: nats.parse("name", parse_name),
        credentials: read_credentials(nats),
        inbox_prefix: nats.parse("inbox_prefix", parse_inbox_prefix),
        jetstream_domain: nats.parse_optional("jetstream_domain", parse_domain),
        connect_timeout: nats.duration("connect_timeout_secs"),
        ping_interval: nats.duration("ping_interval_secs"),
        reconnect_max_delay: nats.duration("reconnect_max_delay_secs"),
        tls,
    }
}

/// Reads `[nats.tls]`; whether `first` fits the addresses is judged by [`check_tls`].
pub(super) fn read_tls(tls: &mut Section<'_>) -> NatsTlsConfig {
    let client = match (readable(tls, "cert_file"), readable(tls, "key_file")) {
        (Some(cert_file), Some(key_file)) => {
            check_pem(tls, "cert_file", &cert_file, "CERTIFICATE");
            check_pem(tls, "key_file", &key_file, "PRIVATE KEY");
            Some(ClientCertificate { cert_file, key_file })
        }
        _ => None,
    };
    let ca_file = readable(tls, "ca_file");
    if let Some(ca_file) = &ca_file {
        check_pem(tls, "ca_file", ca_file, "CERTIFICATE");
    }
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if tls.is_set(one) && !tls.is_set(other) {
            tls.refuse(one, format!("needs `{}` beside it", tls.path(other)));
        }
    }
    NatsTlsConfig {
        required: tls.boolean("required"),
        first: tls.boolean("first"),
        ca_file,
        client,
    }
}

/// TLS first cannot be tried on a server that may not speak TLS.
pub(super) fn check_tls(tls: &mut Section<'_>, nats: &NatsConfig) {
    if nats.tls.first && !nats.tls.required && nats.servers.iter().any(|server| !server.tls()) {
        let path = tls.path("required");
        tls.refuse(
            "first",
            format!("needs TLS on every server: set `{path} = true` or write `tls://` addresses"),
        );
    }
}

fn read_credentials(nats: &mut Section<'_>) -> NatsCredentials {
    let keys = ["user", "password", "password_file", "token", "token_file"];
    let keys = keys
        .into_iter()
        .chain(["nkey_seed", "nkey_seed_file", "credentials_file"]);
    let given: Vec<&str> = keys.filter(|key| nats.is_set(key)).collect();
    let form = |key: &str| match key {
        "user" | "password" | "password_file" => "password",
        "token" | "token_file" => "token",
        "nkey_seed" | "nkey_seed_file" => "nkey_seed",
        _ => "credentials_file",
    };
    if let Some(other) = given.iter().find(|key| form(key) != form(given[0])) {
        nats.refuse(
            other,
            format!(
                "and `nats.{}` are two forms of credentials: keep one of them",
                given[0]
            ),
        );
    }
    for key in ["password", "token", "nkey_seed"] {
        let file = format!("{key}_file");
        if nats.is_set(key) && nats.is_set(&file) {
            nats.refuse(&file, format!("and `nats.{key}` say the same: keep one of them"));
        }
    }
    let has_password = nats.is_set("password") || nats.is_set("password_file");
    if nats.is_set("user") && !has_password {
        nats.refuse("user", "needs `nats.password` or, better, `nats.password_file`");
    }
    if has_password && !nats.is_set("user") {
        let key = if nats.is_set("password") {
            "password"
        } else {
            "password_file"
        };
        nats.refuse(key, "needs `nats.user`");
    }
    let password = secret(nats, "password");
    let token = secret(nats, "token");
    let seed = secret(nats, "nkey_seed");
    if let Some(seed) = &seed
        && !seed.read().is_ok_and(|seed| is_user_seed(seed.reveal()))
    {
        let key = if nats.is_set("nkey_seed") {
            "nkey_seed"
        } else {
            "nkey_seed_file"
        };
        nats.refuse(
            key,
            "is not the seed of a user: such a seed has 58 characters and begins with `SU`",
        );
    }
    let credentials_file = readable(nats, "credentials_file");
    match (nats.text("user"), password, token, seed, credentials_file) {
        (Some(user), Some(password), ..) => NatsCredentials::Password { user, password },
        (_, _, Some(token), ..) => NatsCredentials::Token(token),
        (_, _, _, Some(seed), _) => NatsCredentials::NkeySeed(seed),
        (.., Some(file)) => NatsCredentials::CredentialsFile(file),
        _ => NatsCredentials::Anonymous,
    }
}

/// The secret of this key, or of the file that the key with `_file` names.
pub(super) fn secret(nats: &mut Section<'_>, key: &str) -> Option<SecretSource> {
    if let Some(text) = nats.text(key) {
        return Some(SecretSource::Given(Secret::new(text)));
    }
    let key = format!("{key}_file");
    let source = SecretSource::File(nats.file(&key)?);
    match source.read() {
        Ok(_) => Some(source),
        Err(error) => {
            let path = nats.text(&key).unwrap_or_default();
            nats.refuse(&key, format!("is `{path}`, which cannot be read: {error}"));
            None
        }
    }
}

/// A file that can be opened.
pub(super) fn readable(section: &mut Section<'_>, key: &str) -> Option<PathBuf> {
    section.parse_optional(key, |path| match File::open(path) {
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_dir()) => {
            Err(format!("is `{path}`, which is a folder: give the file in it"))
        }
        Ok(_) => Ok(Path::new(path).to_owned()),
        Err(error) => Err(format!("is `{path}`, which cannot be read: {error}")),
    })
}

/// Refuses a file without any block of this kind, which the NATS library would take for an empty list.
fn check_pem(section: &mut Section<'_>, key: &str, path: &Path, label: &str) {
    let end = format!("{label}-----");
    let content = std::fs::read(path).unwrap_or_default();
    let holds = String::from_utf8_lossy(&content)
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&end));
    if !holds {
        section.refuse(
            key,
            format!("is `{}`, which holds no {label} in PEM", path.display()),
        );
    }
}

/// `SU`, 56 more characters of base 32.
fn is_user_seed(seed: &str) -> bool {
    let base32 = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
    seed.len() == 58 && seed.starts_with("SU") && seed.bytes().all(base32)
}

fn parse_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
        return Err("must have 1 to 128 bytes and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_inbox_prefix(text: &str) -> Result<String, String> {
    if !text.starts_with('_') {
        return Err(format!(
            "is `{text}`: it must begin with `_`, because no channel can, so that no client reaches an inbox"
        ));
    }
    literal_subject(text)
}

fn parse_domain(text: &str) -> Result<String, String> {
    if text.contains('.') {
        return Err(format!("is `{text}`: a domain is one name without dots"));
    }
    literal_subject(text)
}

/// A subject without wildcards: tokens of letters, digits, `_` and `-`, at most 128 bytes.
pub(super) fn literal_subject(text: &str) -> Result<String, String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(letter);
    if text.len() > 128 || !text.split('.').all(is_token) {
        return Err(format!(
            "is `{text}`: use words of letters, digits, `_` and `-` with single dots between them, at most 128 bytes"
        ));
    }
    Ok(text.to_owned())
}
