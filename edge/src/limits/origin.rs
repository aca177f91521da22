//! Which web pages may connect (RFC 6454): browsers name the origin of the page in the header `Origin`, which no script
//! can change. Nobody else sends one, so without it a client is let in.
//!
//! Without this check every page that a user visits could open a connection with the user's cookies, or reach an edge
//! inside the user's network.

use std::net::Ipv4Addr;
use std::str::FromStr;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;

/// Origins that are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginPattern {
    /// Every one.
    Any,
    /// The host that the request itself is for, with any scheme and port: a page of the site that the edge belongs to. A
    /// proxy may have taken both away.
    SameHost,
    /// Pages of the client's own machine.
    Loopback,
    /// The opaque origin: sandboxed frames and files.
    Null,
    /// A scheme, a host, and a port.
    Exact {
        scheme: String,
        host: HostPattern,
        port: PortPattern,
    },
}

/// The host of an [`OriginPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Exact(String),
    /// Every name that ends with this, which begins with a dot.
    Below(String),
}

/// The port of an [`OriginPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortPattern {
    Any,
    /// Nothing: that of a scheme that has none.
    Exact(Option<u16>),
}

impl OriginPattern {
    /// Reads a setting.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the key.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "*" => return Ok(Self::Any),
            "same-host" => return Ok(Self::SameHost),
            "loopback" => return Ok(Self::Loopback),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let parsed = text.split_once("://").and_then(|(scheme, rest)| {
            let (rest, port) = match rest.strip_suffix(":*") {
                Some(rest) => (rest, Some(PortPattern::Any)),
                None => (rest, None),
            };
            let below = rest.strip_prefix("*.");
            let origin = Origin::parse(&format!("{scheme}://{}", below.unwrap_or(rest)))?;
            let host = match below {
                Some(_) => HostPattern::Below(format!(".{}", origin.host)),
                None => HostPattern::Exact(origin.host),
            };
            (!matches!(&host, HostPattern::Exact(host) | HostPattern::Below(host) if host.contains('*')))
                .then_some(Self::Exact {
                    scheme: origin.scheme,
                    host,
                    port: port.unwrap_or(PortPattern::Exact(origin.port)),
                })
        });
        parsed.ok_or_else(|| {
            format!(
                "holds `{text}`: write `same-host`, `loopback`, `null`, `*` for all, or an origin such as \
                 `https://example.com`, `https://*.example.com` or `http://localhost:*`, without a path"
            )
        })
    }

    fn matches(&self, origin: &Origin, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::Null => false,
            Self::SameHost => host_of(headers).is_some_and(|host| host == origin.host),
            Self::Loopback => origin.is_loopback(),
            Self::Exact { scheme, host, port } => {
                let is_host = match host {
                    HostPattern::Exact(host) => *host == origin.host,
                    HostPattern::Below(suffix) => {
                        origin.host.len() > suffix.len() && origin.host.ends_with(suffix.as_str())
                    }
                };
                let is_port = match port {
                    PortPattern::Any => true,
                    PortPattern::Exact(port) => *port == origin.port,
                };
                *scheme == origin.scheme && is_host && is_port
            }
        }
    }
}

/// An origin as a browser writes it (RFC 6454 section 6.2), in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    /// The scheme's own if none is written; nothing if it has none.
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let (host, port) = host_and_port(authority)?;
        let scheme = scheme.to_ascii_lowercase();
        let own_port = match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        is_scheme.then_some(Self {
            scheme,
            host,
            port: port.or(own_port),
        })
    }

    fn is_loopback(&self) -> bool {
        let host = self.host.as_str();
        host == "localhost"
            || host.ends_with(".localhost")
            || host == "[::1]"
            || host
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

/// The host, in lower case, and the port of `example.com:80`.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let authority = Authority::from_str(text).ok()?;
    let host = authority.host();
    // A port that is too large is none for `Authority`, and a user before the host would be no part of it.
    let port = match text.strip_prefix(host)? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok()?),
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

fn host_of(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    host_and_port(host).map(|(host, _)| host)
}

/// The origins that are let in.
#[derive(Debug)]
pub(crate) struct Origins(Vec<OriginPattern>);

impl Origins {
    pub(crate) fn new(allowed: Vec<OriginPattern>) -> Self {
        Self(allowed)
    }

    /// Whether a request may come from where it says it does.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return true };
        if self.0.contains(&OriginPattern::Any) {
            return true;
        }
        if origins.next().is_some() {
            return false;
        }
        if origin == HeaderValue::from_static("null") {
            return self.0.contains(&OriginPattern::Null);
        }
        let origin = origin.to_str().ok().and_then(Origin::parse);
        origin.is_some_and(|origin| self.0.iter().any(|pattern| pattern.matches(&origin, headers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &[&str], origin: &str) -> bool {
        let patterns = patterns.iter().map(|text| OriginPattern::parse(text).unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("Edge.example.com:8443"));
        headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        Origins::new(patterns.collect()).allow(&headers)
    }

    #[test]
    fn each_pattern_lets_in_what_it_says_and_nothing_beside_it() {
        let cases: [(&str, &[&str], &[&str]); 8] = [
            (
                "same-host",
                &["https://edge.example.com", "http://edge.example.com:3000"],
                &["https://example.com", "https://edge.example.com.evil.org", "null"],
            ),
            (
                "loopback",
                &[
                    "http://localhost:5173",
                    "http://127.0.0.1",
                    "http://app.localhost",
                    "https://[::1]:1",
                ],
                &[
                    "http://localhost.evil.org",
                    "http://128.0.0.1",
                    "http://127.0.0.1.evil.org",
                ],
            ),
            (
                "https://*.example.com",
                &[
                    "https://a.example.com",
                    "https://a.b.example.com:443",
                    "https://A.EXAMPLE.com",
                ],
                &[
                    "https://example.com",
                    "http://a.example.com",
                    "https://a.example.com:8443",
                    "https://evilexample.com",
                    "https://a.example.com.evil.org",
                    "https://.example.com",
                ],
            ),
            (
                "https://example.com",
                &["https://example.com", "https://example.com:443"],
                &[
                    "https://a.example.com",
                    "https://user@example.com",
                    "https://example.com/",
                    "example.com",
                ],
            ),
            (
                "http://localhost:*",
                &["http://localhost", "http://localhost:1"],
                &["https://localhost"],
            ),
            (
                "capacitor://localhost",
                &["capacitor://localhost"],
                &["capacitor://localhost:80"],
            ),
            ("null", &["null"], &["https://null"]),
            ("*", &["null", "https://anything.org", "nonsense"], &[]),
        ];
        for (pattern, inside, outside) in cases {
            for origin in inside {
                assert!(allows(&[pattern], origin), "{pattern} lets {origin} in");
            }
            for origin in outside {
                assert!(!allows(&[pattern], origin), "{pattern} keeps {origin} out");
            }
        }
        assert!(allows(&["https://a.org", "https://b.org"], "https://b.org"));
    }

    #[test]
    fn who_is_no_browser_is_let_in_and_who_names_two_origins_is_not() {
        let origins = Origins::new(vec![OriginPattern::SameHost]);
        let mut headers = HeaderMap::new();
        assert!(origins.allow(&headers));
        headers.insert(HOST, HeaderValue::from_static("edge"));
        headers.insert(ORIGIN, HeaderValue::from_static("http://edge"));
        assert!(origins.allow(&headers));
        headers.append(ORIGIN, HeaderValue::from_static("http://edge"));
        assert!(!origins.allow(&headers));
        let unnamed = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://edge"))]);
        assert!(
            !origins.allow(&unnamed),
            "there is no host that it could be the same as"
        );
    }

    #[test]
    fn what_is_no_origin_is_refused_with_what_to_write() {
        for wrong in [
            "",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/path",
            "https://a.*.com",
            "https://*",
            "https://*.",
            "https://example.com:99999",
            "https://example.com:",
            "https://me@example.com",
            "http s://example.com",
        ] {
            let error = OriginPattern::parse(wrong).expect_err(wrong);
            assert!(error.starts_with(&format!("holds `{wrong}`: write ")), "{error}");
        }
    }
}
