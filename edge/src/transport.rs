//! How messages travel between clients and sessions. `websocket` reads the frames of a WebSocket. The others are for those
//! who cannot have one: `event_stream` (`GET /sse`) takes the connection as a WebSocket does, and what is written to it is
//! server-sent events; `exchange` (`GET /poll`, `POST /command`, `POST /publish`) makes a session for one request. No
//! session outlives its request, so any edge can answer the next one.
//!
//! What they share: `query` reads which channels a request names and from where, `answer` says what is wrong with it,
//! `origin` lets web pages of other origins read that.

pub(crate) mod answer;
pub(crate) mod event_stream;
pub(crate) mod exchange;
pub(crate) mod origin;
pub(crate) mod query;
pub(crate) mod websocket;

use crate::config::{Config, HttpTransport};

/// What is served at `path`, if it is one of these and open. Their paths are siblings of the WebSocket's, so that one rule
/// of a proxy leads to all of them.
pub(crate) fn at(config: &Config, path: &str) -> Option<HttpTransport> {
    let (folder, _) = config.websocket.path.rsplit_once('/')?;
    let name = path.strip_prefix(folder)?.strip_prefix('/')?;
    let found = HttpTransport::ALL.into_iter().find(|(known, _)| *known == name);
    found
        .map(|(_, transport)| transport)
        .filter(|transport| config.http.transports.contains(transport))
}
