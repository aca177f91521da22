//! The headers of a client's publication. A client chooses none of them itself; what it and its token say is made safe
//! here.

use std::fmt::Write;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tailwater_protocol::command::Key;

use super::ClientPublication;
use crate::error::BrokerError;

/// The header that names the user. Every byte that is not visible ASCII, and `%`, is written as `%` and two upper-case
/// hexadecimal digits (RFC 3986 section 2.1), so any text is safe there and reads back. Absent if the client is
/// anonymous; never chosen by a client. A service that publishes itself may write what it likes, so who reads the
/// header trusts all who may publish on the subject.
pub const USER_HEADER: &str = "Tailwater-User";

/// The longest user name in bytes.
pub const MAX_USER_BYTES: usize = 1024;

/// Headers of JetStream.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The headers of a live publication of `user`.
pub(super) fn live(user: &str) -> Result<HeaderMap, BrokerError> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, USER_HEADER, &encode_user(user)?)?;
    Ok(headers)
}

/// The headers of a publication into `stream`.
pub(super) fn stored(
    subject: &str,
    stream: &str,
    publication: &ClientPublication<'_>,
) -> Result<HeaderMap, BrokerError> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, EXPECTED_STREAM, stream)?;
    if let Some(user) = publication.user {
        insert(&mut headers, USER_HEADER, &encode_user(user)?)?;
    }
    if let Some(key) = publication.key {
        insert(
            &mut headers,
            MESSAGE_ID,
            &message_id(publication.user, subject, key),
        )?;
    }
    Ok(headers)
}

/// The bytes that headers take on the wire, which NATS counts as part of the publication.
pub(super) fn wire_len(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values
            .iter()
            .map(move |value| name.len() + ": ".len() + value.as_str().len() + "\r\n".len())
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

/// JetStream compares message ids within a whole stream, and keeps each for the duplicate window. So this one holds all
/// that makes a publication the same, as a hash: short, of one length, safe in a header, and nobody finds a second user,
/// subject and key that give it. The parts go in with their lengths, so that none can reach into the next.
fn message_id(user: Option<&str>, subject: &str, key: &Key) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    // A user name is never empty, so nobody is the anonymous one.
    part(user.unwrap_or_default());
    part(subject);
    part(key.as_str());
    format!("tw-{}", URL_SAFE_NO_PAD.encode(hash.finalize()))
}

/// A user name as it stands in [`USER_HEADER`].
///
/// # Errors
/// [`BrokerError::Malformed`] for one that is empty or too long.
pub(crate) fn encode_user(user: &str) -> Result<String, BrokerError> {
    if user.is_empty() || user.len() > MAX_USER_BYTES {
        return Err(BrokerError::Malformed("a user name: it has 1 to 1024 bytes"));
    }
    let mut encoded = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Ok(encoded)
}

/// The library's own `insert` of a text panics at a line break.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), BrokerError> {
    let value: HeaderValue = value.parse().map_err(|_| BrokerError::Malformed("a header"))?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tailwater_protocol::channel::Channel;

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_message_id_belongs_to_one_user_one_subject_and_one_key() {
        let parts = [
            (None, "chat.a", "k"),
            (Some("u"), "chat.a", "k"),
            (Some("v"), "chat.a", "k"),
            (Some("u"), "chat.b", "k"),
            (Some("u"), "chat.a", "l"),
            // The same letters, cut elsewhere.
            (Some("uchat"), ".a", "k"),
            (Some("u"), "chat.", "ak"),
            (None, "uchat.a", "k"),
        ];
        let ids: std::collections::HashSet<_> = parts
            .iter()
            .map(|(user, subject, text)| message_id(*user, subject, &key(text)))
            .collect();
        assert_eq!(ids.len(), parts.len());
        for id in ids {
            assert_eq!(id.len(), 46);
            assert!(id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
        }
        assert_eq!(
            message_id(Some("u"), "chat.a", &key("k")),
            message_id(Some("u"), "chat.a", &key("k"))
        );
    }

    #[test]
    fn the_message_id_of_a_publication_stays_the_same_from_version_to_version() {
        // Else a retry by way of an edge of another version would be stored twice.
        let id = message_id(Some("ada"), "chat.a", &key("0b5e"));
        assert_eq!(id, "tw-2CHEtCLlAvdxX7tRw-4Kx1MfuiKzhl5l3Vee0za0D7Y");
    }

    #[test]
    fn a_user_name_is_written_so_that_it_cannot_leave_its_header() {
        for (user, header) in [
            ("ada", "ada"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("é", "%C3%A9"),
            (
                "x\r\nNats-Rollup: all\r\n\r\n",
                "x%0D%0ANats-Rollup:%20all%0D%0A%0D%0A",
            ),
            ("\0", "%00"),
        ] {
            assert_eq!(encode_user(user).unwrap(), header);
        }
        for bad in ["", &"x".repeat(MAX_USER_BYTES + 1)] {
            assert!(matches!(encode_user(bad), Err(BrokerError::Malformed(_))));
        }
    }

    #[test]
    fn a_stream_name_with_a_line_break_is_an_error_and_no_panic() {
        let channel = Channel::new("chat.a").unwrap();
        let publication = ClientPublication {
            channel: &channel,
            payload: Bytes::new(),
            user: None,
            key: None,
        };
        let headers = stored("chat.a", "CHAT\r\nX: y", &publication);
        assert!(matches!(headers, Err(BrokerError::Malformed(_))));
    }

    #[test]
    fn the_length_on_the_wire_counts_every_line() {
        let headers = live("ada").unwrap();
        assert_eq!(
            wire_len(&headers),
            "NATS/1.0\r\nTailwater-User: ada\r\n\r\n".len()
        );
    }

    proptest! {
        #[test]
        fn any_user_name_reads_back_from_visible_letters(user in "\\PC{1,40}|[\\x00-\\x7f]{1,40}") {
            let encoded = encode_user(&user).unwrap();
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            let mut decoded = Vec::new();
            let mut rest = encoded.bytes();
            while let Some(byte) = rest.next() {
                if byte == b'%' {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    decoded.push(u8::from_str_radix(digits, 16).unwrap());
                } else {
                    decoded.push(byte);
                }
            }
            prop_assert_eq!(decoded, user.into_bytes());
        }
    }
}
