//! Where measurements and traces are sent: the `[telemetry]` table.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::nats::{readable, secret};
use super::secret::SecretSource;
use super::settings::Section;

/// What is sent by OTLP, and where.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The collector; nothing is sent without one.
    pub endpoint: Option<Endpoint>,
    /// Headers of every request, `NAME=VALUE` with commas between them.
    pub headers: Option<SecretSource>,
    /// Certificates (PEM) to trust, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// The pause between two sets of metrics.
    pub metrics_interval: Duration,
    /// Whether spans are sent.
    pub traces: bool,
    /// Of a million traces that begin in the edge, so many are kept.
    pub sample_per_million: u32,
    /// How long one request may take.
    pub timeout: Duration,
    /// `service.name` of everything that is sent.
    pub service_name: String,
    /// Other attributes of the resource, names and values.
    pub resource_attributes: Vec<(String, String)>,
}

impl TelemetryConfig {
    /// Whether spans are made.
    pub fn makes_spans(&self) -> bool {
        self.traces && self.endpoint.is_some()
    }

    /// What everything that is sent says of this edge, for as long as it runs: another time it is another instance. Without
    /// that the numbers of two edges would be one edge's that jump. What the configuration names is not said twice.
    pub(crate) fn resource(&self) -> Vec<(String, String)> {
        let own = [
            ("service.name", self.service_name.clone()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", random_uuid()),
        ];
        let named = |name: &str| self.resource_attributes.iter().any(|(other, _)| other == name);
        own.into_iter()
            .filter(|(name, _)| !named(name))
            .map(|(name, value)| (name.to_owned(), value))
            .chain(self.resource_attributes.iter().cloned())
            .collect()
    }
}

/// The address of a collector of OTLP over HTTP, such as `http://collector:4318`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a slash at its end.
    text: String,
    pub(crate) tls: bool,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What the `Host` field says.
    pub(crate) authority: String,
    /// What stands before `/v1/metrics` and `/v1/traces`.
    pub(crate) path: String,
}

impl Endpoint {
    /// Reads an address. The error is the rest of a sentence that begins with the key.
    ///
    /// # Errors
    /// The text is no such address; it is not repeated if it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err(
                "holds credentials, which logs would show: use `telemetry.otlp_headers_file`".to_owned(),
            );
        }
        let wrong = |why: &str| {
            Err(format!(
                "is `{text}`, {why}: write `http://HOST:4318` or `https://HOST`"
            ))
        };
        let Ok(uri) = text.parse::<Uri>() else {
            return wrong("which is no address");
        };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return wrong("which begins with neither `http://` nor `https://`"),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return wrong("which has no host");
        };
        if uri.query().is_some() || text.contains('#') {
            return wrong("which has more behind its path");
        }
        let path = uri.path().trim_end_matches('/');
        if path.ends_with("/v1/traces") || path.ends_with("/v1/metrics") {
            return wrong("to which `/v1/metrics` and `/v1/traces` are appended");
        }
        let host = authority.host();
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// Reads `[telemetry]`.
pub(super) fn read(telemetry: &mut Section<'_>) -> TelemetryConfig {
    let headers = secret(telemetry, "otlp_headers");
    if let Some(Ok(given)) = headers.as_ref().map(SecretSource::read)
        && parse_headers(given.reveal()).is_none()
    {
        let key = if telemetry.is_set("otlp_headers") {
            "otlp_headers"
        } else {
            "otlp_headers_file"
        };
        telemetry.refuse(
            key,
            "must be `NAME=VALUE` of HTTP headers, with commas between several",
        );
    }
    let attributes = telemetry.list("resource_attributes", parse_attribute);
    let mut attributes: Vec<_> = attributes.into_iter().map(|(attribute, _)| attribute).collect();
    if telemetry.is_set("service_name") {
        attributes.retain(|(name, _)| name != "service.name");
    }
    TelemetryConfig {
        endpoint: telemetry.parse_optional("otlp_endpoint", Endpoint::parse),
        headers,
        ca_file: readable(telemetry, "otlp_ca_file"),
        metrics: telemetry.boolean("metrics"),
        metrics_interval: telemetry.duration("metrics_interval_secs"),
        traces: telemetry.boolean("traces"),
        sample_per_million: telemetry.small("sample_per_million"),
        timeout: telemetry.duration("timeout_secs"),
        service_name: telemetry.text("service_name").unwrap_or_default(),
        resource_attributes: attributes,
    }
}

/// `NAME=VALUE` with commas between them, as `OTEL_EXPORTER_OTLP_HEADERS` has them: values in percent encoding.
pub(crate) fn parse_headers(text: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let headers = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decoded(value.trim())?;
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        Some((name.trim().parse().ok()?, value))
    });
    headers.collect()
}

fn parse_attribute(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("holds `{text}`: write `NAME=VALUE`");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value = percent_decoded(value.trim()).and_then(|value| String::from_utf8(value).ok());
    match (name.trim(), value) {
        ("", _) | (_, None) => Err(wrong()),
        (name, Some(value)) => Ok((name.to_owned(), value)),
    }
}

/// RFC 9562 section 5.4.
fn random_uuid() -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0x3 << 62;
    let bits = fastrand::u128(..) & !(VERSION | VARIANT) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{bits:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    parts.join("-")
}

/// RFC 3986 section 2.1.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, others) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = others;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_address_without_the_signal() {
        let endpoint = Endpoint::parse("http://collector:4318/").expect("an address");
        assert_eq!(
            (endpoint.host.as_str(), endpoint.port, endpoint.tls),
            ("collector", 4318, false)
        );
        assert_eq!(
            (endpoint.path.as_str(), endpoint.to_string()),
            ("", "http://collector:4318".to_owned())
        );
        let endpoint = Endpoint::parse("https://[::1]/otlp").expect("an address");
        assert_eq!(
            (endpoint.host.as_str(), endpoint.port, endpoint.path.as_str()),
            ("::1", 443, "/otlp")
        );
        for wrong in [
            "collector:4318",
            "grpc://collector:4317",
            "http://collector:4318/v1/traces",
            "http://collector:4318?x=y",
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
        let error = Endpoint::parse("https://user:hunter2@collector").expect_err("credentials");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn headers_are_pairs_in_percent_encoding() {
        let headers = parse_headers("authorization=Bearer%20abc, x-scope = a=b").expect("headers");
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(
            headers,
            [("authorization", &b"Bearer abc"[..]), ("x-scope", b"a=b")]
        );
        for wrong in ["authorization", "a b=c", "a=%zz", "a=%0a"] {
            assert!(parse_headers(wrong).is_none(), "{wrong}");
        }
    }
}
