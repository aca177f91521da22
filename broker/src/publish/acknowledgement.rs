//! What a stream answers to a publication, as a result.

use serde::Deserialize;
use tailwater_protocol::position::Offset;

use super::Stored;
use crate::error::BrokerError;

/// The longest answer that can be an acknowledgement.
const MAX_BYTES: usize = 64 * 1024;

/// The longest reason of JetStream's that is repeated, in characters.
const MAX_REASON: usize = 200;

/// Errors of JetStream by their `err_code` (`server/errors.json` of nats-server), as far as a publication can meet
/// them and they mean something of their own here.
mod code {
    pub(super) const ACCOUNT_RESOURCES_EXCEEDED: u64 = 10002;
    pub(super) const CLUSTER_NOT_AVAILABLE: u64 = 10008;
    pub(super) const CLUSTER_NOT_LEADER: u64 = 10009;
    pub(super) const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub(super) const MEMORY_RESOURCES_EXCEEDED: u64 = 10028;
    pub(super) const STORAGE_RESOURCES_EXCEEDED: u64 = 10047;
    pub(super) const MESSAGE_EXCEEDS_MAXIMUM: u64 = 10054;
    pub(super) const STREAM_NOT_MATCH: u64 = 10060;
    /// A limit with `discard: new`, and everything that keeps the store from writing.
    pub(super) const STORE_FAILED: u64 = 10077;
    pub(super) const STREAM_OFFLINE: u64 = 10118;
    pub(super) const STREAM_BYTES_EXCEEDED: u64 = 10122;
    /// Another attempt with this message id is being stored.
    pub(super) const DUPLICATE_IN_PROCESS: u64 = 10158;
    pub(super) const TOO_MANY_REQUESTS: u64 = 10167;
    pub(super) const STREAM_OFFLINE_REASON: u64 = 10194;
}

/// `{"stream": "CHAT", "seq": 7, "duplicate": true}`, or `{"error": {…}, "stream": "CHAT", "seq": 0}`.
#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
    stream: Option<String>,
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Deserialize)]
struct Refusal {
    /// In the manner of HTTP.
    code: u16,
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Reads an answer; nothing if it is none of `stream`.
pub(crate) fn read(payload: &[u8], subject: &str, stream: &str) -> Option<Result<Stored, BrokerError>> {
    if payload.len() > MAX_BYTES {
        return None;
    }
    let answer: Answer = serde_json::from_slice(payload).ok()?;
    if let Some(refusal) = answer.error {
        return Some(Err(explain(&refusal, subject, stream)));
    }
    // Sequences begin at 1.
    let sequence = answer.seq.filter(|sequence| *sequence > 0)?;
    if answer.stream? != stream {
        return None;
    }
    let stored = Offset::new(sequence).map(|offset| Stored {
        offset,
        duplicate: answer.duplicate,
    });
    Some(stored.map_err(|_| BrokerError::OffsetTooLarge {
        stream: stream.to_owned(),
        sequence,
    }))
}

fn explain(refusal: &Refusal, subject: &str, stream: &str) -> BrokerError {
    let stream = stream.to_owned();
    let reason = reason(&refusal.description);
    match refusal.err_code {
        code::STREAM_NOT_MATCH => BrokerError::WrongStream {
            stream,
            subject: subject.to_owned(),
        },
        code::MESSAGE_EXCEEDS_MAXIMUM => BrokerError::TooLargeForStream { stream },
        code::STORE_FAILED
        | code::STREAM_BYTES_EXCEEDED
        | code::ACCOUNT_RESOURCES_EXCEEDED
        | code::INSUFFICIENT_RESOURCES
        | code::MEMORY_RESOURCES_EXCEEDED
        | code::STORAGE_RESOURCES_EXCEEDED => BrokerError::StreamFull { stream, reason },
        code::CLUSTER_NOT_AVAILABLE
        | code::CLUSTER_NOT_LEADER
        | code::STREAM_OFFLINE
        | code::STREAM_OFFLINE_REASON
        | code::DUPLICATE_IN_PROCESS
        | code::TOO_MANY_REQUESTS => BrokerError::StreamBusy { stream, reason },
        // A newer server's words for the same.
        _ if matches!(refusal.code, 429 | 503) => BrokerError::StreamBusy { stream, reason },
        code => BrokerError::StreamRefused { stream, code, reason },
    }
}

/// What the server says, on one line of bounded length.
fn reason(description: &str) -> String {
    let safe = |c: char| if c.is_control() { ' ' } else { c };
    description.chars().take(MAX_REASON).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str) -> Option<Result<Stored, BrokerError>> {
        read(text.as_bytes(), "chat.a", "CHAT")
    }

    fn refused(status: u16, code: u64) -> BrokerError {
        let text = format!(
            r#"{{"error":{{"code":{status},"err_code":{code},"description":"so\nit is"}},"stream":"CHAT","seq":0}}"#
        );
        read_text(&text).unwrap().unwrap_err()
    }

    #[test]
    fn an_acknowledgement_gives_the_offset_and_whether_it_was_there_before() {
        let stored = |offset, duplicate| Stored {
            offset: Offset::new(offset).unwrap(),
            duplicate,
        };
        for (text, expected) in [
            (r#"{"stream":"CHAT", "seq":1}"#, stored(1, false)),
            (
                r#"{"stream":"CHAT","domain":"hub","seq":7,"duplicate": true}"#,
                stored(7, true),
            ),
            (
                r#"{"stream":"CHAT","seq":9007199254740991}"#,
                stored((1 << 53) - 1, false),
            ),
        ] {
            assert_eq!(read_text(text).unwrap().unwrap(), expected);
        }
    }

    #[test]
    fn an_offset_that_no_client_can_count_to_is_an_error() {
        for sequence in [1 << 53, u64::MAX] {
            let answer = read_text(&format!(r#"{{"stream":"CHAT","seq":{sequence}}}"#));
            let found = answer.unwrap().unwrap_err();
            assert!(
                matches!(found, BrokerError::OffsetTooLarge { sequence: found, .. } if found == sequence)
            );
        }
    }

    #[test]
    fn what_is_no_acknowledgement_of_the_stream_is_none() {
        for text in [
            "",
            "ok",
            "{}",
            "null",
            "7",
            "[]",
            r#"{"stream":"CHAT"}"#,
            r#"{"seq":1}"#,
            r#"{"stream":"CHAT","seq":0}"#,
            r#"{"stream":"CHAT","seq":-1}"#,
            r#"{"stream":"CHAT","seq":1.5}"#,
            r#"{"stream":"CHAT","seq":"1"}"#,
            r#"{"stream":"CHAT","seq":18446744073709551616}"#,
            r#"{"stream":"OTHER","seq":1}"#,
            r#"{"stream":7,"seq":1}"#,
            r#"{"error":"no"}"#,
            r#"{"error":{}}"#,
            r#"{"error":{"code":503}}"#,
            r#"{"stream":"CHAT","seq":1,"duplicate":"yes"}"#,
        ] {
            assert!(read_text(text).is_none(), "{text}");
        }
        let deep = "[".repeat(60_000);
        let long = format!(r#"{{"stream":"CHAT","seq":1,"x":"{}"}}"#, "x".repeat(MAX_BYTES));
        assert!(read_text(&deep).is_none() && read_text(&long).is_none());
    }

    #[test]
    fn each_refusal_says_what_it_means_here() {
        use BrokerError as E;
        assert!(matches!(refused(400, 10060), E::WrongStream { .. }));
        assert!(matches!(refused(400, 10054), E::TooLargeForStream { .. }));
        for code in [10077, 10122, 10002, 10023, 10028, 10047] {
            assert!(matches!(refused(503, code), E::StreamFull { .. }), "{code}");
        }
        for (status, code) in [
            (500, 10118),
            (409, 10158),
            (429, 10167),
            (503, 10008),
            (429, 1),
            (503, 2),
        ] {
            assert!(matches!(refused(status, code), E::StreamBusy { .. }), "{code}");
        }
        for code in [10071, 10109, 10180] {
            let error = refused(400, code);
            assert!(
                matches!(&error, E::StreamRefused { code: found, .. } if *found == code),
                "{error}"
            );
            assert!(error.to_string().contains("so it is"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(payload: Vec<u8>) {
            let _ = read(&payload, "chat.a", "CHAT");
        }
    }
}
