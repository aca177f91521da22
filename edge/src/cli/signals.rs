//! The signals that end the process, and the one at which it reads files again.

use std::io;
use std::process::ExitCode;

use tailwater_edge::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP, which is sent to a server that is to read its files again. Who runs it in a terminal that is closed keeps it.
pub(super) fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// SIGTERM and SIGINT (Ctrl-C).
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and names it.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Stops the server in order, or at once at the next signal.
    pub(super) async fn stop(&mut self, server: Server) -> anyhow::Result<ExitCode> {
        tokio::select! {
            stopped = server.stop() => stopped?,
            signal = self.next() => {
                tracing::warn!(signal, "stopping at once");
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
