//! Streams and epochs against real nats-servers.

mod bucket;
mod cluster;
mod epoch;
mod existing;
mod permissions;
#[path = "../wire/ports.rs"]
mod ports;
mod provisioning;
mod server;
