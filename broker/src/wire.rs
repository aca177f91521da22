//! A lean reader of NATS: the client protocol at the level of bytes, for what is live and for history.
//!
//! One task owns a connection ([`Driver`]) and calls a [`Handler`] for every message it reads; any
//! thread may hold a [`Wire`] and subscribe, ask or wait through it. Publishing in bulk, JetStream's
//! management and key-value buckets are left to the client library.
//!
//! Why not the library here too: it builds a map of the headers of every message (13 allocations, 6 µs),
//! wakes a task for every subscription, drops the newest message when one of its queues is full, and
//! closes the whole connection at one malformed header that anybody published. Here a message costs no
//! allocation, nothing is dropped (a handler that is too slow is cut by the server, which is told as a
//! [`Incident::Disconnected`]), and headers are bytes.
//!
//! - `parser`: bytes to events. `headers`: the header block, read in place.
//! - `servers`: which server is next. `dial`, `auth`, `tls`: an accepted connection.
//! - `connection`: the task. `turn`, `link`, `pipe`: what it does, knows, reads and writes.
//! - [`Wire`], [`Handler`], [`Outgoing`]: the two sides that the rest of the crate sees.

mod auth;
mod command;
mod connection;
mod dial;
mod handle;
mod handler;
mod headers;
mod info;
mod link;
mod parser;
mod pipe;
mod requests;
mod servers;
mod stream;
mod subscriptions;
mod tls;
mod turn;

pub use command::Outgoing;
pub use connection::{Driver, open};
pub use handle::Wire;
pub use handler::{Handler, Incident, RequestsOnly};
pub use headers::{Headers, Status, number};
pub use info::ServerInfo;
pub use parser::{
    Event, MAX_INFO, MAX_LINE, MAX_MESSAGE, Message, OwnedMessage, Parsed, ProtocolError, parse,
};
pub use requests::{Limits, MAX_REQUESTS};
pub use servers::ServerOrder;
pub use subscriptions::{MAX_SUBSCRIPTIONS, SubscriptionId, Subscriptions};

pub(crate) use crate::connection::ConnectionState;
#[cfg(feature = "inside")]
pub(crate) use info::Complaint;
