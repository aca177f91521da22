//! The NATS client protocol as bytes: what the loss checker needs where a NATS library would stumble, because
//! somebody published headers that are none, or where lines have to be left out on their way.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Cuts a stream of bytes into protocol operations, each a line and, for some, a body.
#[derive(Debug, Default)]
pub struct Splitter {
    bytes: Vec<u8>,
    start: usize,
}

/// One operation of the NATS client protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'a> {
    /// The line without its end.
    pub line: &'a [u8],
    /// Headers and payload, without the end of line behind them; empty if the operation has none.
    pub body: &'a [u8],
    /// Everything as it came.
    pub bytes: &'a [u8],
}

impl Splitter {
    /// Adds what has been read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next operation, if all of it is there.
    pub fn take(&mut self) -> Option<Operation<'_>> {
        let rest = &self.bytes[self.start..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let body = body_length(line);
        let whole = end + 1 + body.map_or(0, |length| length + 2);
        let bytes = rest.get(..whole)?;
        self.start += whole;
        Some(Operation {
            line,
            body: &bytes[end + 1..end + 1 + body.unwrap_or(0)],
            bytes,
        })
    }
}

impl<'a> Operation<'a> {
    /// The word with which the line begins, in upper case as NATS writes it.
    pub fn verb(&self) -> &'a [u8] {
        self.line.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    /// The subject of a publication or a message.
    pub fn subject(&self) -> Option<&'a str> {
        if !has_body(self.verb()) {
            return None;
        }
        str::from_utf8(self.line.split(|byte| *byte == b' ').nth(1)?).ok()
    }
}

fn has_body(verb: &[u8]) -> bool {
    matches!(verb, b"MSG" | b"HMSG" | b"PUB" | b"HPUB")
}

fn body_length(line: &[u8]) -> Option<usize> {
    let mut words = line.split(|byte| *byte == b' ');
    if !has_body(words.next()?) {
        return None;
    }
    str::from_utf8(words.next_back()?).ok()?.parse().ok()
}

/// A message that a [`RawNats`] received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// Where it was published.
    pub subject: String,
    /// Where an answer is expected.
    pub reply: Option<String>,
    /// The headers as they came, from `NATS/1.0` to the empty line; empty if it has none.
    pub headers: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl RawMessage {
    /// The last value of a header: the server appends its own behind those of the publisher.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.rsplit(|byte| *byte == b'\n');
        let values = lines.filter_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"));
        values
            .filter_map(|value| str::from_utf8(value).ok())
            .next()
            .map(str::trim)
    }

    /// The status in the first line of the headers, such as 404; 0 if there is none.
    pub fn status(&self) -> u16 {
        let status = self
            .headers
            .strip_prefix(b"NATS/1.0 ")
            .and_then(|rest| rest.get(..3));
        status
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())
            .unwrap_or(0)
    }
}

/// A connection that sends any bytes, and reads messages whatever their headers hold.
#[derive(Debug)]
pub struct RawNats {
    stream: TcpStream,
    splitter: Splitter,
    buffer: Vec<u8>,
}

impl RawNats {
    /// Connects to a server, which must answer within two seconds.
    ///
    /// # Errors
    /// If it does not answer, or does not speak NATS.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let opening = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut this = Self {
                stream,
                splitter: Splitter::default(),
                buffer: vec![0; 16 << 10],
            };
            let hello = r#"{"verbose":false,"headers":true,"no_responders":true,"protocol":1}"#;
            this.send(format!("CONNECT {hello}\r\nPING\r\n").as_bytes())
                .await?;
            this.pong().await?;
            Ok(this)
        };
        timeout(Duration::from_secs(2), opening)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Publishes with these bytes as headers, which need not be any; they should end with an empty line.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn publish(&mut self, subject: &str, headers: &[u8], payload: &[u8]) -> io::Result<()> {
        let length = headers.len();
        let total = length + payload.len();
        let mut bytes = match length {
            0 => format!("PUB {subject} {total}\r\n").into_bytes(),
            _ => format!("HPUB {subject} {length} {total}\r\n").into_bytes(),
        };
        bytes.extend_from_slice(headers);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes).await
    }

    /// Waits until the server has handled what was sent before.
    ///
    /// # Errors
    /// If the connection is broken, or the server complains.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.send(b"PING\r\n").await?;
        self.pong().await
    }

    /// The next message.
    ///
    /// # Errors
    /// If the connection is broken, or the server complains.
    pub async fn next(&mut self) -> io::Result<RawMessage> {
        loop {
            if let Some(message) = self.step(message).await? {
                return Ok(message);
            }
        }
    }

    async fn pong(&mut self) -> io::Result<()> {
        let pong = |operation: Operation<'_>| (operation.verb() == b"PONG").then_some(());
        while self.step(pong).await?.is_none() {}
        Ok(())
    }

    /// Handles one operation, or reads more.
    async fn step<T>(&mut self, of: impl Fn(Operation<'_>) -> Option<T>) -> io::Result<Option<T>> {
        if let Some(operation) = self.splitter.take() {
            match operation.verb() {
                b"PING" => self.send(b"PONG\r\n").await?,
                b"-ERR" => {
                    return Err(io::Error::other(
                        String::from_utf8_lossy(operation.line).into_owned(),
                    ));
                }
                _ => return Ok(of(operation)),
            }
            return Ok(None);
        }
        let read = self.stream.read(&mut self.buffer).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.splitter.push(&self.buffer[..read]);
        Ok(None)
    }
}

fn message(operation: Operation<'_>) -> Option<RawMessage> {
    let subject = operation.subject()?.to_owned();
    // `MSG subject sid [reply] total`, `HMSG subject sid [reply] headers total`.
    let words: Vec<_> = str::from_utf8(operation.line).ok()?.split(' ').collect();
    let (headers, least) = if operation.verb() == b"HMSG" {
        (words.iter().rev().nth(1)?.parse().ok()?, 5)
    } else {
        (0, 4)
    };
    let reply = (words.len() > least).then(|| words[3].to_owned());
    let (headers, payload) = operation.body.split_at_checked(headers)?;
    Some(RawMessage {
        subject,
        reply,
        headers: headers.to_vec(),
        payload: payload.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_cut_alike_wherever_the_reads_end() {
        let text = b"INFO {}\r\nMSG a 1 5\r\nab\r\nc\r\nHMSG b 2 in 12 14\r\nNATS/1.0\r\n\r\nxy\r\nPING\r\n";
        for size in 1..text.len() {
            let mut splitter = Splitter::default();
            let mut seen = Vec::new();
            for part in text.chunks(size) {
                splitter.push(part);
                while let Some(operation) = splitter.take() {
                    seen.push((operation.verb().to_vec(), operation.body.to_vec()));
                }
            }
            let expected: [(&[u8], &[u8]); 4] = [
                (b"INFO", b""),
                (b"MSG", b"ab\r\nc"),
                (b"HMSG", b"NATS/1.0\r\n\r\nxy"),
                (b"PING", b""),
            ];
            let expected: Vec<_> = expected
                .iter()
                .map(|(verb, body)| (verb.to_vec(), body.to_vec()))
                .collect();
            assert_eq!(seen, expected, "reads of {size} bytes");
        }
    }

    #[test]
    fn of_a_header_that_was_forged_the_last_value_counts() {
        let message = RawMessage {
            subject: "a".to_owned(),
            reply: None,
            headers: b"NATS/1.0 503\r\nNats-Sequence: 9\r\n\xff\xfe\r\nNats-Sequence: 4\r\n\r\n".to_vec(),
            payload: Vec::new(),
        };
        assert_eq!(message.header("Nats-Sequence"), Some("4"));
        assert_eq!(message.header("Nats-Stream"), None);
        assert_eq!(message.status(), 503);
    }
}
