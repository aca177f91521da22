//! The lean reader against real nats-servers, and against servers that misbehave.

mod credentials;
mod misbehaving;
mod permissions;
mod poison;
mod ports;
mod reconnect;
mod requests;
mod server;
mod subscriptions;
mod tls;
mod witness;
