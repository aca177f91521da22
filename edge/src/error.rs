//! Why the edge could not start or go on.

use std::io;
use std::net::SocketAddr;

use tailwater_broker::BrokerError;

/// Why the edge could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// The address is taken, or is not one of this machine. Choose another with `listen`,
    /// `admin.listen` or the flag `--listen`.
    #[error("cannot listen on {address}: choose another address (`--listen`, `listen`, `admin.listen`)")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system refuses what a runtime needs: threads, files, an event queue.
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
    /// The NATS side could not be set up.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The file of a NATS secret cannot be read any more. Check `nats.*_file`.
    #[error(
        "the file of a NATS secret cannot be read: check `nats.password_file`, `token_file`, `nkey_seed_file`"
    )]
    Secret(#[source] io::Error),
    /// The public listener cannot speak TLS: the system has no random numbers for its tickets.
    #[error("cannot set up TLS for the public listener")]
    Tls(#[source] rustls::Error),
    /// What sends spans to the collector cannot be set up.
    #[error("cannot set up the exporter of spans: check `telemetry`")]
    Telemetry(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A worker's thread has ended by a fault of our own; the log has it.
    #[error("a worker ended unexpectedly")]
    Worker,
}
