//! Who a client is behind proxies, which web pages may connect, and how much one client may ask for: the `[proxy]`,
//! `[origin]` and `[limits]` tables.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::settings::Section;
use crate::limits::origin::OriginPattern;

/// The proxies in front of the edge.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Their addresses; only they may say who a client is.
    pub trusted: Vec<IpNet>,
    /// The header in which they do.
    pub header: ForwardedHeader,
    /// They begin each connection with a header of the PROXY protocol, version 2.
    pub protocol: bool,
}

/// The header in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Which web pages may connect.
#[derive(Clone, Debug)]
pub struct OriginConfig {
    pub(crate) allow: Vec<OriginPattern>,
}

/// How much one client may ask for; 0 is no limit.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Connections of one IPv4 address or IPv6 /64.
    pub connections_per_address: u32,
    /// Sessions of one user.
    pub connections_per_user: u32,
    /// Connections that one address may make a second.
    pub handshakes_per_address_per_sec: u64,
    /// Connections that all clients together may make a second.
    pub handshakes_per_sec: u64,
    /// Commands of one session a second.
    pub commands_per_sec: u64,
    /// Bytes of one session a second.
    pub bytes_per_sec: u64,
    /// What these rates bring in so much time may be taken at once.
    pub burst: Duration,
    /// A session that goes on asking for more than it may is closed after so much time.
    pub grace: Duration,
}

pub(super) fn read_proxy(proxy: &mut Section<'_>) -> ProxyConfig {
    let trusted = proxy.list("trusted", parse_network);
    let trusted: Vec<_> = trusted.into_iter().map(|(network, _)| network).collect();
    let protocol = proxy.boolean("protocol");
    if protocol && !proxy.is_set("trusted") {
        proxy.refuse(
            "protocol",
            "needs `proxy.trusted` beside it: the PROXY protocol is believed from these addresses alone",
        );
    }
    ProxyConfig {
        trusted,
        header: match proxy.text("header").as_deref() {
            Some("forwarded") => ForwardedHeader::Forwarded,
            _ => ForwardedHeader::XForwardedFor,
        },
        protocol,
    }
}

pub(super) fn read_origin(origin: &mut Section<'_>) -> OriginConfig {
    let allow = origin.list("allow", OriginPattern::parse);
    OriginConfig {
        allow: allow.into_iter().map(|(pattern, _)| pattern).collect(),
    }
}

pub(super) fn read_limits(limits: &Section<'_>) -> LimitsConfig {
    LimitsConfig {
        connections_per_address: limits.small("connections_per_address"),
        connections_per_user: limits.small("connections_per_user"),
        handshakes_per_address_per_sec: limits.integer("handshakes_per_address_per_sec"),
        handshakes_per_sec: limits.integer("handshakes_per_sec"),
        commands_per_sec: limits.integer("commands_per_sec"),
        bytes_per_sec: limits.integer("bytes_per_sec"),
        burst: limits.duration("burst_secs"),
        grace: limits.duration("grace_secs"),
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).map_err(|_| {
        format!("holds `{text}`: write addresses or networks, such as `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/48`")
    })
}
