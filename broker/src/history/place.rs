//! Places in a channel: from where on a read brings as many as are wanted, or what was stored since some time.
//!
//! Each answer tells how many publications there are from its place on. The first guess lies close to the end, the next
//! ones further back; then between two places of which one brings too many and one too few.

use tailwater_protocol::timestamp::Timestamp;
use tokio::time::{Instant, sleep};

use super::reader::{Reader, Target};
use super::{Cursor, History, LAG_PAUSE, READ_TIMEOUT};
use crate::epoch;
use crate::error::BrokerError;
use crate::feed::Interest;
use crate::jetstream::{self, Get, Got};

/// How many times as far back the next guess lies, at most.
const LEAP: u64 = 64;

/// A place to read from.
pub(super) struct Place {
    pub(super) from: u64,
    /// Publications from there on and before the end.
    pub(super) count: u64,
    /// The answer to a read from there.
    pub(super) got: Got,
}

/// How many publications there are to be from a place on.
pub(super) enum Wanted {
    /// Between one and two times as many.
    About(u64),
    /// No more and no less.
    Exactly(u64),
}

impl History {
    /// The offset behind which the last `count` publications of a channel lie; 0 if there are no more, and how far the
    /// feed has come if none are wanted.
    ///
    /// # Errors
    /// What keeps NATS from answering; [`BrokerError::Unavailable`] if it takes more than five seconds.
    pub async fn before_last(&self, interest: &Interest, count: u32) -> Result<u64, BrokerError> {
        let _turn = self.turn().await?;
        let (reader, tip) = self.reader_of(interest)?;
        let place = reader.before_last(u64::from(count)).await?;
        Ok(if place == reader.head { tip } else { place })
    }

    /// The offset behind which what was stored at `time` or later lies; how far the feed has come if nothing was.
    ///
    /// # Errors
    /// As for [`History::before_last`].
    pub async fn before_time(&self, interest: &Interest, time: &Timestamp) -> Result<u64, BrokerError> {
        let _turn = self.turn().await?;
        let (reader, tip) = self.reader_of(interest)?;
        let place = reader.before_time(time).await?;
        Ok(if place == reader.head { tip } else { place })
    }

    /// A reader of a channel that the feed knows, and how far the feed has come on it. A replica that lags behind may
    /// know of nothing so young, though a client that has just published does: what was seen of the stream counts too.
    fn reader_of<'a>(&'a self, interest: &'a Interest) -> Result<(Reader<'a>, u64), BrokerError> {
        let Some(durable) = &interest.durable else {
            return Err(BrokerError::Stopped);
        };
        let tip = interest.place().map_or(0, |place| place.tip);
        let reader = Reader {
            wire: self.wire(),
            target: Target {
                channel: interest.channel(),
                subject: &durable.subject,
                prefix: &interest.terms.prefix,
                stream: &durable.timeline.stream,
                trace: interest.terms.trace,
            },
            deadline: Instant::now() + READ_TIMEOUT,
            limit: durable.timeline.limit(),
            head: interest.stream_reached().max(tip),
            newest: None,
        };
        Ok((reader, tip))
    }
}

impl Reader<'_> {
    /// The offset behind which the last `count` publications of the channel lie; 0 if there are no more.
    pub(super) async fn before_last(&self, count: u64) -> Result<u64, BrokerError> {
        if count == 0 {
            return Ok(self.head);
        }
        let place = self
            .search(1, (self.head + 1, 0), Wanted::Exactly(count), 1)
            .await?;
        let first = place.got.messages.first().and_then(jetstream::sequence);
        Ok(first
            .filter(|_| place.count >= count)
            .map_or(0, |first| first - 1))
    }

    /// The offset behind which what was stored at `time` or later lies.
    pub(super) async fn before_time(&self, time: &Timestamp) -> Result<u64, BrokerError> {
        loop {
            let request = Get {
                start_time: Some(time.as_str()),
                ..self.request(1)
            };
            let got = self.ask(request).await?;
            if let Some(first) = got.messages.first().and_then(jetstream::sequence) {
                return Ok(first - 1);
            }
            // Perhaps it was a replica that lags behind: what the newest says counts.
            let page = self.newest(Cursor::From(0), self.head + 1, 1).await?;
            let Some(newest) = page.publications.back() else {
                return Ok(self.head);
            };
            let got = self.get(newest.offset.get(), 1).await?;
            let stored = got
                .messages
                .first()
                .and_then(|first| first.headers().last("Nats-Time-Stamp"));
            let stored = stored.and_then(|stored| std::str::from_utf8(stored).ok());
            if stored.is_some_and(|stored| !epoch::is_at_or_after(stored, time)) {
                return Ok(self.head);
            }
            sleep(LAG_PAUSE).await;
        }
    }

    /// A place from which on there are about as many publications before `end` as are wanted, or `floor` if there are
    /// less. So many of the channel lie `beyond` the end.
    pub(super) async fn search(
        &self,
        floor: u64,
        (end, beyond): (u64, u64),
        wanted: Wanted,
        batch: usize,
    ) -> Result<Place, BrokerError> {
        let (least, most) = match wanted {
            Wanted::About(wanted) => (wanted, 2 * wanted),
            Wanted::Exactly(wanted) => (wanted, wanted),
        };
        // From `high` on there are too few; from `low` on, once it is known, too many.
        let (mut high, mut low) = ((end, 0), None::<Place>);
        let mut guess = end.saturating_sub(least.saturating_add(least / 4)).max(floor);
        for attempt in 0_u32.. {
            let got = self.get(guess, batch).await?;
            let count = (got.messages.len() as u64 + got.pending).saturating_sub(beyond);
            let place = Place {
                from: guess,
                count,
                got,
            };
            if (least..=most).contains(&count) || (count < least && guess == floor) {
                return Ok(place);
            }
            if count < least {
                high = (guess, count);
            } else {
                low = Some(place);
            }
            guess = match &low {
                None => {
                    let width = end - guess;
                    // Where nothing is, nothing tells how far the next one lies.
                    let leap = match count {
                        0 => LEAP,
                        count => (2 * least).div_ceil(count).clamp(2, LEAP),
                    };
                    guess
                        .min(end.saturating_sub(width.saturating_mul(leap)))
                        .max(floor)
                }
                Some(place) => {
                    let first = place.got.messages.first().and_then(jetstream::sequence);
                    let from = first.map_or(place.from, |first| first.max(place.from));
                    match between((from, place.count), high, least + (most - least) / 2, attempt) {
                        Some(guess) => guess,
                        // Publications came or went meanwhile: rather some too many.
                        None => break,
                    }
                }
            };
        }
        low.ok_or(BrokerError::Stopped)
    }
}

/// A place between one with too many publications and one with too few: where it would lie if they were evenly spread,
/// every other time half way, in case they are not. Nothing if there is none between them.
fn between(low: (u64, u64), high: (u64, u64), wanted: u64, attempt: u32) -> Option<u64> {
    let width = high.0.checked_sub(low.0).filter(|width| *width > 1)?;
    let (more, missing) = (low.1.saturating_sub(high.1).max(1), wanted.saturating_sub(high.1));
    let back = if attempt.is_multiple_of(2) {
        width / 2
    } else {
        let back = u128::from(width) * u128::from(missing) / u128::from(more);
        u64::try_from(back).unwrap_or(width)
    };
    Some(high.0 - back.clamp(1, width - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_always_lies_between_the_two_places() {
        for attempt in 0..2 {
            assert_eq!(between((5, 100), (6, 0), 10, attempt), None);
            assert_eq!(between((5, 100), (7, 0), 10, attempt), Some(6));
            for wanted in [0, 1, 50, 99, 100, 1000] {
                let guess = between((10, 100), (1000, 3), wanted, attempt).expect("a guess");
                assert!(guess > 10 && guess < 1000, "{guess}");
            }
        }
        assert_eq!(between((0, 100), (1000, 0), 10, 1), Some(900));
        assert_eq!(between((0, u64::MAX), (1 << 53, 0), 1, 1), Some((1 << 53) - 1));
    }
}
