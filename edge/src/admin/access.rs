//! Who may use the admin listener beyond `/livez` and `/readyz`: who shows the token; without a token in the
//! configuration, everybody on the loopback.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::config::{AdminConfig, SecretSource};
use crate::http::{Reply, plain};

/// Who may.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Who shows this token.
    Token(SecretSource),
    /// Everybody: only this machine can connect.
    Loopback,
    /// Nobody.
    Nobody,
}

impl Access {
    /// What the configuration says, for a listener at `address`. Warns where nobody may.
    pub(crate) fn new(config: &AdminConfig, address: SocketAddr) -> Self {
        match &config.token {
            Some(token) => Self::Token(token.clone()),
            None if address.ip().is_loopback() => Self::Loopback,
            None => {
                tracing::warn!(
                    %address,
                    "the admin listener is open to others and has no token: it serves `/livez` and `/readyz` only; \
                     set `admin.token_file`, or listen on the loopback"
                );
                Self::Nobody
            }
        }
    }

    /// Lets a request with these headers in.
    ///
    /// # Errors
    /// The answer to one that may not.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Box<Reply>> {
        match self {
            Self::Token(source) => {
                let shown = headers.get(AUTHORIZATION).and_then(bearer);
                // Read each time, so that a file may be rotated.
                let token = source.read().map_err(|error| {
                    tracing::error!(%error, "the file of `admin.token_file` cannot be read");
                    Box::new(plain(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the token cannot be checked",
                    ))
                })?;
                if shown.is_some_and(|shown| is_same(shown, token.reveal().as_bytes())) {
                    return Ok(());
                }
                let mut refusal = plain(
                    StatusCode::UNAUTHORIZED,
                    "show the token of `admin.token`: `Authorization: Bearer …`",
                );
                let challenge = HeaderValue::from_static("Bearer");
                refusal.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                Err(Box::new(refusal))
            }
            // A page in the operator's browser reaches the loopback too, by a name of its own.
            Self::Loopback if !headers.get(HOST).is_some_and(is_this_machine) => {
                let line = "ask by the address of the loopback, or `localhost`, or set `admin.token`";
                Err(Box::new(plain(StatusCode::FORBIDDEN, line)))
            }
            Self::Loopback => Ok(()),
            Self::Nobody => {
                let line = "set `admin.token` or `admin.token_file`: without it there is `/livez` and `/readyz` here";
                Err(Box::new(plain(StatusCode::FORBIDDEN, line)))
            }
        }
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// Compares in a time that says nothing about where two texts of one length differ.
fn is_same(shown: &[u8], expected: &[u8]) -> bool {
    let differences = shown
        .iter()
        .zip(expected)
        .fold(0, |all, (one, other)| black_box(all | (one ^ other)));
    shown.len() == expected.len() && differences == 0
}

/// Whether `Host` names the loopback, with or without a port.
fn is_this_machine(host: &HeaderValue) -> bool {
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn status(access: &Access, headers: &[(hyper::header::HeaderName, &str)]) -> u16 {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().expect("a value")));
        match access.check(&headers.collect()) {
            Ok(()) => 200,
            Err(refusal) => refusal.status().as_u16(),
        }
    }

    #[test]
    fn only_who_shows_the_token_gets_in() {
        let access = Access::Token(SecretSource::Given(Secret::new("0123456789abcdef")));
        for (value, expected) in [
            ("Bearer 0123456789abcdef", 200),
            ("bearer  0123456789abcdef", 200),
            ("Bearer 0123456789abcdeF", 401),
            ("Bearer 0123456789abcde", 401),
            ("Bearer 0123456789abcdef0", 401),
            ("Bearer ", 401),
            ("Bearer", 401),
            ("Basic 0123456789abcdef", 401),
        ] {
            assert_eq!(status(&access, &[(AUTHORIZATION, value)]), expected, "{value}");
        }
        assert_eq!(status(&access, &[]), 401);
        assert_eq!(status(&access, &[(HOST, "127.0.0.1:8081")]), 401);
    }

    #[test]
    fn a_name_that_is_not_the_loopbacks_is_refused_there() {
        for (host, expected) in [
            ("127.0.0.1:8081", 200),
            ("localhost", 200),
            ("[::1]:8081", 200),
            ("evil.example:8081", 403),
            ("127.0.0.1.evil.example", 403),
            ("192.0.2.1", 403),
            ("", 403),
        ] {
            assert_eq!(status(&Access::Loopback, &[(HOST, host)]), expected, "{host}");
        }
        assert_eq!(status(&Access::Loopback, &[]), 403);
    }

    #[test]
    fn without_a_token_an_address_that_others_reach_is_open_to_nobody() {
        let config = |token| AdminConfig {
            listen: ([127, 0, 0, 1], 1).into(),
            token,
            open_metrics: false,
        };
        let public = ([0, 0, 0, 0], 1).into();
        assert!(matches!(Access::new(&config(None), public), Access::Nobody));
        assert_eq!(status(&Access::Nobody, &[(HOST, "localhost")]), 403);
        let token = Some(SecretSource::Given(Secret::new("0123456789abcdef")));
        assert!(matches!(Access::new(&config(token), public), Access::Token(_)));
    }
}
