//! The Tailwater server: WebSocket clients on one side, NATS on the other, little in between.
//!
//! In reading order: [`config`] says what may happen, [`server`] starts it. Each worker (`worker`) is
//! one core: it accepts connections (`socket`), serves HTTP (`http`, `upgrade`), turns them into sessions (`session`, over a
//! `transport`), and passes publications on (`hub`), keeping what a socket does not take (`outbox`).
//! `admin` answers operators, `console` and `demo` show people what it does, [`client`] is the other
//! side of the wire for the command line and the tests.

mod admin;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod client;
pub mod config;
mod connections;
mod console;
pub mod demo;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod http;
mod hub;
pub mod nats;
mod outbox;
pub mod server;
mod session;
mod socket;
pub mod streams;
pub mod telemetry;
mod transport;
mod upgrade;
mod worker;

pub use error::EdgeError;
pub use server::Server;
