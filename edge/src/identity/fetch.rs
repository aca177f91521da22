//! One small document by HTTP: no redirects, a bounded answer, and a certificate that must be right. Its deadline is the
//! caller's.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::source::LoadError;
use crate::client::Trust;
use crate::config::KeyUrl;

/// Longest document, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// What the headers of an answer may take.
const HEADER_BYTES: usize = 64 << 10;

/// Fetches what is at `url`. A redirect is an error: it could lead to where no TLS is, and an address that has moved is
/// better corrected than followed every time.
pub(super) async fn get(url: &KeyUrl, trust: &Trust) -> Result<Bytes, LoadError> {
    let failed = |error: &dyn std::fmt::Display| LoadError::new(format!("{url} cannot be fetched: {error}"));
    let tcp = TcpStream::connect((url.host(), url.port()))
        .await
        .map_err(|error| failed(&error))?;
    if !url.tls() {
        return exchange(url, tcp).await;
    }
    let trust = trust.clone();
    // The system's authorities are hundreds of files.
    let config = tokio::task::spawn_blocking(move || trust.config())
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| failed(&error))?;
    let tls = TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(|error| failed(&error))?;
    exchange(url, tls).await
}

async fn exchange<S>(url: &KeyUrl, stream: S) -> Result<Bytes, LoadError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: &dyn std::fmt::Display| LoadError::new(format!("{url} cannot be fetched: {error}"));
    let request = Request::get(url.path())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("tailwater/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        if response.status() != StatusCode::OK {
            let hint = if response.status().is_redirection() {
                ", a redirect, which is not followed: configure the address it leads to"
            } else {
                ""
            };
            return Err(failed(&format!("the answer is {}{hint}", response.status())));
        }
        match Limited::new(response.into_body(), MAX_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(failed(&format!("the answer has more than {MAX_BYTES} bytes")))
            }
            Err(error) => Err(failed(&error)),
        }
    };
    let connection = async {
        // How it ended is told by the answer, which may still be on its way from the connection's buffer.
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = connection => unreachable!("it waits for ever"),
    }
}
