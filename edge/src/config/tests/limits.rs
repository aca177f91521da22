//! Proxies, origins and limits.

use super::*;

#[test]
fn without_settings_no_proxy_is_trusted_and_pages_of_the_same_host_may_connect() {
    let config = load(NEWS);
    assert!(config.proxy.trusted.is_empty());
    assert_eq!(config.proxy.header, ForwardedHeader::XForwardedFor);
    assert_eq!(format!("{:?}", config.origin.allow), "[SameHost]");
    assert_eq!(config.limits.connections_per_address, 1000);
    assert_eq!(config.limits.handshakes_per_sec, 0);
    assert_eq!(config.limits.burst.as_secs(), 5);
    assert_eq!(config.outbox.max_total_bytes, 0);
}

#[test]
fn proxies_and_origins_are_lists() {
    let text = "proxy.trusted = [\"10.0.0.0/8\", \"2001:db8::1\"]\nproxy.protocol = true\nproxy.header = \"forwarded\"\n\
                origin.allow = [\"same-host\", \"https://*.example.com\"]\n";
    let config = load(&format!("{text}{NEWS}"));
    let trusted: Vec<_> = config.proxy.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["10.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!(config.proxy.header, ForwardedHeader::Forwarded);
    assert!(config.proxy.protocol);
    assert_eq!(config.origin.allow.len(), 2);
}

#[test]
fn mistakes_in_them_are_told_with_what_to_write() {
    let cases = [
        (
            "proxy.trusted = [\"10.0.0.0/8\", \"10.0.0.0/33\"]",
            "1:32: `proxy.trusted` holds `10.0.0.0/33`: write addresses or networks, such as `10.0.0.0/8`, `192.0.2.7` or `2001:db8::/48`",
        ),
        (
            "proxy.protocol = true",
            "1:18: `proxy.protocol` needs `proxy.trusted` beside it: the PROXY protocol is believed from these addresses alone",
        ),
        (
            "origin.allow = \"example.com\"",
            "1:16: `origin.allow` holds `example.com`: write `same-host`, `loopback`, `null`, `*` for all, or an origin such as `https://example.com`, `https://*.example.com` or `http://localhost:*`, without a path",
        ),
    ];
    for (line, expected) in cases {
        one_mistake(&format!("{line}\n{NEWS}"), &format!("tailwater.toml:{expected}"));
    }
}
