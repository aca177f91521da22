//! Opens one connection: TCP, INFO, TLS, CONNECT, PING, and the PONG that says we are accepted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::auth;
use super::info::{Connect, Fixed, ServerInfo};
use super::parser::{Event, MAX_INFO, Parsed, ProtocolError, parse};
use super::servers::Server;
use super::stream::Stream;
use super::tls::Tls;
use crate::config::NatsConfig;

/// All that it takes to open a connection to any server.
pub(super) struct Dialer {
    pub(super) config: NatsConfig,
    /// The connection's name, as the server shows it.
    pub(super) name: String,
    pub(super) tls: Tls,
}

/// A connection that the server has accepted.
pub(super) struct Dialled {
    pub(super) server: Server,
    pub(super) stream: Stream,
    /// What the server has said since.
    pub(super) unread: BytesMut,
    pub(super) info: ServerInfo,
}

/// Why a server did not take us. The texts are complete: they end up in a state and in the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("{0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(Box<dyn std::error::Error + Send + Sync>),
    #[error("it does not speak TLS, which is required")]
    NoTls,
    #[error("it sent something between its INFO and the TLS handshake")]
    Injected,
    #[error("the credentials cannot be used: {0}")]
    Credentials(io::Error),
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    #[error("it said: {0}")]
    Refused(String),
    #[error("it closed the connection")]
    Closed,
    #[error("it passes no headers on: NATS 2.2 or later is needed")]
    NoHeaders,
}

/// Waits for `pause`, then opens a connection within `connect_timeout`. The error names the server.
pub(super) async fn dial(
    dialer: Arc<Dialer>,
    server: Server,
    pause: Duration,
) -> Result<Box<Dialled>, String> {
    tokio::time::sleep(pause).await;
    let limit = dialer.config.connect_timeout;
    let opened = match timeout(limit, Box::pin(open(&dialer, &server))).await {
        Ok(opened) => opened,
        Err(_) => Err(DialError::Timeout(limit)),
    };
    match opened {
        Ok((stream, unread, info)) => Ok(Box::new(Dialled {
            server,
            stream,
            unread,
            info,
        })),
        Err(error) => Err(format!("{server}: {error}")),
    }
}

async fn open(dialer: &Dialer, server: &Server) -> Result<(Stream, BytesMut, ServerInfo), DialError> {
    let socket = connect(server, dialer.config.connect_timeout).await?;
    let tls = &dialer.config.tls;
    let name = server.certificate_name.as_ref().unwrap_or(&server.host);
    let mut unread = BytesMut::new();
    let mut stream = Stream::Plain(socket);
    if tls.first {
        stream = encrypt(stream, &dialer.tls, name).await?;
    }
    let mut info = read_info(&mut stream, &mut unread).await?;
    let wanted = tls.required || server.tls || info.tls_required;
    if wanted && !tls.first {
        if !info.tls_required && !info.tls_available {
            return Err(DialError::NoTls);
        }
        // Whatever came in the clear must not be taken for something that came encrypted.
        if !unread.is_empty() {
            return Err(DialError::Injected);
        }
        stream = encrypt(stream, &dialer.tls, name).await?;
    }
    if !info.headers {
        return Err(DialError::NoHeaders);
    }
    let encrypted = matches!(stream, Stream::Tls(_));
    let greeting = greeting(dialer, &info, encrypted).map_err(DialError::Credentials)?;
    stream.write_all(&greeting).await.map_err(DialError::Connect)?;
    stream.flush().await.map_err(DialError::Connect)?;
    wait_until_accepted(&mut stream, &mut unread, &mut info).await?;
    Ok((stream, unread, info))
}

/// Tries the addresses of a name one after the other, in random order.
async fn connect(server: &Server, limit: Duration) -> Result<TcpStream, DialError> {
    let found = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
    let mut addresses: Vec<_> = found.map_err(DialError::Resolve)?.collect();
    fastrand::shuffle(&mut addresses);
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failure = DialError::Resolve(io::ErrorKind::NotFound.into());
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                socket.set_nodelay(true).map_err(DialError::Connect)?;
                return Ok(socket);
            }
            Ok(Err(error)) => failure = DialError::Connect(error),
            Err(_) => failure = DialError::Timeout(share),
        }
    }
    Err(failure)
}

async fn encrypt(stream: Stream, tls: &Tls, name: &str) -> Result<Stream, DialError> {
    let Stream::Plain(socket) = stream else {
        return Ok(stream);
    };
    let stream = tls.connect(name, socket).await.map_err(DialError::Tls)?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// CONNECT and PING.
fn greeting(dialer: &Dialer, info: &ServerInfo, encrypted: bool) -> io::Result<Vec<u8>> {
    let connect = Connect {
        name: &dialer.name,
        tls_required: encrypted,
        proof: auth::prove(&dialer.config.credentials, info.nonce.as_deref())?,
        fixed: Fixed::default(),
    };
    let mut greeting = b"CONNECT ".to_vec();
    serde_json::to_writer(&mut greeting, &connect)?;
    greeting.extend_from_slice(b"\r\nPING\r\n");
    Ok(greeting)
}

/// What may come before we are accepted.
enum Said {
    Info(ServerInfo),
    Ping,
    Pong,
    Error(String),
    Nothing,
}

async fn read_info(stream: &mut Stream, unread: &mut BytesMut) -> Result<ServerInfo, DialError> {
    match next(stream, unread).await? {
        Said::Info(info) => Ok(info),
        Said::Error(text) => Err(DialError::Refused(text)),
        _ => Err(ProtocolError::Info("the server did not begin with one".to_owned()).into()),
    }
}

async fn wait_until_accepted(
    stream: &mut Stream,
    unread: &mut BytesMut,
    info: &mut ServerInfo,
) -> Result<(), DialError> {
    loop {
        match next(stream, unread).await? {
            Said::Pong => return Ok(()),
            Said::Error(text) => return Err(DialError::Refused(text)),
            Said::Info(newer) => *info = newer,
            Said::Ping => {
                stream.write_all(b"PONG\r\n").await.map_err(DialError::Connect)?;
                stream.flush().await.map_err(DialError::Connect)?;
            }
            Said::Nothing => {}
        }
    }
}

/// Reads one event. Nothing but a short conversation is expected, so nothing here is made for speed.
async fn next(stream: &mut Stream, unread: &mut BytesMut) -> Result<Said, DialError> {
    loop {
        let source = Bytes::copy_from_slice(unread);
        if let Parsed::Event { event, end } = parse(&source, 0, MAX_INFO)? {
            let said = match event {
                Event::Info(json) => Said::Info(ServerInfo::read(json)?),
                Event::Ping => Said::Ping,
                Event::Pong => Said::Pong,
                Event::Ok => Said::Nothing,
                Event::Error(text) => Said::Error(String::from_utf8_lossy(text).into_owned()),
                Event::Message(_) => return Err(ProtocolError::UnknownLine("MSG".to_owned()).into()),
            };
            let _ = unread.split_to(end);
            return Ok(said);
        }
        match stream.read_buf(unread).await {
            Ok(0) => return Err(DialError::Closed),
            Ok(_) => {}
            Err(error) => return Err(DialError::Connect(error)),
        }
    }
}
