//! What JetStream is asked over the lean connections: the barrier, the newest message of subjects with the proof of how
//! fresh the answer is, and stored publications.
//!
//! JetStream's management (creating and changing streams) is left to `stream` and the client library.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::epoch;
use crate::error::BrokerError;
use crate::health::Histogram;
use crate::stream::Stream;
use crate::wire::{Limits, Outgoing, OwnedMessage, Wire};
use tailwater_protocol::position::Epoch;

/// Most subjects of one request for newest messages; the server gives up beyond 1,024 matches.
pub(crate) const MAX_SUBJECTS: usize = 1000;

/// Bytes of one answer; a message of any size still comes alone.
const ANSWER_BYTES: usize = 512 * 1024;

/// How long a stale replica is given before it is asked again.
const STALE_PAUSE: Duration = Duration::from_millis(3);

/// What no stream's last sequence ever is.
const NEVER: &str = "9223372036854775807";

/// A request to a stream's direct get (NATS ADR-31).
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Get<'a> {
    /// The first sequence wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    /// Only of this subject, which may have wildcards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_by_subj: Option<&'a str>,
    /// Stored at this time or later, in place of `seq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<&'a str>,
    /// The newest message of each subject that one of these matches.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub(crate) multi_last: &'a [&'a str],
    /// Of `multi_last`: as things were at this sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) up_to_seq: Option<u64>,
    /// Most messages; at least 1, without which the server ends no answer.
    pub(crate) batch: usize,
    /// Bytes after which the answer ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_bytes: Option<usize>,
}

/// What came of a [`Get`].
#[derive(Debug, Default)]
pub(crate) struct Got {
    /// The messages, by sequence.
    pub(crate) messages: Vec<OwnedMessage>,
    /// How many more there are behind them.
    pub(crate) pending: u64,
    /// Of `multi_last`: the last sequence that the answering replica has.
    upto: Option<u64>,
}

/// The newest message of each subject.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// The last sequence that the answering replica has: the answer holds for everything up to here.
    pub(crate) upto: u64,
    /// The epoch in the sync message; nothing if it is gone.
    pub(crate) epoch: Option<Epoch>,
    /// The messages, without the sync message.
    pub(crate) messages: Vec<OwnedMessage>,
}

/// Proves that the stream's leader has handled every subscription made on this connection before, and tells the
/// stream's last sequence: a publication that the leader must refuse travels behind the subscriptions, on the same
/// link, to the server that republishes. Neither a PING nor a read proves that.
///
/// # Errors
/// As for [`Wire::request`], and [`BrokerError::JetStream`] for an answer that tells no sequence.
pub(crate) async fn barrier<S>(
    wire: &Wire<S>,
    stream: &Stream,
    within: Duration,
) -> Result<u64, BrokerError> {
    let outgoing = Outgoing {
        subject: &stream.sync_subject,
        headers: &[("Nats-Expected-Last-Sequence", NEVER)],
        payload: b"",
    };
    let asked = wire.request(outgoing, within);
    let answer = timed(&wire.jetstream_times().barrier, asked).await?;
    read_barrier(&answer.payload).map_err(|description| BrokerError::JetStream {
        request: stream.sync_subject.to_string(),
        code: 0,
        description,
    })
}

/// The sequence in the answer to a barrier, or what it says instead.
fn read_barrier(payload: &[u8]) -> Result<u64, String> {
    #[derive(Default, Deserialize)]
    struct Refusal {
        error: Option<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        #[serde(default)]
        description: String,
    }
    let refusal: Refusal = serde_json::from_slice(payload).unwrap_or_default();
    let description = refusal
        .error
        .map_or_else(|| "no error".to_owned(), |error| error.description);
    // The number stands in the text alone.
    let number = description
        .strip_prefix("wrong last sequence: ")
        .and_then(|number| number.parse().ok());
    number.ok_or(description)
}

/// Asks for stored messages; none is an answer too.
///
/// # Errors
/// As for [`Wire::request_batch`], and [`BrokerError::JetStream`] if the request is refused.
pub(crate) async fn get<S>(
    wire: &Wire<S>,
    stream: &Stream,
    get: &Get<'_>,
    within: Duration,
) -> Result<Got, BrokerError> {
    get_of(wire, &stream.api_prefix, &stream.name, get, within).await
}

/// As [`get`], of a stream that is none of a durable channel, by the prefix of JetStream's API and its name.
pub(crate) async fn get_of<S>(
    wire: &Wire<S>,
    api_prefix: &str,
    stream: &str,
    get: &Get<'_>,
    within: Duration,
) -> Result<Got, BrokerError> {
    let subject = format!("{api_prefix}.DIRECT.GET.{stream}");
    let request = Get {
        max_bytes: Some(get.max_bytes.unwrap_or(ANSWER_BYTES)),
        ..get.clone()
    };
    let payload = serde_json::to_vec(&request).map_err(|_| BrokerError::Malformed("a request"))?;
    let outgoing = Outgoing {
        subject: &subject,
        headers: &[],
        payload: &payload,
    };
    let largest = usize::try_from(wire.server().max_payload).unwrap_or(usize::MAX);
    let limits = Limits {
        replies: get.batch + 2,
        // The server ends an answer behind the message that goes beyond `max_bytes`.
        bytes: (4 * ANSWER_BYTES).saturating_add(largest),
    };
    let times = wire.jetstream_times();
    let time = if get.multi_last.is_empty() {
        &times.read
    } else {
        &times.heads
    };
    let mut messages = timed(time, wire.request_batch(outgoing, limits, within)).await?;
    let end = messages.pop().ok_or(BrokerError::Stopped)?;
    let headers = end.headers();
    let status = headers.status();
    match status.map_or(0, |status| status.code) {
        204 => Ok(Got {
            messages,
            pending: headers.last_number("Nats-Num-Pending").unwrap_or(0),
            upto: headers.last_number("Nats-UpTo-Sequence"),
        }),
        404 => Ok(Got::default()),
        code => Err(BrokerError::JetStream {
            request: subject,
            code: code.into(),
            description: status.map_or_else(String::new, |status| {
                String::from_utf8_lossy(status.description).into_owned()
            }),
        }),
    }
}

/// Waits for an answer and notes how long it took; also how long was waited for one that did not come in time.
pub(crate) async fn timed<T>(
    histogram: &Histogram,
    asked: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    let begin = Instant::now();
    let answer = asked.await;
    let is_late = |error: &BrokerError| {
        matches!(
            error,
            BrokerError::Unavailable { .. } | BrokerError::Unacknowledged { .. }
        )
    };
    if answer.as_ref().err().is_none_or(is_late) {
        histogram.record(begin.elapsed());
    }
    answer
}

/// Whether a request for newest messages failed because more than 1,024 subjects match.
pub(crate) fn is_too_many(error: &BrokerError) -> bool {
    matches!(error, BrokerError::JetStream { code: 413, .. })
}

/// The newest message of each of `subjects` (at most [`MAX_SUBJECTS`], or a pattern), from a replica that has all up to
/// `at_least`.
///
/// # Errors
/// As for [`get`], and [`BrokerError::Unavailable`] if no replica is that fresh within `within`.
pub(crate) async fn heads<S>(
    wire: &Wire<S>,
    stream: &Stream,
    subjects: &[&str],
    at_least: u64,
    within: Duration,
) -> Result<Heads, BrokerError> {
    let deadline = Instant::now() + within;
    let mut asked = subjects.to_vec();
    asked.push(&stream.sync_subject);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(BrokerError::Unavailable { timeout: within });
        }
        let mut got = page(wire, stream, &asked, None, left).await?;
        let Some(upto) = got.upto else {
            // Nothing at all, not even the sync message.
            return Ok(Heads::default());
        };
        if upto < at_least {
            sleep(STALE_PAUSE).await;
            continue;
        }
        let mut messages = std::mem::take(&mut got.messages);
        while got.pending > 0 {
            let from = messages.last().and_then(sequence).map_or(1, |last| last + 1);
            let left = deadline.saturating_duration_since(Instant::now());
            got = page(wire, stream, &asked, Some((from, upto)), left).await?;
            if got.messages.is_empty() {
                break;
            }
            messages.append(&mut got.messages);
        }
        let sync = messages.iter().position(|message| {
            message.headers().last("Nats-Subject") == Some(stream.sync_subject.as_bytes())
        });
        let epoch = sync.and_then(|place| epoch::of_sync_message(&messages.remove(place).payload));
        return Ok(Heads {
            upto,
            epoch,
            messages,
        });
    }
}

/// Whether nothing of `subject`, which may have wildcards, is stored from sequence `from` on, in a replica that has come
/// to `at_least`. False if that cannot be said now.
///
/// # Errors
/// As for [`get`].
pub(crate) async fn is_nothing_from<S>(
    wire: &Wire<S>,
    stream: &Stream,
    subject: &str,
    from: u64,
    at_least: u64,
    within: Duration,
) -> Result<bool, BrokerError> {
    let request = Get {
        seq: Some(from),
        multi_last: &[subject, &stream.sync_subject],
        // One may be the sync message.
        batch: 2,
        max_bytes: Some(1),
        ..Get::default()
    };
    match get(wire, stream, &request, within).await {
        Ok(got) => {
            let is_sync = |message: &OwnedMessage| {
                message.headers().last("Nats-Subject") == Some(stream.sync_subject.as_bytes())
            };
            let is_fresh = got.upto.is_some_and(|upto| upto >= at_least);
            Ok(is_fresh && got.pending == 0 && got.messages.iter().all(is_sync))
        }
        // Too many subjects to be looked through: the leader, which answered the barrier, knows too.
        Err(error) if is_too_many(&error) => is_nothing_at_leader(wire, stream, subject, from, within).await,
        Err(error) => Err(error),
    }
}

/// As [`is_nothing_from`], as the stream's leader knows it.
async fn is_nothing_at_leader<S>(
    wire: &Wire<S>,
    stream: &Stream,
    subject: &str,
    from: u64,
    within: Duration,
) -> Result<bool, BrokerError> {
    #[derive(Serialize)]
    struct Next<'a> {
        seq: u64,
        next_by_subj: &'a str,
    }
    #[derive(Deserialize)]
    struct Answer {
        error: Option<Refusal>,
    }
    #[derive(Default, Deserialize)]
    struct Refusal {
        #[serde(default)]
        err_code: u64,
        #[serde(default)]
        description: String,
    }
    /// JetStream's number for a message that is not there.
    const NO_MESSAGE: u64 = 10037;
    let request = format!("{}.STREAM.MSG.GET.{}", stream.api_prefix, stream.name);
    let next = Next {
        seq: from,
        next_by_subj: subject,
    };
    let payload = serde_json::to_vec(&next).map_err(|_| BrokerError::Malformed("a request"))?;
    let outgoing = Outgoing {
        subject: &request,
        headers: &[],
        payload: &payload,
    };
    let answer = wire.request(outgoing, within).await?;
    match serde_json::from_slice(&answer.payload) {
        Ok(Answer { error: None }) => Ok(false),
        Ok(Answer { error: Some(error) }) if error.err_code == NO_MESSAGE => Ok(true),
        Ok(Answer { error: Some(error) }) => Err(BrokerError::JetStream {
            request,
            code: error.err_code,
            description: error.description,
        }),
        Err(_) => Err(BrokerError::Unintelligible { request }),
    }
}

/// The sequence of a message that was read back.
pub(crate) fn sequence(message: &OwnedMessage) -> Option<u64> {
    message.headers().last_number("Nats-Sequence")
}

async fn page<S>(
    wire: &Wire<S>,
    stream: &Stream,
    multi_last: &[&str],
    range: Option<(u64, u64)>,
    within: Duration,
) -> Result<Got, BrokerError> {
    let request = Get {
        seq: range.map(|(from, _)| from),
        up_to_seq: range.map(|(_, upto)| upto),
        multi_last,
        batch: 1024,
        ..Get::default()
    };
    get(wire, stream, &request, within).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_barrier_reads_the_sequence_or_says_what_it_got() {
        let refused = br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 42"},"stream":"S","seq":0}"#;
        assert!(matches!(read_barrier(refused), Ok(42)));
        for odd in [
            &br#"{"stream":"S","seq":4}"#[..],
            br#"{"error":{"description":"no leader"}}"#,
            br#"{"error":{"description":"wrong last sequence: many"}}"#,
            b"",
            b"[]",
        ] {
            assert!(read_barrier(odd).is_err());
        }
    }

    #[test]
    fn a_request_names_only_what_is_asked() {
        let request = Get {
            seq: Some(3),
            next_by_subj: Some("a.b"),
            batch: 5,
            ..Get::default()
        };
        assert_eq!(
            serde_json::to_string(&request).expect("JSON"),
            r#"{"seq":3,"next_by_subj":"a.b","batch":5}"#
        );
    }
}
