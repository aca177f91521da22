//! A collector of OTLP over HTTP that keeps what it is sent, decoded by the protocol's own definitions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::Authority;
use crate::authority::ALWAYS;

/// A running collector; ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    scheme: &'static str,
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

/// What a collector was sent.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The newest set of metrics, by name.
    pub metrics: BTreeMap<String, Metric>,
    /// Every span, in the order in which they came.
    pub spans: Vec<Span>,
    /// The resource of whatever came last.
    pub resource: BTreeMap<String, String>,
    /// The head of every request.
    pub requests: Vec<String>,
}

impl Collector {
    /// Listens on a free port of the loopback.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start() -> Self {
        Self::serving(None, None).await
    }

    /// As [`Collector::start`], but what comes to this path is not found.
    ///
    /// # Panics
    /// As [`Collector::start`].
    pub async fn start_without(path: &'static str) -> Self {
        Self::serving(None, Some(path)).await
    }

    /// As [`Collector::start`], over TLS with a certificate of this authority.
    ///
    /// # Panics
    /// As [`Collector::start`].
    pub async fn start_tls(authority: &Authority) -> Self {
        let (certificate, key) = authority.edge_files(ALWAYS);
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that ring can do")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        Self::serving(Some(TlsAcceptor::from(Arc::new(config))), None).await
    }

    async fn serving(tls: Option<TlsAcceptor>, refuses: Option<&'static str>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::<Mutex<Received>>::default();
        let (keeps, scheme) = (received.clone(), if tls.is_some() { "https" } else { "http" });
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                match &tls {
                    None => serve(socket, &keeps, refuses).await,
                    Some(tls) => {
                        if let Ok(socket) = tls.accept(socket).await {
                            serve(socket, &keeps, refuses).await;
                        }
                    }
                }
            }
        });
        Self {
            scheme,
            address,
            received,
            task,
        }
    }

    /// As `telemetry.otlp_endpoint` names it.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What it was sent until now.
    ///
    /// # Panics
    /// If it has panicked: what it was sent is no OTLP.
    pub fn received(&self) -> Received {
        self.received.lock().expect("what came could be read").clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    received: &Mutex<Received>,
    refuses: Option<&str>,
) {
    let mut request = Vec::new();
    let (head, body) = loop {
        if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(request[..end].to_vec()).expect("a head is text");
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse::<usize>()
                .ok()
        });
        let (from, length) = (end + 4, length.expect("a length"));
        if request.len() >= from + length {
            break (head, request[from..from + length].to_vec());
        }
    };
    let status = match head.split(' ').nth(1) == refuses {
        true => "404 Not Found",
        false => "200 OK",
    };
    keep(&mut received.lock().expect("nobody panicked"), head, &body);
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
    let _ = socket.write_all(answer.as_bytes()).await;
}

fn keep(received: &mut Received, head: String, body: &[u8]) {
    let path = head.split(' ').nth(1).expect("a path");
    let resource = match path {
        "/v1/metrics" => {
            let request = ExportMetricsServiceRequest::decode(body).expect("metrics of OTLP");
            let [resource] = &request.resource_metrics[..] else {
                panic!("one edge: {request:?}");
            };
            let metrics = resource.scope_metrics.iter().flat_map(|scope| &scope.metrics);
            received.metrics = metrics
                .map(|metric| (metric.name.clone(), metric.clone()))
                .collect();
            resource.resource.clone()
        }
        "/v1/traces" => {
            let request = ExportTraceServiceRequest::decode(body).expect("spans of OTLP");
            let [resource] = &request.resource_spans[..] else {
                panic!("one edge: {request:?}");
            };
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            received.spans.extend(spans.cloned());
            resource.resource.clone()
        }
        other => panic!("nothing belongs to {other}"),
    };
    received.resource = texts(&resource.expect("a resource").attributes);
    received.requests.push(head);
}

impl Received {
    /// The number of one series of a counter or gauge, by the values of its labels.
    pub fn number(&self, metric: &str, labels: &[&str]) -> Option<i64> {
        let points = match self.metrics.get(metric)?.data.as_ref()? {
            metric::Data::Sum(sum) => &sum.data_points,
            metric::Data::Gauge(gauge) => &gauge.data_points,
            _ => return None,
        };
        let point = points.iter().find(|point| values(&point.attributes) == labels)?;
        match point.value? {
            number_data_point::Value::AsInt(number) => Some(number),
            number_data_point::Value::AsDouble(_) => None,
        }
    }

    /// The spans of this name.
    pub fn spans(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }
}

/// What a span says under this name, as text.
pub fn attribute(span: &Span, name: &str) -> Option<String> {
    texts(&span.attributes).remove(name)
}

fn values(attributes: &[KeyValue]) -> Vec<String> {
    attributes
        .iter()
        .map(|attribute| text(attribute.value.as_ref()))
        .collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let each = attributes.iter();
    each.map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => panic!("a value that nobody writes: {other:?}"),
    }
}
