//! One request to a collector of OTLP over HTTP: metrics and spans go the same way, each to a place of its own. The HTTP
//! and the TLS are those of the rest of the edge.
//!
//! A request has a connection of its own: there is one every few seconds at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::client::Trust;
use crate::config::{Endpoint, SecretSource, TelemetryConfig, parse_headers};

/// What is read of an answer; there is little in it.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where the collector that the configuration names takes one kind of what is measured. It may take spans and no metrics, or
/// the other way round.
#[derive(Debug)]
pub(crate) struct Collector {
    endpoint: Endpoint,
    /// What stands behind the endpoint, such as `/v1/metrics`.
    path: &'static str,
    headers: Option<SecretSource>,
    trust: Trust,
    timeout: Duration,
    /// The runtime that requests run on, whoever asks.
    runtime: Handle,
    /// The last request failed, and the log has said so.
    fails: AtomicBool,
}

impl Collector {
    /// The collector of this configuration, if it names one, for what is sent to this path. Must be called in a tokio runtime.
    pub(crate) fn new(config: &TelemetryConfig, path: &'static str) -> Option<Self> {
        Some(Self {
            endpoint: config.endpoint.clone()?,
            path,
            headers: config.headers.clone(),
            trust: config.ca_file.clone().map_or(Trust::System, Trust::File),
            timeout: config.timeout,
            runtime: Handle::current(),
            fails: AtomicBool::new(false),
        })
    }

    /// Where requests go.
    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.endpoint, self.path)
    }

    /// Sends `body` and gives the answer, whatever it says. The log hears when requests begin to fail, and when they are taken
    /// again.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn post(&self, body: Bytes) -> Result<Response<Bytes>, HttpError> {
        let answer = match timeout(self.timeout, self.exchange(body)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.timeout).into()),
        };
        let failure = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("the answer is {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let failed = self.fails.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !failed => {
                tracing::warn!(endpoint = %self.endpoint, path = self.path, error, "the collector does not take what is measured; this is said once");
            }
            None if failed => {
                tracing::info!(endpoint = %self.endpoint, path = self.path, "the collector takes what is measured again");
            }
            _ => {}
        }
        answer
    }

    async fn exchange(&self, body: Bytes) -> Result<Response<Bytes>, HttpError> {
        let endpoint = &self.endpoint;
        let mut request = Request::post(format!("{}{}", endpoint.path, self.path))
            .header(HOST, &endpoint.authority)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("tailwater/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))?;
        if let Some(headers) = &self.headers {
            // Read each time, so that a file may be rotated.
            let headers = parse_headers(headers.read()?.reveal());
            let headers = headers.ok_or("the headers of `telemetry.otlp_headers_file` are none any more")?;
            request.headers_mut().extend(headers);
        }
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
        if !endpoint.tls {
            return send(tcp, request).await;
        }
        let trust = self.trust.clone();
        // The system's authorities are hundreds of files.
        let config = tokio::task::spawn_blocking(move || trust.config()).await??;
        let name = ServerName::try_from(endpoint.host.clone())?;
        send(TlsConnector::from(config).connect(name, tcp).await?, request).await
    }
}

/// A collector as the exporter of spans holds it, which asks from a thread of its own without a runtime.
#[derive(Clone, Debug)]
pub(super) struct Handed(pub(super) Arc<Collector>);

#[async_trait]
impl HttpClient for Handed {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (collector, body) = (self.0.clone(), request.into_body());
        let sent = self.0.runtime.spawn(async move { collector.post(body).await });
        sent.await?
    }
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
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
