//! Who a client is that comes through proxies: the proxy nearest to us that is trusted says who came to it, and so on;
//! the last one that is named by somebody trusted is the client. What strangers say is not looked at: the leftmost
//! addresses of these headers are the client's own invention.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::config::{ForwardedHeader, ProxyConfig};
use crate::upgrade::extensions::{split, unquoted};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies in front of the edge.
#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
    protocol: bool,
}

impl Proxies {
    pub(crate) fn new(config: &ProxyConfig) -> Self {
        Self {
            trusted: config.trusted.clone(),
            header: config.header,
            protocol: config.protocol,
        }
    }

    /// Whether the peer may say who a client is.
    pub(crate) fn trust(&self, peer: SocketAddr) -> bool {
        self.trust_address(peer.ip())
    }

    /// Whether the peer begins its connections with a PROXY header.
    pub(crate) fn announces(&self, peer: SocketAddr) -> bool {
        self.protocol && self.trust(peer)
    }

    fn trust_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// The client behind `peer`, which is trusted, by the headers of its request; `peer` itself if it names none, or if
    /// what counts cannot be read. A client without a known port has port 0.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        let name = match self.header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        let mut client = peer;
        for value in headers.get_all(&name).iter().rev() {
            // Of any bytes: those of the client must not make what the proxy wrote behind them unreadable.
            let value = String::from_utf8_lossy(value.as_bytes());
            for hop in self.hops(&value).into_iter().filter(|hop| !hop.is_empty()) {
                let Some(named) = self.address_of(hop) else {
                    tracing::debug!(remote_addr = %peer, header = %name, hop, "the header of a proxy names no address: its own counts");
                    return peer;
                };
                client = named;
                if !self.trust_address(named.ip()) {
                    return client;
                }
            }
        }
        client
    }

    /// What each proxy has added to the header, the nearest one first.
    fn hops<'v>(&self, value: &'v str) -> Vec<&'v str> {
        match self.header {
            ForwardedHeader::XForwardedFor => value.rsplit(',').map(str::trim).collect(),
            ForwardedHeader::Forwarded => elements(value),
        }
    }

    fn address_of(&self, hop: &str) -> Option<SocketAddr> {
        match self.header {
            ForwardedHeader::XForwardedFor => address(hop),
            ForwardedHeader::Forwarded => forwarded_for(hop),
        }
    }
}

/// The elements of `Forwarded` from the last to the first; a comma in quotes separates none. They are read from the right,
/// where the proxies write: a quote that the client has left open must not take in what was written behind it.
fn elements(value: &str) -> Vec<&str> {
    let is_escaped = |at: usize| {
        let before = value.as_bytes()[..at].iter().rev();
        before.take_while(|byte| **byte == b'\\').count() % 2 == 1
    };
    let (mut end, mut is_quoted) = (value.len(), false);
    let mut elements = Vec::new();
    for (at, byte) in value.bytes().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(at) => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                elements.push(value[at + 1..end].trim());
                end = at;
            }
            _ => {}
        }
    }
    elements.push(value[..end].trim());
    elements
}

/// The address of `for=` in an element of `Forwarded` (RFC 7239 section 4). One that is hidden is none.
fn forwarded_for(element: &str) -> Option<SocketAddr> {
    let mut pairs = split(element, ';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(unquoted(value.trim()))
}

/// `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]`, each of them with a port or without.
fn address(text: &str) -> Option<SocketAddr> {
    let parsed = text.parse::<SocketAddr>().ok().or_else(|| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = bare.map_or_else(
            || text.parse::<IpAddr>().ok(),
            |text| Some(IpAddr::V6(text.parse().ok()?)),
        )?;
        Some(SocketAddr::new(address, 0))
    })?;
    Some(SocketAddr::new(parsed.ip().to_canonical(), parsed.port()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn client(header: ForwardedHeader, values: &[&str]) -> String {
        let values: Vec<_> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        client_of_bytes(header, &values)
    }

    fn client_of_bytes(header: ForwardedHeader, values: &[Vec<u8>]) -> String {
        let proxies = Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:ff::/48".parse().unwrap()],
            header,
            protocol: false,
        };
        let mut headers = HeaderMap::new();
        let name = match header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => FORWARDED,
        };
        for value in values {
            headers.append(&name, HeaderValue::from_bytes(value).unwrap());
        }
        let peer = "10.1.2.3:4567".parse().unwrap();
        assert!(proxies.trust(peer));
        proxies.client(peer, &headers).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        let cases: [(&[&str], &str); 9] = [
            (&["192.0.2.1"], "192.0.2.1:0"),
            // What the client sent itself stands on the left.
            (&["198.51.100.9, 192.0.2.1, 10.9.9.9"], "192.0.2.1:0"),
            (&["198.51.100.9", "192.0.2.1:99,10.9.9.9"], "192.0.2.1:99"),
            (&["nonsense, 192.0.2.1"], "192.0.2.1:0"),
            (&["2001:db8::1, 2001:db8:ff::2"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]:80"], "[2001:db8::1]:80"),
            (&["::ffff:192.0.2.1"], "192.0.2.1:0"),
            // Nobody else is named.
            (&["10.0.0.1, 10.0.0.2"], "10.0.0.1:0"),
            (&[], "10.1.2.3:4567"),
        ];
        for (values, expected) in cases {
            assert_eq!(
                client(ForwardedHeader::XForwardedFor, values),
                expected,
                "{values:?}"
            );
        }
    }

    #[test]
    fn the_header_of_rfc_7239_is_read_with_its_quotes_and_parameters() {
        let cases: [(&[&str], &str); 6] = [
            (&["for=192.0.2.1;proto=https;by=203.0.113.43"], "192.0.2.1:0"),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "[2001:db8:cafe::17]:4711"),
            (
                &[
                    "for=198.51.100.9, for=\"192.0.2.1:8\";host=\"a,b;c\"",
                    "for=10.0.0.2",
                ],
                "192.0.2.1:8",
            ),
            (&["for=unknown"], "10.1.2.3:4567"),
            (&["for=_hidden, for=10.0.0.2"], "10.1.2.3:4567"),
            (&["proto=https"], "10.1.2.3:4567"),
        ];
        for (values, expected) in cases {
            assert_eq!(client(ForwardedHeader::Forwarded, values), expected, "{values:?}");
        }
    }

    #[test]
    fn nothing_that_the_client_sends_hides_or_changes_what_the_proxy_writes_behind_it() {
        let sent: [&[u8]; 7] = [
            b"\"",
            b"198.51.100.9, \"",
            b"for=198.51.100.9;x=\"",
            b"for=198.51.100.9;x=\"a\\",
            b"for=\"198.51.100.9\";x=\"\\\"",
            b"\xff",
            b"for=198.51.100.9;x=\"\xc3",
        ];
        for sent in sent {
            for (header, written) in [
                (ForwardedHeader::XForwardedFor, &b"192.0.2.1"[..]),
                (ForwardedHeader::Forwarded, b"for=192.0.2.1"),
                (ForwardedHeader::Forwarded, b"for=\"192.0.2.1:80\";proto=https"),
                (
                    ForwardedHeader::Forwarded,
                    b"host=\"a\\\",for=10.0.0.1;b=\\\"\";for=192.0.2.1",
                ),
            ] {
                // The proxy adds to the line that is there, or adds a line.
                for lines in [
                    vec![[sent, b", ", written].concat()],
                    vec![sent.to_vec(), written.to_vec()],
                ] {
                    let client = client_of_bytes(header, &lines);
                    assert!(
                        client.starts_with("192.0.2.1:"),
                        "{}: {client}",
                        sent.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn what_counts_and_cannot_be_read_leaves_the_proxys_own_address() {
        for value in [
            "nonsense",
            "192.0.2.1, nonsense, 10.0.0.2",
            "192.0.2.1:99999",
            "[192.0.2.1]",
        ] {
            assert_eq!(
                client(ForwardedHeader::XForwardedFor, &[value]),
                "10.1.2.3:4567",
                "{value}"
            );
        }
    }
}
