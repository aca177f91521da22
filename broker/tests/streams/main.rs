//! Streams and epochs against real nats-servers.

mod bucket;
mod cluster;
mod epoch;
mod existing;
mod permissions;
mod provisioning;
mod server;
