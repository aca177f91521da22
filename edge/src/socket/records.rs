//! TLS between bytes and bytes, without I/O: what came from the peer is decrypted, what is to be sent is encrypted.
//!
//! This is rustls without its buffers, which would cost some ten kilobytes a connection: what is incomplete and what
//! is unsent is kept here, for as long as there is any.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};

/// Bytes of a message of which the end has not come. A record has less than 17 KiB; in fragments may only come what a
/// handshake consists of, and none of a client's is that long.
const PARTIAL_BYTES: usize = 64 * 1024;

/// Room for a `close_notify`: a record of two bytes.
const CLOSE_BYTES: usize = 128;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The peer or the keys; what the peer is told of it is unsent.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// See [`PARTIAL_BYTES`].
    #[error("the peer began a TLS message that is too long")]
    TooLong,
    /// The keys are used up, the connection has ended or failed, or there is too little room for the records.
    #[error("nothing more can be sent over this TLS connection")]
    Exhausted,
}

/// One TLS connection.
pub(super) struct Records {
    connection: UnbufferedServerConnection,
    /// Records of the peer that are not whole yet.
    partial: Vec<u8>,
    /// What is to be sent, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// The peer has said that it sends no more.
    ended: bool,
    /// There was a fault; rustls is not asked for anything any more.
    failed: bool,
}

impl Records {
    /// A connection that begins with the peer's first byte.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Fault> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            ended: false,
            failed: false,
        })
    }

    /// Whether application data may not flow yet in both directions.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has said that it sends no more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What is to be sent, before anything else.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.unsent[self.sent..]
    }

    /// So many bytes of what was unsent have been sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.unsent.len() {
            (self.unsent, self.sent) = (Vec::new(), 0);
        }
    }

    /// Keeps what [`Records::encrypt`] gave and could not be sent; there is nothing unsent.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        debug_assert!(self.unsent.is_empty(), "records go out in order");
        self.unsent = rest.to_vec();
    }

    /// Takes what the peer sent, and passes on what was in it. Answers of TLS itself are unsent then, also with an
    /// error, behind which nothing may be read.
    pub(super) fn decrypt(&mut self, received: &mut [u8], plaintext: impl FnMut(&[u8])) -> Result<(), Fault> {
        if self.failed {
            return Err(Fault::Exhausted);
        }
        let decrypted = if self.partial.is_empty() {
            self.process(received, plaintext)
                .map(|used| self.partial = received[used..].to_vec())
        } else {
            self.partial.extend_from_slice(received);
            let mut gathered = std::mem::take(&mut self.partial);
            self.process(&mut gathered, plaintext).map(|used| {
                self.partial = match used {
                    0 => gathered,
                    used => gathered[used..].to_vec(),
                }
            })
        };
        let decrypted = decrypted.and_then(|()| match self.partial.len() {
            ..=PARTIAL_BYTES => Ok(()),
            _ => Err(Fault::TooLong),
        });
        if decrypted.is_err() {
            self.failed = true;
            self.take_queued();
        }
        decrypted
    }

    /// Encrypts `plaintext` into `records`, which has room for it, and says how long that is.
    pub(super) fn encrypt(&mut self, plaintext: &[u8], records: &mut [u8]) -> Result<usize, Fault> {
        if self.failed {
            return Err(Fault::Exhausted);
        }
        // What is incomplete goes along: rustls may remember a place in it.
        match self.connection.process_tls_records(&mut self.partial).state? {
            ConnectionState::WriteTraffic(mut writer) => {
                writer.encrypt(plaintext, records).map_err(|_| Fault::Exhausted)
            }
            _ => Err(Fault::Exhausted),
        }
    }

    /// Appends a `close_notify` to what is unsent (RFC 8446 section 6.1), once, unless the connection has failed or has
    /// not come so far.
    pub(super) fn close(&mut self) {
        if self.failed {
            return;
        }
        self.take_queued();
        let status = self.connection.process_tls_records(&mut self.partial);
        if let Ok(ConnectionState::WriteTraffic(mut writer)) = status.state {
            let mut record = [0; CLOSE_BYTES];
            if let Ok(length) = writer.queue_close_notify(&mut record) {
                self.unsent.extend_from_slice(&record[..length]);
            }
        }
    }

    /// Takes records from the start of `input` and says how many bytes they have.
    fn process(&mut self, input: &mut [u8], mut plaintext: impl FnMut(&[u8])) -> Result<usize, Fault> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut input[used..]);
            let mut is_done = false;
            match state? {
                ConnectionState::ReadTraffic(mut reader) => {
                    while let Some(record) = reader.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plaintext(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => append(&mut data, &mut self.unsent),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                // Early data is not offered, so nothing else has something to be done.
                _ => is_done = true,
            }
            used += discard;
            if is_done {
                return Ok(used);
            }
        }
    }

    /// Takes what rustls wants the peer to be told of an error, or of keys that are used up.
    fn take_queued(&mut self) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(&mut data, &mut self.unsent),
                // What was decrypted before the error and is of no use any more.
                Ok(ConnectionState::ReadTraffic(mut reader)) => while reader.next_record().is_some() {},
                _ => return,
            }
        }
    }
}

/// Appends what rustls wants to send by itself.
fn append<Data>(data: &mut EncodeTlsData<'_, Data>, unsent: &mut Vec<u8>) {
    let start = unsent.len();
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(error)) => error.required_size,
        _ => return,
    };
    unsent.resize(start + needed, 0);
    // It has just said that this is enough.
    let written = data.encode(&mut unsent[start..]).unwrap_or(0);
    unsent.truncate(start + written);
}

#[cfg(test)]
mod tests;
