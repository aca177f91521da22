//! `[http]`: what is served over plain HTTP beside the WebSocket.

use super::error::Mistakes;
use super::settings::{Settings, one_of};

/// What clients may use instead of a WebSocket, and services instead of NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpTransport {
    /// `GET /sse`: server-sent events.
    Sse,
    /// `GET /poll`: long and short polling.
    Poll,
    /// `POST /command`: commands of those who listen by one of these.
    Command,
    /// `POST /publish`: publications of services.
    Publish,
}

impl HttpTransport {
    /// Each with its name, which is its path too.
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("sse", Self::Sse),
        ("poll", Self::Poll),
        ("command", Self::Command),
        ("publish", Self::Publish),
    ];
}

/// What is served over plain HTTP beside the WebSocket.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// What of it is open.
    pub transports: Vec<HttpTransport>,
}

/// Reads `[http]`.
pub(super) fn read(settings: &Settings, mistakes: &mut Mistakes) -> HttpConfig {
    let http = &mut settings.section("http", mistakes);
    let transports = http.list("transports", parse_transport);
    HttpConfig {
        transports: transports.into_iter().map(|(transport, _)| transport).collect(),
    }
}

fn parse_transport(text: &str) -> Result<HttpTransport, String> {
    one_of(text, "a transport over HTTP", HttpTransport::ALL)
}
