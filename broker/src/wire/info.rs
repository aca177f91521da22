//! What a server says about itself (`INFO`), what we answer (`CONNECT`), and what it complains of
//! (`-ERR`): values, no I/O.

use serde::{Deserialize, Serialize};

use super::parser::ProtocolError;

/// What a server says about itself, as far as it matters here. Sent at the start, and again whenever
/// the cluster changes or the server is about to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// Names the server process.
    pub server_id: String,
    /// The name from its configuration.
    pub server_name: String,
    /// Its version, `2.15.1`.
    pub version: String,
    /// The cluster that it belongs to; empty if to none.
    pub cluster: String,
    /// The largest message that it takes, headers and payload, in bytes.
    pub max_payload: u64,
    /// Whether it passes headers on.
    pub headers: bool,
    /// What an nkey has to sign.
    pub nonce: Option<String>,
    /// Whether it refuses a connection without TLS.
    pub tls_required: bool,
    /// Whether it speaks TLS.
    pub tls_available: bool,
    /// `host:port` of the servers of the cluster that take clients.
    pub connect_urls: Vec<String>,
    /// Whether it is about to leave: lame duck mode.
    #[serde(rename = "ldm")]
    pub lame_duck: bool,
}

impl ServerInfo {
    /// Reads the JSON behind `INFO`.
    ///
    /// # Errors
    /// [`ProtocolError::Info`] if it is none.
    pub fn read(json: &[u8]) -> Result<Self, ProtocolError> {
        serde_json::from_slice(json).map_err(|error| ProtocolError::Info(error.to_string()))
    }
}

/// What we say about ourselves. Holds secrets, so it is neither printed nor kept.
#[derive(Serialize)]
pub(super) struct Connect<'a> {
    pub(super) name: &'a str,
    pub(super) tls_required: bool,
    #[serde(flatten)]
    pub(super) proof: Proof,
    #[serde(flatten)]
    pub(super) fixed: Fixed,
}

/// Who we are and why that may be believed. Which fields are filled depends on the credentials.
#[derive(Default, Serialize)]
pub(super) struct Proof {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(rename = "pass", skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    #[serde(rename = "auth_token", skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jwt: Option<String>,
    #[serde(rename = "sig", skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
}

/// The part of CONNECT that is always the same.
#[derive(Serialize)]
pub(super) struct Fixed {
    verbose: bool,
    pedantic: bool,
    echo: bool,
    headers: bool,
    no_responders: bool,
    /// 1: we understand an INFO at any time.
    protocol: u8,
    lang: &'static str,
    version: &'static str,
}

impl Default for Fixed {
    fn default() -> Self {
        Self {
            verbose: false,
            pedantic: false,
            echo: true,
            headers: true,
            no_responders: true,
            protocol: 1,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// What a server complains of, sorted by who has to hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// We may not subscribe to this subject.
    Subscription(String),
    /// We may no longer have the subscription of this number.
    Revoked(u64),
    /// We may not publish to this subject.
    Publish(String),
    /// Too many subscriptions; it does not say which was one too many.
    TooManySubscriptions,
    /// Anything else; most of it is followed by the end of the connection.
    Other,
}

impl Complaint {
    /// Sorts the text of an `-ERR`.
    pub(crate) fn of(text: &str) -> Self {
        Self::sort(text).unwrap_or(Complaint::Other)
    }

    fn sort(text: &str) -> Option<Self> {
        if let Some(rest) = after(text, "permissions violation for subscription to ") {
            let (subject, rest) = unquote(rest)?;
            Some(match rest.strip_prefix(" (sid ") {
                Some(sid) => Complaint::Revoked(unquote(sid)?.0.parse().ok()?),
                None => Complaint::Subscription(subject),
            })
        } else if let Some(rest) = after(text, "permissions violation for publish to ") {
            Some(Complaint::Publish(unquote(rest)?.0))
        } else {
            let too_many = text.eq_ignore_ascii_case("maximum subscriptions exceeded");
            too_many.then_some(Complaint::TooManySubscriptions)
        }
    }
}

/// What follows `phrase`, which begins the text in whatever case.
fn after<'a>(text: &'a str, phrase: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(phrase.len())?;
    start.eq_ignore_ascii_case(phrase).then_some(rest)
}

/// A string between quotes as Go's `%q` writes it, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut letters = text.strip_prefix('"')?.chars();
    let mut plain = String::new();
    loop {
        match letters.next()? {
            '"' => return Some((plain, letters.as_str())),
            '\\' => {
                let digits = match letters.next()? {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    letter @ ('"' | '\\') => {
                        plain.push(letter);
                        continue;
                    }
                    // Control characters are in no subject of ours.
                    _ => return None,
                };
                let (hex, rest) = letters.as_str().split_at_checked(digits)?;
                plain.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
                letters = rest.chars();
            }
            letter => plain.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_info_is_read_with_and_without_its_parts() {
        let info = ServerInfo::read(
            br#"{"version":"2.15.1","max_payload":1048576,"ldm":true,"connect_urls":["a:1"],"xkey":"?"}"#,
        );
        let info = info.expect("JSON");
        assert_eq!(
            (info.version.as_str(), info.max_payload, info.lame_duck),
            ("2.15.1", 1_048_576, true)
        );
        assert_eq!(info.connect_urls, ["a:1"]);
        assert_eq!(ServerInfo::read(b"{}"), Ok(ServerInfo::default()));
        assert!(matches!(
            ServerInfo::read(b"{\"version\":1}"),
            Err(ProtocolError::Info(_))
        ));
        assert!(matches!(ServerInfo::read(b"\xff"), Err(ProtocolError::Info(_))));
    }

    #[test]
    fn a_connect_says_only_what_the_credentials_need() {
        let proof = Proof {
            token: Some("t".to_owned()),
            ..Proof::default()
        };
        let connect = Connect {
            name: "edge live",
            tls_required: false,
            proof,
            fixed: Fixed::default(),
        };
        let json = serde_json::to_value(&connect).expect("plain values");
        assert_eq!(json["auth_token"], "t");
        assert_eq!(
            (&json["verbose"], &json["no_responders"]),
            (&false.into(), &true.into())
        );
        assert!(json.get("user").is_none() && json.get("sig").is_none());
    }

    #[test]
    fn a_complaint_names_the_subject_that_it_is_about() {
        let subscription = |subject: &str| Complaint::Subscription(subject.to_owned());
        assert_eq!(
            Complaint::of("Permissions Violation for Subscription to \"a.>\""),
            subscription("a.>")
        );
        assert_eq!(
            Complaint::of(r#"permissions violation for subscription to "a\"b""#),
            subscription("a\"b")
        );
        assert_eq!(
            Complaint::of("Permissions Violation for Subscription to \"a\" using queue \"q\""),
            subscription("a")
        );
        assert_eq!(
            Complaint::of("Permissions Violation for Publish to \"x\""),
            Complaint::Publish("x".to_owned())
        );
        assert_eq!(
            Complaint::of("maximum subscriptions exceeded"),
            Complaint::TooManySubscriptions
        );
        assert_eq!(
            Complaint::of(r#"Permissions Violation for Subscription to "é.\u00a0\\" (sid "17")"#),
            Complaint::Revoked(17)
        );
        assert_eq!(
            Complaint::of(r#"Permissions Violation for Subscription to "é.\u00a0\\""#),
            subscription("é.\u{a0}\\")
        );
        for other in [
            "Stale Connection",
            "Permissions Violation for Subscription to \"a",
            r#"Permissions Violation for Subscription to "\n""#,
            r#"Permissions Violation for Subscription to "\u12"#,
            r#"Permissions Violation for Subscription to "a" (sid "x")"#,
            "",
        ] {
            assert_eq!(Complaint::of(other), Complaint::Other, "{other}");
        }
    }
}
