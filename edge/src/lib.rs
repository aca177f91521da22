//! The Tailwater server: WebSocket clients on one side, NATS on the other, little in between.
//!
//! In reading order: [`config`] says what may happen, [`server`] starts it. Each worker (`worker`) is
//! one core: it accepts connections (`socket`), serves HTTP (`http`, `upgrade`), turns them into sessions (`session`, over a
//! `transport`) of somebody ([`identity`], bounded by `limits`), and passes publications on (`hub`), keeping what a socket
//! does not take (`outbox`). `hooks` asks services what clients may do, `control` carries
//! out what operators and services ask of sessions, `drain` says when the process leaves, `readiness` whether new clients should come, `renewal` keeps the certificate
//! current, `admin` answers operators, with `metrics` among the rest, `console` and `demo` show people what it does, [`client`] is the other
//! side of the wire for the command line and the tests.

mod admin;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod client;
pub mod config;
mod connections;
mod console;
pub mod control;
pub mod demo;
mod drain;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod echo;
mod error;
#[cfg(feature = "inside")]
#[doc(hidden)]
pub mod fuzz;
mod hooks;
mod http;
mod hub;
pub mod identity;
mod limits;
pub mod metrics;
pub mod nats;
mod outbox;
mod readiness;
mod renewal;
pub mod server;
mod session;
mod socket;
pub mod streams;
pub mod telemetry;
mod time;
mod transport;
mod upgrade;
mod worker;

pub use error::EdgeError;
pub use server::Server;
