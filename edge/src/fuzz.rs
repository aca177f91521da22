//! What the fuzz targets reach of what is private.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tailwater_protocol::close::CloseCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use crate::config::{Config, ConfigErrors};
use crate::transport::websocket::{Inbound, MessageReader};
use crate::upgrade;

/// The longest request line and headers together, in bytes: the least that hyper takes.
const MAX_HEADER_BYTES: usize = 8192;

/// What a client's bytes are read as: each message, and the code that the connection is closed with. Compressed messages
/// are taken if `deflate` says so; none may have more than `limit_bytes`.
pub fn read_messages<'b>(
    reads: impl IntoIterator<Item = &'b [u8]>,
    limit_bytes: usize,
    deflate: bool,
) -> (Vec<String>, Option<CloseCode>) {
    let mut reader = MessageReader::new(limit_bytes, deflate);
    let mut seen = Vec::new();
    for bytes in reads {
        let mut messages = Vec::new();
        let result = reader.read(bytes, &mut messages);
        for message in messages {
            let Inbound::Deflated(deflated) = &message else {
                seen.push(format!("{message:?}"));
                continue;
            };
            match deflated.inflate(limit_bytes) {
                Ok(body) => {
                    assert!(body.len() <= limit_bytes, "{} bytes", body.len());
                    seen.push(format!("{:?} {body:?}", deflated.codec()));
                }
                Err(violation) => return (seen, Some(violation.code)),
            }
        }
        if let Err(violation) = result {
            return (seen, Some(violation.code));
        }
    }
    (seen, None)
}

/// Reads a configuration file of this text, with these variables in the environment.
///
/// # Errors
/// All its mistakes.
pub fn read_config(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment = environment.iter();
    let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::layered(Some(text), None, environment, &[])
}

/// What a client's bytes before its first frame are answered with, and whether the connection has become a WebSocket.
///
/// # Panics
/// If the system has no runtime to give.
pub fn handshake<'b>(runtime: &Runtime, reads: impl IntoIterator<Item = &'b [u8]>) -> (Vec<u8>, bool) {
    let (mut client, server) = tokio::io::duplex(2 * MAX_HEADER_BYTES);
    let upgraded = Rc::new(Cell::new(false));
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = match upgrade::upgrade(&mut request, true) {
            Ok((response, _)) => {
                upgraded.set(true);
                response
            }
            Err(refusal) => refusal.response(),
        };
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEADER_BYTES)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(server), service);
    let sent = async {
        let (mut reading, mut writing) = tokio::io::split(&mut client);
        let write = async {
            for bytes in reads {
                // Whoever was answered may not be listened to any more.
                if writing.write_all(bytes).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = writing.shutdown().await;
        };
        let mut answer = Vec::new();
        let (read, ()) = tokio::join!(reading.read_to_end(&mut answer), write);
        drop(read);
        answer
    };
    let served = async { drop(connection.without_shutdown().await) };
    let (answer, ()) = runtime.block_on(async { tokio::join!(sent, served) });
    (answer, upgraded.get())
}
