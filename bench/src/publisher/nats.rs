//! Publishes on the subject that is the channel, by the client protocol of NATS over a blocking socket: a publication is
//! a line and its payload.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

use super::Sink;

/// The longest that the server may take to answer, or to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection of its own.
pub(crate) struct Nats {
    lines: BufReader<TcpStream>,
    kept: Vec<u8>,
}

impl Nats {
    /// Connects to `url`; returns when the server has accepted the connection.
    pub(crate) fn open(url: &str) -> anyhow::Result<Self> {
        let address = url.strip_prefix("nats://").unwrap_or(url);
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {url}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut nats = Self {
            lines: BufReader::new(stream),
            kept: b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"tailwater-bench\"}\r\n".to_vec(),
        };
        nats.finish()?;
        Ok(nats)
    }
}

impl Sink for Nats {
    fn publish(&mut self, channel: &str, payload: &[u8]) -> anyhow::Result<()> {
        write!(self.kept, "PUB {channel} {}\r\n", payload.len())?;
        self.kept.extend_from_slice(payload);
        self.kept.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.lines.get_mut().write_all(&self.kept)?;
        self.kept.clear();
        Ok(())
    }

    /// The server handles the lines of a connection in order, so its answer to a ping says that it has read the others.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.kept.extend_from_slice(b"PING\r\n");
        self.flush()?;
        let mut line = String::new();
        loop {
            line.clear();
            anyhow::ensure!(self.lines.read_line(&mut line)? > 0, "NATS closed the connection");
            if line.starts_with("PONG") {
                return Ok(());
            }
            anyhow::ensure!(!line.starts_with("-ERR"), "NATS says {line}");
        }
    }
}
