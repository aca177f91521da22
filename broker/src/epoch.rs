//! The epoch of a stream: which life of it an offset belongs to.
//!
//! It reads `<created>-<generation>`. `created` is the stream's creation time, as JetStream tells it, in a compact
//! form; the generation stands in the body of the sync message, the one message on the private subject
//! `_tw.sync.<STREAM>`. A stream that is created anew has another `created`. One whose head went back, as after a
//! restore or the loss of its last writes, gets another generation, by whoever notices it first.
//!
//! All edges agree, because the sync message is only ever replaced by compare-and-set: who loses reads what the other
//! has stored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tailwater_protocol::position::Epoch;
use tailwater_protocol::timestamp::Timestamp;

use crate::config::NatsConfig;
use crate::connection::Connection;
use crate::error::BrokerError;
use crate::stream::api::{Info, JetStream, Stored};
use crate::stream::{Stream, sync_subject};

/// How often a compare-and-set is tried again; each failure means that another edge has succeeded.
const ATTEMPTS: usize = 16;

/// Body of the sync message.
#[derive(Debug, Deserialize, Serialize)]
struct Body {
    epoch: String,
}

/// An epoch in its two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    created: String,
    generation: u64,
}

impl Parts {
    fn of(epoch: &Epoch) -> Option<Self> {
        let (created, generation) = epoch.as_str().rsplit_once('-')?;
        Some(Self {
            created: created.to_owned(),
            generation: generation.parse().ok()?,
        })
    }

    fn epoch(&self) -> Option<Epoch> {
        Epoch::new(&format!("{}-{}", self.created, self.generation)).ok()
    }
}

/// The epoch that a sync message tells; nothing if it is none of ours.
pub fn of_sync_message(body: &[u8]) -> Option<Epoch> {
    let body: Body = serde_json::from_slice(body).ok()?;
    let epoch = Epoch::new(&body.epoch).ok()?;
    Parts::of(&epoch).map(|_| epoch)
}

/// Raises the generation, unless somebody has done so since the epoch was `seen`. Gives the epoch then in force, which
/// is never `seen`.
///
/// # Errors
/// What keeps JetStream from answering, all worth another try but [`BrokerError::Refused`],
/// [`BrokerError::NoStream`] and [`BrokerError::StreamUnfit`].
pub async fn raise(connection: &Connection, stream: &Stream, seen: &Epoch) -> Result<Epoch, BrokerError> {
    raise_from(&jetstream(connection, stream), &stream.name, seen).await
}

/// Keeps the epoch `seen` in the stream: stores it again if the sync message was trimmed, or if more than half of the
/// stream's `max_age` has passed since it was stored. Otherwise it stores nothing, so several edges may call it as often
/// as they like. Gives the epoch then in force: another than `seen` if somebody has changed it.
///
/// # Errors
/// As [`raise`].
pub async fn refresh(connection: &Connection, stream: &Stream, seen: &Epoch) -> Result<Epoch, BrokerError> {
    let (jetstream, name) = (jetstream(connection, stream), &stream.name);
    let choose = |state: &State| {
        let seen = Parts::of(seen).filter(|seen| seen.created == state.created);
        match (&state.now, seen) {
            (Some((now, _)), Some(seen)) if now.generation < seen.generation => {
                Choice::Store(state.above(&seen))
            }
            (Some((now, stored)), Some(seen)) if *now == seen && state.is_half_gone(stored) => {
                Choice::Store(seen)
            }
            (Some((now, _)), _) => Choice::Keep(now.clone()),
            (None, Some(seen)) => Choice::Store(seen),
            // The stream has been created anew.
            (None, None) => Choice::Store(state.first()),
        }
    };
    settle(&jetstream, name, choose).await
}

/// What [`renew`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The epoch before.
    pub old: Epoch,
    /// The epoch now.
    pub new: Epoch,
}

/// Gives the stream `name` another epoch, over a connection of its own and within `timeout`: for operators, after a
/// stream was restored from a backup. Clients that come back are told that their cursors are void.
///
/// # Errors
/// [`BrokerError::Refusing`] and [`BrokerError::Unreachable`] if there is no connection to be had,
/// [`BrokerError::NoStream`], and as [`raise`].
pub async fn renew(
    config: &NatsConfig,
    domain: Option<&str>,
    name: &str,
    timeout: Duration,
) -> Result<Renewed, BrokerError> {
    let work = async {
        let (connection, _) = Connection::open_now(config, "new-epoch").await?;
        let jetstream = JetStream::new(connection, domain);
        let old = of_stream(&jetstream, name).await?;
        let new = raise_from(&jetstream, name, &old).await?;
        Ok(Renewed { old, new })
    };
    let worked = tokio::time::timeout(timeout, Box::pin(work)).await;
    worked.unwrap_or(Err(BrokerError::Unreachable { timeout }))
}

/// The epoch that the stream has now. Stores the sync message where there is none, and where it is of another life of
/// the stream. Fails as [`raise`] does.
pub(crate) async fn of_stream(jetstream: &JetStream, name: &str) -> Result<Epoch, BrokerError> {
    let choose = |state: &State| match &state.now {
        Some((now, _)) => Choice::Keep(now.clone()),
        None => Choice::Store(state.first()),
    };
    settle(jetstream, name, choose).await
}

async fn raise_from(jetstream: &JetStream, name: &str, seen: &Epoch) -> Result<Epoch, BrokerError> {
    let choose = |state: &State| {
        let seen = Parts::of(seen).filter(|seen| seen.created == state.created);
        let now = state.now.as_ref().map(|(now, _)| now);
        match (now, seen) {
            // A lower one is no news: the stream went back to before `seen` was stored.
            (Some(now), Some(seen)) if now.generation > seen.generation => Choice::Keep(now.clone()),
            (Some(now), None) => Choice::Keep(now.clone()),
            (_, Some(seen)) => Choice::Store(state.above(&seen)),
            (None, None) => Choice::Store(state.first()),
        }
    };
    settle(jetstream, name, choose).await
}

/// What a stream says about its epoch.
struct State {
    /// The first part of its epochs.
    created: String,
    /// Whether nothing was ever stored in it.
    is_fresh: bool,
    /// The epoch of its sync message, if that is of this life of the stream.
    now: Option<(Parts, Stored)>,
    /// The sequence of the sync message, whatever it says; 0: there is none.
    sequence: u64,
    /// How long the stream keeps messages.
    max_age: Option<Duration>,
}

impl State {
    /// The first epoch of a stream without a sync message. Publications without one mean that there may have been one
    /// that nobody remembers: the time is a generation that it did not have.
    fn first(&self) -> Parts {
        Parts {
            created: self.created.clone(),
            generation: if self.is_fresh { 1 } else { unix_seconds() },
        }
    }

    /// An epoch after `seen` that no client can have: a backup may hold an old generation, of which the next is in use
    /// already somewhere, but the time is not.
    fn above(&self, seen: &Parts) -> Parts {
        Parts {
            created: self.created.clone(),
            generation: unix_seconds().max(seen.generation.saturating_add(1)),
        }
    }

    /// Whether half of the time has passed after which the stream drops this message. Our clock may differ from that
    /// of NATS; half of the time is left for it.
    fn is_half_gone(&self, stored: &Stored) -> bool {
        let Some(max_age) = self.max_age else { return false };
        let stored = unix_nanoseconds(&stored.time).map(Duration::from_nanos);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        stored.is_none_or(|stored| now.saturating_sub(stored) > max_age / 2)
    }
}

enum Choice {
    Keep(Parts),
    Store(Parts),
}

/// Reads, chooses, and stores what was chosen if nobody else was faster; else reads again.
async fn settle(
    jetstream: &JetStream,
    name: &str,
    choose: impl Fn(&State) -> Choice,
) -> Result<Epoch, BrokerError> {
    let subject = sync_subject(name);
    for _ in 0..ATTEMPTS {
        let state = read(jetstream, name, &subject).await?;
        let (chosen, stores) = match choose(&state) {
            Choice::Keep(chosen) => (chosen, false),
            Choice::Store(chosen) => (chosen, true),
        };
        let epoch = chosen.epoch().ok_or_else(|| unintelligible(name))?;
        if !stores {
            return Ok(epoch);
        }
        let body = Body {
            epoch: epoch.to_string(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        if jetstream
            .store(name, &subject, state.sequence, body.into())
            .await?
            .is_some()
        {
            return Ok(epoch);
        }
        // Somebody else was faster, or is being stored at this moment.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..10))).await;
    }
    Err(BrokerError::Busy)
}

async fn read(jetstream: &JetStream, name: &str, subject: &str) -> Result<State, BrokerError> {
    let stream = || name.to_owned();
    let info = jetstream.info(name).await?;
    let info = info.ok_or_else(|| BrokerError::NoStream { stream: stream() })?;
    if !has_subject(&info, subject) {
        let reasons = vec![format!(
            "it lacks the subject `{subject}`, on which its epoch is kept: add it, or let the edge do that \
             (`stream.{name}.manage = true`)"
        )];
        return Err(BrokerError::StreamUnfit {
            stream: stream(),
            reasons,
        });
    }
    let created = unix_nanoseconds(&info.created).ok_or_else(|| unintelligible(name))?;
    let created = base_36(created);
    let last = jetstream.last(name, subject).await?;
    let sequence = last.as_ref().map_or(0, |stored| stored.sequence);
    let now = last.and_then(|stored| {
        let parts = Parts::of(&of_sync_message(&stored.body)?)?;
        (parts.created == created).then_some((parts, stored))
    });
    let max_age = info.config.get("max_age").and_then(serde_json::Value::as_u64);
    Ok(State {
        created,
        is_fresh: info.state.last_seq == 0,
        now,
        sequence,
        max_age: max_age.filter(|age| *age > 0).map(Duration::from_nanos),
    })
}

fn has_subject(info: &Info, subject: &str) -> bool {
    let subjects = info.config.get("subjects").and_then(serde_json::Value::as_array);
    let mut subjects = subjects
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_str);
    subjects.any(|known| crate::stream::subjects::includes(known, subject))
}

fn jetstream(connection: &Connection, stream: &Stream) -> JetStream {
    JetStream::at(connection.clone(), stream.api_prefix.clone())
}

fn unintelligible(name: &str) -> BrokerError {
    BrokerError::Unintelligible {
        request: format!("STREAM.INFO.{name}"),
    }
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn base_36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.extend(
            u32::try_from(number % 36)
                .ok()
                .and_then(|digit| char::from_digit(digit, 36)),
        );
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// Nanoseconds since 1970 of a time as JetStream writes it: RFC 3339 in UTC, with up to nine digits of fraction.
fn unix_nanoseconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1970..2500).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let nanoseconds: u64 = match fraction.len() {
        0 => 0,
        1..=9 => format!("{fraction:0<9}").parse().ok()?,
        _ => return None,
    };
    // Years are counted from March here, so that the day of a leap year is the last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Whether what was stored at `stored`, as JetStream writes it, was stored at `time` or later. True in doubt.
pub(crate) fn is_at_or_after(stored: &str, time: &Timestamp) -> bool {
    let text = time.as_str();
    // The zone is `Z`, or a sign, hours and minutes.
    let (local, zone) = match text.strip_suffix('Z') {
        Some(local) => (local, "+00:00"),
        None => text.split_at(text.len().saturating_sub(6)),
    };
    let part = |range: std::ops::Range<usize>| zone.get(range).and_then(|part| part.parse::<i128>().ok());
    let seconds = part(1..3).unwrap_or(0) * 3600 + part(4..6).unwrap_or(0) * 60;
    let ahead = if zone.starts_with('-') { -seconds } else { seconds };
    match (unix_nanoseconds(stored), unix_nanoseconds(&format!("{local}Z"))) {
        (Some(stored), Some(local)) => i128::from(stored) >= i128::from(local) - ahead * 1_000_000_000,
        // Years that no clock of a server shows.
        _ => *text < *"1971",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_jetstream_are_read_to_the_nanosecond() {
        for (text, nanoseconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-02T00:00:00.5Z", 86_400_500_000_000),
            ("2000-02-29T12:34:56.000000001Z", 951_827_696_000_000_001),
            ("2026-11-22T19:38:46.516476333Z", 1_795_376_326_516_476_333),
        ] {
            assert_eq!(unix_nanoseconds(text), Some(nanoseconds), "{text}");
        }
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T19:38:46+01:00",
            "0001-01-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(unix_nanoseconds(text), None, "{text}");
        }
    }

    #[test]
    fn times_of_any_zone_are_compared_with_those_of_jetstream() {
        let stored = "2026-11-22T19:38:46.516476333Z";
        for (time, expected) in [
            ("2026-11-22T19:38:46.516476333Z", true),
            ("2026-11-22T19:38:46.516476334Z", false),
            ("2026-11-22T20:38:46.516476333+01:00", true),
            ("2026-11-22T20:38:46.516476334+01:00", false),
            ("2026-11-22T16:08:46.516476333-03:30", true),
            ("2026-11-22T16:08:46.516476334-03:30", false),
            ("0001-01-01T00:00:00Z", true),
            ("9999-12-31T23:59:59Z", false),
        ] {
            let time = Timestamp::new(time).unwrap();
            assert_eq!(is_at_or_after(stored, &time), expected, "{time}");
        }
    }

    #[test]
    fn an_epoch_is_read_from_a_sync_message_and_from_nothing_else() {
        let epoch = of_sync_message(br#"{"epoch":"d1k2-17","more":1}"#).unwrap();
        assert_eq!(epoch.as_str(), "d1k2-17");
        let parts = Parts::of(&epoch).unwrap();
        assert_eq!((parts.created.as_str(), parts.generation), ("d1k2", 17));
        assert_eq!(parts.epoch(), Some(epoch));
        for body in [
            &b""[..],
            b"{}",
            br#"{"epoch":"x"}"#,
            br#"{"epoch":"x-y"}"#,
            br#"{"epoch":"a b-1"}"#,
            b"\xff",
        ] {
            assert_eq!(of_sync_message(body), None, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn numbers_are_written_with_36_digits() {
        assert_eq!(
            (base_36(0), base_36(35), base_36(36)),
            ("0".into(), "z".into(), "10".into())
        );
        assert_eq!(u64::from_str_radix(&base_36(u64::MAX), 36), Ok(u64::MAX));
    }
}
