//! What travels between the edge and NATS.
//!
//! - [`config`]: servers, credentials, TLS and timeouts, as the edge hands them over.
//! - [`connection`]: the connection for publications: connects, reconnects for ever, says how it is.
//! - [`health`]: what is measured of the connections, and of JetStream behind them.
//! - [`subject`]: the one place where a channel becomes a NATS subject and back.
//! - [`feed`]: live publications: one NATS subscription a channel and process, encoded once a codec and form,
//!   handed to the workers through bounded inboxes.
//! - [`history`]: reads durable channels back, from a ring of what was published lately or from their streams.
//! - [`wire`]: the lean reader of NATS that the feed stands on.
//! - [`publish`]: publications from the edge to NATS.
//! - [`request`]: questions to services, and their answers.
//! - [`stream`]: the streams behind durable channels: created, compared, watched over until ready.
//! - [`epoch`]: which life of a stream an offset belongs to; how edges agree on it.
//! - [`trace`]: where a publication stands in a trace.
//! - [`permissions`]: the least that the edge's user in NATS must be allowed.
//! - [`check`]: what an operator wants to know before the start.
//! - [`listener`]: a few subjects of the edge's own, each with a bounded queue.
//! - [`bucket`]: a key-value bucket: made, read as a whole, written.
//! - [`embedded`]: finds or installs a real nats-server and supervises it.
//! - [`error`]: everything that can go wrong here.
//!
//! Nothing outside this crate names a NATS client library.

pub mod bucket;
pub mod check;
pub mod config;
pub mod connection;
pub mod embedded;
pub mod epoch;
pub mod error;
pub mod feed;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod fuzz;
pub mod health;
pub mod history;
mod jetstream;
pub mod listener;
pub mod permissions;
mod publication;
pub mod publish;
pub mod request;
pub mod stream;
pub mod subject;
mod timeline;
pub mod trace;
pub mod wire;

pub use config::{Credentials, NatsConfig, TlsConfig};
pub use connection::{Connection, ConnectionState};
pub use error::BrokerError;
pub use health::Health;
pub use stream::{Storage, Stream, StreamSpec, StreamState, Streams};
