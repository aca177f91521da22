//! The last value of each subject of a durable channel.

use tailwater_protocol::batch::{Batch, BatchBuilder};
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::limits::MAX_LATEST_SUBJECTS;
use tailwater_protocol::push::UpdateRef;

use super::{History, READ_TIMEOUT};
use crate::error::BrokerError;
use crate::feed::Interest;
use crate::jetstream;
use crate::publication::{Publication, TimeText};

/// Bytes of last values that are sent at once.
const LATEST_BYTES: usize = 8 * 1024 * 1024;

/// The last value of each subject of a channel.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The values, by offset.
    pub batch: Batch,
    /// They are the last ones up to here.
    pub upto: u64,
}

impl History {
    /// The last value of each subject of a channel that has come to `tip`; subjects whose last value was deleted are
    /// left out.
    ///
    /// # Errors
    /// [`BrokerError::TooManySubjects`] if a pattern has more than 1,000, [`BrokerError::ReplyTooLarge`] if they come to
    /// more than 8 MiB; else what keeps NATS from answering.
    pub async fn latest(
        &self,
        interest: &Interest,
        encoding: Encoding,
        tip: u64,
    ) -> Result<Latest, BrokerError> {
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
        let mut builder = BatchBuilder::new(encoding);
        for publication in heads.messages.iter().filter_map(Publication::of) {
            if publication.deleted().is_none() {
                let (terms, mut time) = (&interest.terms, TimeText::default());
                builder.push(&UpdateRef {
                    trace: terms.trace.then(|| publication.trace()).flatten(),
                    ..publication.update(interest.channel(), &terms.prefix, &mut time)
                });
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
}
