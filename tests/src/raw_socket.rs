//! A client that may break every rule: plain bytes over TCP.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::soon;

/// The headers of a correct handshake, one a line.
pub const HANDSHAKE: [&str; 5] = [
    "Host: edge",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// One connection to an edge, over TCP or what a test put on top of it.
pub struct RawSocket<S = TcpStream> {
    stream: S,
    received: Vec<u8>,
}

impl RawSocket {
    /// Connects, without any handshake.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address))
            .await
            .expect("somebody listens");
        Self::over(stream)
    }

    /// Connects from another address of this machine, such as 127.0.0.2.
    ///
    /// # Panics
    /// If nobody listens, or the address is not this machine's.
    pub async fn open_from(local: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("the system has sockets");
        socket
            .bind(SocketAddr::new(local, 0))
            .expect("an address of this machine");
        let stream = soon("a connection", socket.connect(address))
            .await
            .expect("somebody listens");
        Self::over(stream)
    }

    /// Connects with a small receive buffer, so that what is not read backs up into the edge at once.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn open_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("the system has sockets");
        socket
            .set_recv_buffer_size(4096)
            .expect("a receive buffer may be small");
        let stream = soon("a connection", socket.connect(address))
            .await
            .expect("somebody listens");
        Self::over(stream)
    }

    /// Connects and makes a correct handshake.
    ///
    /// # Panics
    /// If the edge does not switch protocols.
    pub async fn upgraded(address: SocketAddr) -> Self {
        Self::open(address).await.upgrade().await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawSocket<S> {
    /// Speaks over a stream that is there already.
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Makes a correct handshake.
    ///
    /// # Panics
    /// If the edge does not switch protocols.
    pub async fn upgrade(mut self) -> Self {
        let response = self.request("GET /ws HTTP/1.1", &HANDSHAKE).await;
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        self
    }

    /// The stream itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream itself.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, without what has come of it and has not been taken.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the connection is broken.
    pub async fn send(&mut self, bytes: &[u8]) {
        soon("room to send", self.stream.write_all(bytes))
            .await
            .expect("the connection lives");
    }

    /// Sends a request and gives the head of the response.
    ///
    /// # Panics
    /// If there is no response.
    pub async fn request(&mut self, line: &str, headers: &[&str]) -> String {
        let request = format!("{line}\r\n{}\r\n\r\n", headers.join("\r\n"));
        self.send(request.as_bytes()).await;
        self.head().await
    }

    /// The head of the next response.
    ///
    /// # Panics
    /// If there is none.
    pub async fn head(&mut self) -> String {
        let head = loop {
            let end = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break self.received.drain(..end + 4).collect::<Vec<_>>();
            }
            assert!(self.fill().await > 0, "the connection ended without a response");
        };
        String::from_utf8_lossy(&head).into_owned()
    }

    /// The body of the response that `head` begins, by its length.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn body(&mut self, head: &str) -> String {
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().ok())?
        });
        let length = length.unwrap_or(0);
        while self.received.len() < length {
            assert!(self.fill().await > 0, "the connection ended inside a body");
        }
        let body: Vec<u8> = self.received.drain(..length).collect();
        String::from_utf8_lossy(&body).into_owned()
    }

    /// The next block of an event stream, without the empty line behind it; nothing if the connection ended.
    pub async fn next_block(&mut self) -> Option<String> {
        loop {
            let end = self.received.windows(2).position(|window| window == b"\n\n");
            if let Some(end) = end {
                let block: Vec<u8> = self.received.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&block[..end]).into_owned());
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// Everything until the edge ends the connection.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.received)
    }

    /// The next frame of the edge: its first byte and its payload; nothing if the connection ended.
    ///
    /// # Panics
    /// If the edge sends a masked frame (RFC 6455 section 5.1).
    pub async fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((first, start, length)) = frame_of(&self.received)
                && self.received.len() >= start + length
            {
                let payload = self.received[start..start + length].to_vec();
                self.received.drain(..start + length);
                return Some((first, payload));
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// As [`RawSocket::next_frame`], but the edge's own pings are skipped, without an answer.
    pub async fn next_answer(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match self.next_frame().await {
                Some((0x89, _)) => {}
                other => return other,
            }
        }
    }

    /// The next message of a JSON session; pings are skipped.
    ///
    /// # Panics
    /// If something else comes, or the connection ends.
    pub async fn next_json(&mut self) -> serde_json::Value {
        match self.next_answer().await {
            Some((0x81, body)) => serde_json::from_slice(&body).expect("a text frame holds JSON"),
            other => panic!("expected a text frame, got {other:?}"),
        }
    }

    /// Sends a text message and gives the next message of the edge.
    ///
    /// # Panics
    /// As [`RawSocket::next_json`].
    pub async fn ask(&mut self, text: &str) -> serde_json::Value {
        self.send(&frame(0x81, text.as_bytes())).await;
        self.next_json().await
    }

    /// The code of the close frame with which the edge ends the connection; other frames are skipped.
    ///
    /// # Panics
    /// If the connection ends without one.
    pub async fn close_code(&mut self) -> u16 {
        while let Some((first, payload)) = self.next_frame().await {
            if first == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
        panic!("the connection ended without a close frame");
    }

    async fn fill(&mut self) -> usize {
        let read = soon("bytes", self.stream.read_buf(&mut self.received)).await;
        // A reset is an end as well.
        read.unwrap_or(0)
    }
}

fn frame_of(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    assert_eq!(second & 0x80, 0, "a server's frame is not masked");
    match second {
        126 => Some((*first, 4, usize::from(u16::from_be_bytes(*rest.first_chunk()?)))),
        127 => Some((
            *first,
            10,
            usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?,
        )),
        length => Some((*first, 2, usize::from(*length))),
    }
}

/// A client's frame: masked, with any first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A plain GET: the status and the body.
///
/// # Panics
/// If there is no response.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut socket = RawSocket::open(address).await;
    let line = format!("GET {path} HTTP/1.1");
    let head = socket.request(&line, &["Host: edge", "Connection: close"]).await;
    let body = socket.read_to_end().await;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (
        status.expect("a status"),
        String::from_utf8_lossy(&body).into_owned(),
    )
}
