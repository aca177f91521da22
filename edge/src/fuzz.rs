//! What the fuzz targets reach of what is private.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{FORWARDED, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tailwater_protocol::close::CloseCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use crate::config::{Config, ConfigErrors, ForwardedHeader, ProxyConfig};
use crate::control::order::{Order, Verb};
use crate::identity::claims::Claims;
use crate::identity::keys::Key;
use crate::identity::verifier::{Owner, Verifier};
use crate::identity::{jwks, placeholder};
use crate::limits::proxies::Proxies;
use crate::limits::proxy_protocol;
use crate::transport::query;
use crate::transport::websocket::{Inbound, MessageReader};
use crate::upgrade;

/// The longest request line and headers together, in bytes: the least that hyper takes.
const MAX_HEADER_BYTES: usize = 8192;

/// What a client's bytes are read as: each message, and the code that the connection is closed with. Compressed messages
/// are taken if `deflate` says so; none may have more than `limit_bytes`.
pub fn read_messages<'b>(
    reads: impl IntoIterator<Item = &'b [u8]>,
    limit_bytes: usize,
    deflate: bool,
) -> (Vec<String>, Option<CloseCode>) {
    let mut reader = MessageReader::new(limit_bytes, deflate);
    let mut seen = Vec::new();
    for bytes in reads {
        let mut messages = Vec::new();
        let result = reader.read(bytes, &mut messages);
        for message in messages {
            let Inbound::Deflated(deflated) = &message else {
                seen.push(format!("{message:?}"));
                continue;
            };
            match deflated.inflate(limit_bytes) {
                Ok(body) => {
                    assert!(body.len() <= limit_bytes, "{} bytes", body.len());
                    seen.push(format!("{:?} {body:?}", deflated.codec()));
                }
                Err(violation) => return (seen, Some(violation.code)),
            }
        }
        if let Err(violation) = result {
            return (seen, Some(violation.code));
        }
    }
    (seen, None)
}

/// What the query of a request for a stream asks for, each as text; nothing if the client is told what is wrong with it.
pub fn read_query(query: &str, last_event_id: Option<&str>) -> Option<Vec<String>> {
    let query = query::parse(query, last_event_id, 16).ok()?;
    let subscribes = query.subscribes.into_iter();
    Some(subscribes.map(|one| format!("{one:?}")).collect())
}

/// Reads a configuration file of this text, with these variables in the environment.
///
/// # Errors
/// All its mistakes.
pub fn read_config(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment = environment.iter();
    let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::layered(Some(text), None, environment, &[])
}

/// What a client's bytes before its first frame are answered with, and whether the connection has become a WebSocket.
///
/// # Panics
/// If the system has no runtime to give.
pub fn handshake<'b>(runtime: &Runtime, reads: impl IntoIterator<Item = &'b [u8]>) -> (Vec<u8>, bool) {
    let (mut client, server) = tokio::io::duplex(2 * MAX_HEADER_BYTES);
    let upgraded = Rc::new(Cell::new(false));
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = match upgrade::upgrade(&mut request, true) {
            Ok((response, _)) => {
                upgraded.set(true);
                response
            }
            Err(refusal) => refusal.response(),
        };
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(server), service);
    let sent = async {
        let (mut reading, mut writing) = tokio::io::split(&mut client);
        let write = async {
            for bytes in reads {
                // Whoever was answered may not be listened to any more.
                if writing.write_all(bytes).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = writing.shutdown().await;
        };
        let mut answer = Vec::new();
        let (read, ()) = tokio::join!(reading.read_to_end(&mut answer), write);
        drop(read);
        answer
    };
    let served = async { drop(connection.without_shutdown().await) };
    let (answer, ()) = runtime.block_on(async { tokio::join!(sent, served) });
    (answer, upgraded.get())
}

/// Reads these claims as those of a verified token: every pattern that it grants or denies; nothing if it is refused.
pub fn read_claims(json: &[u8]) -> Option<Vec<String>> {
    let all = serde_json::from_slice(json).ok()?;
    let grants = Claims::read(all).ok()?.tailwater;
    let operations = [grants.subscribe, grants.publish, grants.request];
    let patterns = operations.into_iter().flatten();
    let patterns = patterns.flat_map(|patterns| [patterns.allow, patterns.deny].concat());
    let channels = grants.channels.iter().map(ToString::to_string);
    Some(
        patterns
            .map(|pattern| pattern.to_string())
            .chain(channels)
            .collect(),
    )
}

/// What `users.{sub}` is for a token of this user.
pub fn own_pattern(user: &str) -> Option<String> {
    let claims = serde_json::json!({ "sub": user });
    let pattern = placeholder::fill("users.{sub}", claims.as_object()?);
    pattern.ok().map(|pattern| pattern.to_string())
}

/// Reads a JSON Web Key Set, and a key in PEM; how many keys there are.
pub fn read_keys(content: &[u8]) -> usize {
    let set = jwks::parse(content).map_or(0, |set| set.keys.len());
    set + usize::from(Key::from_public_pem(content).is_ok())
}

/// Verifies tokens by a secret that nobody knows.
#[derive(Debug)]
pub struct Bearers {
    runtime: Runtime,
    verifier: Verifier,
    _owner: Owner,
}

impl Bearers {
    /// With a new secret.
    ///
    /// # Panics
    /// If the system has no runtime or no random numbers to give.
    pub fn new(runtime: Runtime) -> Self {
        let secret = crate::identity::mint::random_secret().expect("random numbers");
        let text =
            format!("[namespace.a]\nchannels = \"a\"\n[identity.issuer.a]\nhmac_secret = \"{secret}\"\n");
        let config = read_config(&text, &[]).expect("it is right");
        let (verifier, owner) = runtime.block_on(async { Verifier::start(&config.identity) });
        Self {
            runtime,
            verifier,
            _owner: owner,
        }
    }

    /// Whether a token is accepted, and what is said of it if not.
    pub fn accept(&self, token: &str) -> Result<(), String> {
        let verified = self.runtime.block_on(self.verifier.verify(token));
        verified.map(drop).map_err(|error| error.to_string())
    }
}

/// What a header of the PROXY protocol says.
pub fn read_proxy_header(runtime: &Runtime, mut header: &[u8]) -> Option<std::net::SocketAddr> {
    runtime.block_on(proxy_protocol::read(&mut header)).ok().flatten()
}

/// Who is behind a trusted proxy, by this value of `Forwarded` and of `X-Forwarded-For`.
pub fn forwarded(value: &[u8]) -> Option<[std::net::SocketAddr; 2]> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_bytes(value).ok()?;
    headers.insert(FORWARDED, value.clone());
    headers.insert("x-forwarded-for", value);
    let client = |header| {
        let proxies = Proxies::new(&ProxyConfig {
            trusted: vec!["10.0.0.0/8".parse().expect("a network")],
            header,
            protocol: false,
        });
        proxies.client(([10, 0, 0, 1], 80).into(), &headers)
    };
    Some([
        client(ForwardedHeader::Forwarded),
        client(ForwardedHeader::XForwardedFor),
    ])
}

/// Reads an order over NATS; it as other edges read it, and that once more.
pub fn read_order(verb: usize, body: &[u8], now: u64) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let verbs = [Verb::Disconnect, Verb::Unsubscribe, Verb::Revoke];
    let verb = verbs[verb % verbs.len()];
    let passed_on = Order::parse(verb, body, now).ok()?.body();
    let again = Order::parse(verb, &passed_on, now).ok();
    Some((passed_on, again.map(|order| order.body())))
}
