//! A small client of the protocol: for `tailwater sub`, the load generator and the tests.

mod trust;

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError, handshake};
use http_body_util::Empty;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tailwater_protocol::codec::{Codec, DecodeError};
use tailwater_protocol::command::{Command, CommandMessage};
use tailwater_protocol::message::ServerMessage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::Secret;
pub use trust::Trust;

/// Messages larger than this end the connection: NATS itself carries at most 64 MiB.
const MAX_MESSAGE_BYTES: usize = 80 << 20;

/// Why a client could not connect or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is no `ws://` or `wss://` URL with a host.
    #[error("`{url}` is no WebSocket address: write ws://HOST:PORT/ws or wss://HOST/ws")]
    Address {
        /// What was given.
        url: String,
    },
    /// The address holds a name or a password; it is not repeated.
    #[error(
        "the address holds credentials, which shells and logs keep: leave them out, a token goes into a file"
    )]
    Credentials,
    /// The server cannot be reached.
    #[error("cannot reach {host}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file of certificates to trust is of no use.
    #[error("cannot read certificates to trust from {}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// The token holds what no header can hold.
    #[error("the token is none: it has a line break or another control character in it")]
    Token,
    /// The server refused the handshake, or the connection broke.
    #[error("the WebSocket connection failed")]
    WebSocket(#[from] WebSocketError),
    /// The server closed the connection.
    #[error("the server closed the connection: {code} {reason}")]
    Closed {
        /// The close code; 1005 if there was none (RFC 6455 section 7.1.5).
        code: u16,
        /// The reason given.
        reason: String,
    },
    /// The server sent what this client does not understand.
    #[error("the server sent a message that cannot be read")]
    Decode(#[from] DecodeError),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection to an edge.
pub struct Client {
    socket: FragmentCollector<TokioIo<hyper::upgrade::Upgraded>>,
    codec: Codec,
    received: VecDeque<ServerMessage>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to `url`, offering the subprotocol of `codec`, or none for the server's default (JSON).
    ///
    /// # Errors
    /// All of [`ClientError`] but `Closed` and `Decode`.
    pub async fn connect(url: &str, codec: Option<Codec>) -> Result<Self, ClientError> {
        Self::connect_as(url, codec, &Trust::System, None).await
    }

    /// As [`Client::connect`], with the authorities to trust if it is a `wss://` address, and with a token that says who
    /// this is.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`ClientError::Token`] for a token that no header can hold.
    pub async fn connect_as(
        url: &str,
        codec: Option<Codec>,
        trust: &Trust,
        token: Option<&Secret>,
    ) -> Result<Self, ClientError> {
        // A query may hold an `@`.
        if url.split('?').next().is_some_and(|before| before.contains('@')) {
            return Err(ClientError::Credentials);
        }
        let address = Address::parse(url).ok_or_else(|| ClientError::Address { url: url.to_owned() })?;
        let stream = address.open(trust).await?;
        let mut request = Request::get(address.path.as_str())
            .header(HOST, &address.authority)
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "Upgrade")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, handshake::generate_key());
        if let Some(codec) = codec {
            request = request.header(SEC_WEBSOCKET_PROTOCOL, codec.subprotocol());
        }
        if let Some(token) = token {
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
            let mut bearer = bearer.map_err(|_| ClientError::Token)?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_| ClientError::Address { url: url.to_owned() })?;
        let (mut socket, _) = handshake::client(&Spawn, request, stream).await?;
        socket.set_max_message_size(MAX_MESSAGE_BYTES);
        let socket = FragmentCollector::new(socket);
        Ok(Self {
            socket,
            codec: codec.unwrap_or(Codec::Json),
            received: VecDeque::new(),
        })
    }

    /// The codec in use.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Sends a command.
    ///
    /// # Errors
    /// [`ClientError::WebSocket`] if the connection is broken.
    pub async fn send(&mut self, id: Option<u32>, command: Command) -> Result<(), ClientError> {
        let body = self.codec.encode_command(&CommandMessage { id, command });
        self.send_body(&body).await
    }

    /// Sends the body of one message as it is, in the frame that the codec asks for.
    ///
    /// # Errors
    /// [`ClientError::WebSocket`] if the connection is broken.
    pub async fn send_body(&mut self, body: &[u8]) -> Result<(), ClientError> {
        let payload = Payload::Owned(body.to_vec());
        let frame = match self.codec {
            Codec::Json => Frame::text(payload),
            Codec::MessagePack => Frame::binary(payload),
        };
        Ok(self.socket.write_frame(frame).await?)
    }

    /// The next message. Pings of the server are answered here.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the server closes, else what broke.
    pub async fn next(&mut self) -> Result<ServerMessage, ClientError> {
        loop {
            if let Some(message) = self.received.pop_front() {
                return Ok(message);
            }
            let frame = self.socket.read_frame().await?;
            match frame.opcode {
                OpCode::Text | OpCode::Binary => {
                    self.received.extend(self.codec.decode_server(&frame.payload)?)
                }
                OpCode::Close => return Err(closed(&frame.payload)),
                _ => {}
            }
        }
    }

    /// Closes the connection and waits for the server's answer.
    ///
    /// # Errors
    /// [`ClientError::WebSocket`] if the connection is broken.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.socket.write_frame(Frame::close(1000, b"")).await?;
        while self.next().await.is_ok() {}
        Ok(())
    }
}

fn closed(body: &[u8]) -> ClientError {
    match body.split_at_checked(2) {
        Some((code, reason)) => ClientError::Closed {
            code: u16::from_be_bytes([code[0], code[1]]),
            reason: String::from_utf8_lossy(reason).into_owned(),
        },
        None => ClientError::Closed {
            code: 1005,
            reason: String::new(),
        },
    }
}

/// The parts of a WebSocket URL.
struct Address {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Address {
    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "ws" => false,
            "wss" => true,
            _ => return None,
        };
        let host = uri
            .host()?
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let authority = uri.authority()?.as_str().to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        (!host.is_empty()).then_some(Self {
            tls,
            host,
            port,
            authority,
            path,
        })
    }

    async fn open(&self, trust: &Trust) -> Result<Box<dyn Stream>, ClientError> {
        let unreachable = |source| ClientError::Unreachable {
            host: self.authority.clone(),
            source,
        };
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        if !self.tls {
            return Ok(Box::new(tcp));
        }
        let config = trust.config().map_err(|source| match trust {
            Trust::System => unreachable(source),
            Trust::File(path) => ClientError::Trust {
                path: path.clone(),
                source,
            },
        })?;
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| unreachable(std::io::Error::other(error)))?;
        let connector = tokio_rustls::TlsConnector::from(config);
        Ok(Box::new(connector.connect(name, tcp).await.map_err(unreachable)?))
    }
}

/// Runs the HTTP side of a handshake; it ends when the connection is handed over.
struct Spawn;

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}
