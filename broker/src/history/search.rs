//! Places in a durable channel that are given by a count or a time, and the last values.

use tailwater_protocol::batch::{Batch, BatchBuilder};
use tailwater_protocol::codec::Codec;
use tailwater_protocol::limits::MAX_LATEST_SUBJECTS;
use tailwater_protocol::timestamp::Timestamp;
use tokio::time::Instant;

use super::page::{Reader, Target};
use super::{History, READ_TIMEOUT};
use crate::error::BrokerError;
use crate::feed::Interest;
use crate::jetstream::{self, Get, Got};
use crate::publication::{Publication, TimeText};

/// Bytes of last values that are sent at once.
const LATEST_BYTES: usize = 8 * 1024 * 1024;

/// Far more than it takes to find a place among 2^53 by halving.
const ATTEMPTS: usize = 128;

/// The last value of each subject of a channel.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The values, by offset.
    pub batch: Batch,
    /// They are the last ones up to here.
    pub upto: u64,
}

/// The first publication from some sequence on, and how many there are from it on.
struct Found {
    sequence: u64,
    count: u64,
}

impl History {
    /// The last value of each subject of a channel that has come to `tip`; subjects whose last value was deleted are
    /// left out.
    ///
    /// # Errors
    /// [`BrokerError::TooManySubjects`] if a pattern has more than 1,000, [`BrokerError::ReplyTooLarge`] if they come to
    /// more than 8 MiB; else what keeps NATS from answering.
    pub async fn latest(&self, interest: &Interest, codec: Codec, tip: u64) -> Result<Latest, BrokerError> {
        let Some(durable) = &interest.durable else {
            return Err(BrokerError::Stopped);
        };
        let too_many = BrokerError::TooManySubjects {
            limit: MAX_LATEST_SUBJECTS,
        };
        let stream = &durable.timeline.stream;
        let subject = [durable.subject.as_str()];
        let heads = match jetstream::heads(self.wire(), stream, &subject, tip, READ_TIMEOUT).await {
            Err(error) if jetstream::is_too_many(&error) => return Err(too_many),
            heads => heads?,
        };
        if heads.upto < tip {
            // A replica that has nothing at all does not say how fresh it is.
            return Err(BrokerError::Unavailable {
                timeout: READ_TIMEOUT,
            });
        }
        if heads.messages.len() > MAX_LATEST_SUBJECTS {
            return Err(too_many);
        }
        let mut builder = BatchBuilder::new(codec);
        for publication in heads.messages.iter().filter_map(Publication::of) {
            if publication.deleted().is_none() {
                let prefix = &interest.terms.prefix;
                builder.push(&publication.update(interest.channel(), prefix, &mut TimeText::default()));
            }
            if builder.byte_len() > LATEST_BYTES {
                return Err(BrokerError::ReplyTooLarge { limit: LATEST_BYTES });
            }
        }
        Ok(Latest {
            batch: builder.finish(),
            upto: heads.upto.max(tip),
        })
    }

    /// The offset behind which the last `count` publications of a channel lie; 0 if there are no more.
    ///
    /// # Errors
    /// What keeps NATS from answering.
    pub async fn before_last(&self, interest: &Interest, count: u32) -> Result<u64, BrokerError> {
        let wanted = u64::from(count);
        let tip = interest.place().map_or(0, |place| place.tip);
        if wanted == 0 {
            return Ok(tip);
        }
        let Some(mut low) = self.first_from(interest, 1).await? else {
            return Ok(0);
        };
        if low.count <= wanted {
            return Ok(0);
        }
        // From `low` on there are too many, from `high` on too few.
        let mut high = interest.stream_reached().max(tip) + 1;
        for attempt in 0..ATTEMPTS {
            let width = high.saturating_sub(low.sequence);
            if width <= 1 {
                break;
            }
            // Where it would lie if publications were evenly spread; every other time half way, in case they are not.
            let share = if attempt % 2 == 0 {
                wanted as f64 / low.count as f64
            } else {
                0.5
            };
            let back = (width as f64 * share).ceil().clamp(1.0, (width - 1) as f64);
            let guess = high - to_sequence(back);
            match self.first_from(interest, guess).await? {
                Some(found) if found.count == wanted => return Ok(found.sequence - 1),
                Some(found) if found.count > wanted => low = found,
                _ => high = guess,
            }
        }
        // Publications came or went meanwhile: rather some too many.
        Ok(low.sequence - 1)
    }

    /// The offset behind which what was stored at `time` or later lies.
    ///
    /// # Errors
    /// What keeps NATS from answering.
    pub async fn before_time(&self, interest: &Interest, time: &Timestamp) -> Result<u64, BrokerError> {
        let Some(durable) = &interest.durable else {
            return Err(BrokerError::Stopped);
        };
        let _turn = self.turn().await?;
        let reader = Reader {
            wire: self.wire(),
            target: Target {
                channel: interest.channel(),
                subject: &durable.subject,
                prefix: &interest.terms.prefix,
                stream: &durable.timeline.stream,
            },
            deadline: Instant::now() + READ_TIMEOUT,
            head: interest.place().map_or(0, |place| place.tip),
            newest: None,
        };
        // A replica that lags behind may know of nothing so young, though a client that has just published does.
        reader.before_time(time).await
    }

    async fn first_from(&self, interest: &Interest, sequence: u64) -> Result<Option<Found>, BrokerError> {
        let request = Get {
            seq: Some(sequence),
            batch: 1,
            ..Get::default()
        };
        let got = self.get_of(interest, request).await?;
        let first = got.messages.first().and_then(jetstream::sequence);
        Ok(first.map(|sequence| Found {
            sequence,
            count: got.pending + 1,
        }))
    }

    /// Asks for publications of one channel.
    async fn get_of(&self, interest: &Interest, request: Get<'_>) -> Result<Got, BrokerError> {
        let Some(durable) = &interest.durable else {
            return Err(BrokerError::Stopped);
        };
        let _turn = self.turn().await?;
        let request = Get {
            next_by_subj: Some(durable.subject.as_str()),
            ..request
        };
        jetstream::get(self.wire(), &durable.timeline.stream, &request, READ_TIMEOUT).await
    }
}

/// A whole number of sequences, far below 2^53.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller keeps it between 1 and a difference of two sequences"
)]
fn to_sequence(value: f64) -> u64 {
    value as u64
}
