//! Publications by HTTP/1.1. A server that keeps connections gets all requests of one `flush` behind each other, without
//! a wait for the answers between them (RFC 9112 section 9.3.2), so they stay in order and the way to the server costs no
//! more than it must. Its first answer tells whether it does; one that closes after each answer gets a connection for
//! each request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use memchr::memmem;

use super::Sink;
use super::message::MessageTemplate;
use super::pusher;
use crate::dialect::{Publish, PusherApp};

/// The longest that a server may take to connect, to answer or to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of requests that are sent before their answers are waited for.
const FULL: usize = 64 * 1024;

/// Connects.
///
/// # Errors
/// If `publish` is another way, or nobody listens.
pub(crate) fn open(address: SocketAddr, publish: &Publish) -> anyhow::Result<Box<dyn Sink>> {
    let Publish::Http {
        address: elsewhere,
        request,
        headers,
        body,
        pusher,
    } = publish
    else {
        anyhow::bail!("publications do not go by HTTP");
    };
    let (method, path) = request
        .split_once(' ')
        .context("a request has a method and a path")?;
    let address = elsewhere.unwrap_or(address);
    let mut head = format!("Host: {address}\r\nContent-Type: application/json\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    Ok(Box::new(HttpSink {
        stream: Some(connect(address)?),
        address,
        keeps: false,
        method: method.to_owned(),
        path: path.to_owned(),
        head,
        template: MessageTemplate::new(body),
        pusher: *pusher,
        body: Vec::new(),
        requests: Vec::new(),
        waiting: 0,
        answers: Vec::new(),
    }))
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect to publish")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

struct HttpSink {
    address: SocketAddr,
    /// None where the server has closed it behind an answer.
    stream: Option<TcpStream>,
    /// The last answer left the connection open.
    keeps: bool,
    method: String,
    path: String,
    /// Header lines that all requests have.
    head: String,
    template: MessageTemplate,
    pusher: Option<PusherApp>,
    /// The body at hand; kept for its memory.
    body: Vec<u8>,
    /// What has not been sent.
    requests: Vec<u8>,
    /// Answers to come.
    waiting: usize,
    /// What has come of them and was not taken.
    answers: Vec<u8>,
}

impl Sink for HttpSink {
    fn publish(&mut self, channel: &str, payload: &[u8]) -> anyhow::Result<()> {
        self.body.clear();
        self.template.fill(channel, payload, &mut self.body)?;
        let signed = self
            .pusher
            .map(|app| pusher::signed(app, &self.method, &self.path, &self.body));
        let target = signed.as_ref().unwrap_or(&self.path);
        let (method, head, length) = (&self.method, &self.head, self.body.len());
        write!(
            self.requests,
            "{method} {target} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n"
        )?;
        self.requests.extend_from_slice(&self.body);
        self.waiting += 1;
        let is_full = self.requests.len() >= FULL;
        if is_full || !self.keeps {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        // The answers are shorter than the requests, so the server can write them before they are read.
        stream
            .write_all(&self.requests)
            .context("the server does not read publications")?;
        self.requests.clear();
        while self.waiting > 0 {
            self.keeps = self.take_answer(&mut stream)?;
            self.waiting -= 1;
            anyhow::ensure!(
                self.keeps || self.waiting == 0,
                "the server closed the connection before it had answered {} publications",
                self.waiting
            );
        }
        self.stream = self.keeps.then_some(stream);
        Ok(())
    }
}

impl HttpSink {
    /// Waits for an answer; says whether the connection stays open.
    fn take_answer(&mut self, stream: &mut TcpStream) -> anyhow::Result<bool> {
        let answer = loop {
            match answer(&self.answers)? {
                Some(answer) => break answer,
                None => self.read(stream)?,
            }
        };
        let bytes: Vec<u8> = self.answers.drain(..answer.length).collect();
        let accepted = (200..300).contains(&answer.status);
        anyhow::ensure!(accepted, "a publication is refused: {}", bytes.escape_ascii());
        Ok(answer.keeps)
    }

    fn read(&mut self, stream: &mut TcpStream) -> anyhow::Result<()> {
        let mut some = [0; 4096];
        let length = stream
            .read(&mut some)
            .context("the server does not answer publications")?;
        anyhow::ensure!(length > 0, "the server closed the connection of the publisher");
        self.answers.extend_from_slice(&some[..length]);
        Ok(())
    }
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Bytes of its head and body.
    length: usize,
    /// The connection stays open behind it (RFC 9112 section 9.6).
    keeps: bool,
}

/// The first answer in `bytes`, if it is whole.
///
/// # Errors
/// If it does not tell where it ends, or is no HTTP.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status
        .with_context(|| format!("no answer of HTTP: {head}"))?
        .parse()?;
    let headers: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let header = |wanted: &str| {
        let mut found = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.next().map(|(_, value)| *value)
    };
    let body: usize = match header("Content-Length") {
        Some(value) => value.parse()?,
        None if status == 204 => 0,
        None => anyhow::bail!("an answer without Content-Length: {head}"),
    };
    let length = end + 4 + body;
    let keeps = !header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((bytes.len() >= length).then_some(Answer {
        status,
        length,
        keeps,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX: y\r\n\r\n{}HTTP/1.1";
        let length = bytes.len() - "HTTP/1.1".len();
        let keeps = true;
        let whole = Answer {
            status: 200,
            length,
            keeps,
        };
        assert_eq!(answer(bytes).unwrap(), Some(whole));
        for end in 0..length {
            assert_eq!(answer(&bytes[..end]).unwrap(), None);
        }
        let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
        let length = empty.len();
        let whole = Answer {
            status: 204,
            length,
            keeps,
        };
        assert_eq!(answer(empty).unwrap(), Some(whole));
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    /// Answers `total` requests with a header line of its own, and closes behind each answer if it has one; gives the
    /// bodies in the order in which they came, and how many connections there were.
    fn serve(listener: &TcpListener, total: usize, manner: &str) -> (Vec<String>, usize) {
        let mut bodies = Vec::new();
        let mut connections = 0;
        while bodies.len() < total {
            let (stream, _) = listener.accept().unwrap();
            connections += 1;
            let mut lines = BufReader::new(&stream);
            loop {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).unwrap() > 0 {}
                let Some((_, length)) = head.split_once("Content-Length: ") else {
                    break;
                };
                let mut body = vec![0; length.trim().parse().unwrap()];
                lines.read_exact(&mut body).unwrap();
                bodies.push(String::from_utf8(body).unwrap());
                let answer = format!("HTTP/1.1 200 OK\r\n{manner}Content-Length: 2\r\n\r\n{{}}");
                (&stream).write_all(answer.as_bytes()).unwrap();
                if !manner.is_empty() {
                    break;
                }
            }
        }
        (bodies, connections)
    }

    #[test]
    fn publications_arrive_in_order_whether_or_not_the_server_keeps_the_connection() {
        for (manner, expected) in [("", 1), ("Connection: close\r\n", 5)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || serve(&listener, 5, manner));
            let publish = Publish::Http {
                address: None,
                request: "POST /publish".to_owned(),
                headers: vec!["X-Key: k".to_owned()],
                body: b"{channel} {payload}".to_vec(),
                pusher: None,
            };
            let mut sink = open(address, &publish).unwrap();
            for number in ["1", "2", "3", "4", "5"] {
                sink.publish("c", number.as_bytes()).unwrap();
            }
            sink.flush().unwrap();
            drop(sink);
            let (bodies, connections) = server.join().unwrap();
            assert_eq!(bodies, ["c 1", "c 2", "c 3", "c 4", "c 5"]);
            assert_eq!(connections, expected, "{manner}");
        }
    }
}
