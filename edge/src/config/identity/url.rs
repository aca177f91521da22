//! An address that keys are fetched from.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;

/// An `https://` address; on this machine `http://` too. `Display` writes it as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUrl {
    text: String,
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl KeyUrl {
    /// Reads an address. The error is the rest of a sentence that begins with the key.
    ///
    /// # Errors
    /// The text is no such address, would carry keys over a network without TLS, or holds credentials; then it is not
    /// repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err(
                "holds credentials inside an address, where logs would show them: remove them".to_owned(),
            );
        }
        let wrong = |why: &str| Err(format!("is `{text}`, {why}: write `https://HOST/PATH`"));
        if text.contains('#') {
            return wrong("which has a fragment");
        }
        let Ok(uri) = text.parse::<Uri>() else {
            return wrong("which is no address");
        };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return wrong("whose scheme is not known here"),
            None => return wrong("which has no scheme"),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return wrong("which has no host");
        }
        let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !tls && !is_here {
            return wrong("and without TLS anybody on the way could put in keys of their own");
        }
        let port = match uri.port() {
            Some(port) if port.as_u16() == 0 => return wrong("which has no valid port"),
            Some(port) => port.as_u16(),
            None => default_port(tls),
        };
        Ok(Self {
            text: text.to_owned(),
            tls,
            host,
            port,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// The address of an issuer's discovery document (OpenID Connect Discovery 1.0 section 4).
    pub(crate) fn discovery(&self) -> Self {
        const SUFFIX: &str = "/.well-known/openid-configuration";
        let append = |text: &str| format!("{}{SUFFIX}", text.trim_end_matches('/'));
        Self {
            text: append(&self.text),
            path: append(&self.path),
            ..self.clone()
        }
    }

    /// As it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether TLS is spoken.
    pub(crate) fn tls(&self) -> bool {
        self.tls
    }

    /// Host name or IP address, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the `Host` field says: the host, and a port that is not the scheme's own.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == default_port(self.tls) {
            return host;
        }
        format!("{host}:{}", self.port)
    }

    /// Path and query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl fmt::Display for KeyUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}
