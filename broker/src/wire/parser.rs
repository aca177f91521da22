//! The server's side of the NATS client protocol: bytes in, events out, no I/O and no copy.
//!
//! One call reads one event. What is not complete yet is asked for again with more bytes, and nothing is
//! remembered in between, so any split of the bytes gives the same events. Cost of one message: one
//! search for the end of its line, one walk over that line; the payload is not looked at.
//!
//! A line that this protocol does not know is an error that ends the connection: what follows it could
//! be anything. What stands *inside* a message, its header block above all, is its publisher's business
//! and never an error here.

use bytes::Bytes;

use super::headers::{Headers, number};

/// The longest line that is not an INFO, in bytes. Servers refuse longer ones from publishers at 4,096
/// unless `max_control_line` says otherwise, and what they send on is longer by a prefix, an id and two
/// sizes, so this is far above: no publisher may reach it.
pub const MAX_LINE: usize = 64 * 1024;

/// The longest INFO, in bytes: it names every server of a cluster.
pub const MAX_INFO: usize = 1024 * 1024;

/// Messages up to this size, headers and payload, pass whatever the server's INFO says; it is the most
/// that a server with default limits can hold for a client.
pub const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// From this size on, a message that is kept shares the reader's buffer.
const SHARED: usize = 16 * 1024;

/// One thing that the server says.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// `INFO`: the JSON behind it.
    Info(&'a [u8]),
    /// `MSG` or `HMSG`.
    Message(Message<'a>),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR`: the text, without its quotes.
    Error(&'a [u8]),
}

/// A message, as parts of the bytes that were read.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    source: &'a Bytes,
    /// The number that the subscription was made with.
    pub sid: u64,
    /// What it was published on. NATS does not promise UTF-8.
    pub subject: &'a [u8],
    /// Where an answer is expected.
    pub reply: Option<&'a [u8]>,
    /// Its headers, as they came.
    pub headers: Headers<'a>,
    /// Its payload.
    pub payload: &'a [u8],
}

/// A message that outlives the reader's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedMessage {
    /// What it was published on.
    pub subject: Bytes,
    /// The header block; see [`OwnedMessage::headers`].
    pub header_block: Bytes,
    /// The payload.
    pub payload: Bytes,
}

impl Message<'_> {
    /// Keeps the message. A small one is copied, in one piece, since whoever keeps a part of the reader's
    /// buffer keeps all of it; a large one shares it.
    pub fn to_owned(&self) -> OwnedMessage {
        let parts = [self.subject, self.headers.as_bytes(), self.payload];
        let [subject, header_block, payload] = if parts.iter().map(|part| part.len()).sum::<usize>() < SHARED
        {
            let mut whole = Bytes::from(parts.concat());
            parts.map(|part| whole.split_to(part.len()))
        } else {
            parts.map(|part| self.source.slice_ref(part))
        };
        OwnedMessage {
            subject,
            header_block,
            payload,
        }
    }
}

impl OwnedMessage {
    /// Its headers.
    pub fn headers(&self) -> Headers<'_> {
        Headers::new(&self.header_block)
    }
}

/// What one call of [`parse`] came to.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// An event; the next one begins at `end`.
    Event {
        /// The event.
        event: Event<'a>,
        /// Where it ends in the source.
        end: usize,
    },
    /// The event is not complete. It will not be before the source holds `total` bytes.
    Incomplete {
        /// Bytes that the source must hold.
        total: usize,
    },
}

/// What is not the NATS client protocol. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A line that begins with none of the protocol's words.
    #[error("a line that is not NATS: `{0}`")]
    UnknownLine(String),
    /// A line that does not end.
    #[error("a line of more than {0} bytes")]
    LineTooLong(usize),
    /// A `MSG` or `HMSG` whose parts are not what they must be.
    #[error("a malformed message line: `{0}`")]
    MessageLine(String),
    /// A message beyond the limit.
    #[error("a message of {size} bytes, more than {limit}")]
    MessageTooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: usize,
    },
    /// A payload that is longer or shorter than announced.
    #[error("a message that does not end where its line says")]
    MessageEnd,
    /// An INFO whose JSON cannot be read.
    #[error("an INFO that cannot be read: {0}")]
    Info(String),
}

/// Reads the event that begins at `from`. A message larger than `max_message` bytes is an error.
///
/// # Errors
/// [`ProtocolError`] for bytes that no NATS server sends.
pub fn parse(source: &Bytes, from: usize, max_message: usize) -> Result<Parsed<'_>, ProtocolError> {
    let rest = source.get(from..).unwrap_or_default();
    let Some(newline) = memchr::memchr(b'\n', rest) else {
        return unfinished_line(rest).map(|()| Parsed::Incomplete {
            total: from + rest.len() + 1,
        });
    };
    let line = &rest[..newline];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let end = from + newline + 1;
    if line.len() > limit_of(rest) {
        return Err(ProtocolError::LineTooLong(limit_of(rest)));
    }
    let (word, arguments) = match line.iter().position(|byte| is_blank(*byte)) {
        Some(blank) => (&line[..blank], &line[blank + 1..]),
        None => (line, &line[line.len()..]),
    };
    let event = match word {
        b"HMSG" => return message(source, line, arguments, true, end, max_message),
        b"MSG" => return message(source, line, arguments, false, end, max_message),
        _ if word.eq_ignore_ascii_case(b"PING") => Event::Ping,
        _ if word.eq_ignore_ascii_case(b"PONG") => Event::Pong,
        _ if word.eq_ignore_ascii_case(b"+OK") => Event::Ok,
        _ if word.eq_ignore_ascii_case(b"-ERR") => Event::Error(unquoted(arguments)),
        _ if word.eq_ignore_ascii_case(b"INFO") => Event::Info(arguments.trim_ascii()),
        _ if word.eq_ignore_ascii_case(b"HMSG") => {
            return message(source, line, arguments, true, end, max_message);
        }
        _ if word.eq_ignore_ascii_case(b"MSG") => {
            return message(source, line, arguments, false, end, max_message);
        }
        _ => return Err(ProtocolError::UnknownLine(excerpt(line))),
    };
    Ok(Parsed::Event { event, end })
}

/// `MSG subject sid [reply] size` or `HMSG subject sid [reply] header-size size`, then that many bytes.
fn message<'a>(
    source: &'a Bytes,
    line: &[u8],
    arguments: &'a [u8],
    with_headers: bool,
    begin: usize,
    max_message: usize,
) -> Result<Parsed<'a>, ProtocolError> {
    let malformed = || ProtocolError::MessageLine(excerpt(line));
    let mut words = [&arguments[..0]; 5];
    let count = split(arguments, &mut words).ok_or_else(malformed)?;
    let (subject, sid, reply, header_size, size) = match (with_headers, &words[..count]) {
        (false, [subject, sid, size]) => (subject, sid, None, None, size),
        (false, [subject, sid, reply, size]) => (subject, sid, Some(*reply), None, size),
        (true, [subject, sid, headers, size]) => (subject, sid, None, Some(*headers), size),
        (true, [subject, sid, reply, headers, size]) => (subject, sid, Some(*reply), Some(*headers), size),
        _ => return Err(malformed()),
    };
    let sid = number(sid).ok_or_else(malformed)?;
    let size = number(size).ok_or_else(malformed)?;
    let header_size = header_size.map_or(Some(0), number).ok_or_else(malformed)?;
    if header_size > size {
        return Err(malformed());
    }
    let too_large = ProtocolError::MessageTooLarge {
        size,
        limit: max_message,
    };
    let (Ok(size), Ok(header_size)) = (usize::try_from(size), usize::try_from(header_size)) else {
        return Err(too_large);
    };
    if size > max_message {
        return Err(too_large);
    }
    let total = begin + size + 2;
    let Some(body) = source.get(begin..total) else {
        return Ok(Parsed::Incomplete { total });
    };
    let Some(body) = body.strip_suffix(b"\r\n") else {
        return Err(ProtocolError::MessageEnd);
    };
    let (headers, payload) = body.split_at(header_size);
    let message = Message {
        source,
        sid,
        subject,
        reply,
        headers: Headers::new(headers),
        payload,
    };
    Ok(Parsed::Event {
        event: Event::Message(message),
        end: total,
    })
}

/// Cuts a line into its words and says how many there are; nothing if there are more than `words`.
fn split<'a>(line: &'a [u8], words: &mut [&'a [u8]; 5]) -> Option<usize> {
    let mut count = 0;
    let mut start = 0;
    for (at, byte) in line.iter().enumerate() {
        if is_blank(*byte) {
            if at > start {
                *words.get_mut(count)? = &line[start..at];
                count += 1;
            }
            start = at + 1;
        }
    }
    if start < line.len() {
        *words.get_mut(count)? = &line[start..];
        count += 1;
    }
    Some(count)
}

/// Refuses a line without end as soon as it cannot become a good one.
fn unfinished_line(start: &[u8]) -> Result<(), ProtocolError> {
    let words: [&[u8]; 7] = [b"HMSG", b"MSG", b"PING", b"PONG", b"+OK", b"-ERR", b"INFO"];
    let known = |word: &&[u8]| {
        let common = word.len().min(start.len());
        word[..common].eq_ignore_ascii_case(&start[..common])
    };
    if !words.iter().any(known) {
        return Err(ProtocolError::UnknownLine(excerpt(start)));
    }
    // The line's own end may be there but for its last byte.
    if start.len() > limit_of(start) + 1 {
        return Err(ProtocolError::LineTooLong(limit_of(start)));
    }
    Ok(())
}

fn limit_of(line: &[u8]) -> usize {
    if line.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'I')) {
        MAX_INFO
    } else {
        MAX_LINE
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let inner = text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'"));
    inner.unwrap_or(text)
}

/// The start of a line, fit for a log.
fn excerpt(line: &[u8]) -> String {
    line[..line.len().min(64)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
