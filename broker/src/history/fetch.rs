//! One read of the stream, encoded for the subscribers of one channel.

use std::time::Duration;

use tailwater_protocol::batch::{BatchBuilder, subject_hash};
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::push::UpdateRef;

use super::spans::{Source, Span};
use crate::error::BrokerError;
use crate::feed::Interest;
use crate::jetstream::{self, Get};
use crate::publication::{Publication, TimeText};
use crate::wire::Wire;

/// Sequences between two bounds at which reads of an exact channel start. A read brings at most as many publications.
const EXACT: u64 = 256;

/// As [`EXACT`], for a pattern, which is read with everything else in the stream: filtering there costs NATS more.
const PATTERN: u64 = 1024;

/// Where a read for what lies behind `at` starts: one before a fixed bound, so that it can be seen whether the client's
/// own last publication is still there.
pub(super) fn bound(interest: &Interest, at: u64) -> u64 {
    let width = width(interest);
    ((at + 1) / width * width).saturating_sub(1).max(1)
}

fn width(interest: &Interest) -> u64 {
    if interest.channel().is_wildcard() {
        PATTERN
    } else {
        EXACT
    }
}

/// Reads from sequence `start` on, as much as one answer holds. The span ends where the answer does.
pub(super) async fn fetch(
    wire: &Wire<()>,
    interest: &Interest,
    encoding: Encoding,
    start: u64,
    within: Duration,
) -> Result<Span, BrokerError> {
    let mut span = Span {
        from: start - 1,
        to: start - 1,
        batch: BatchBuilder::new(encoding).finish(),
        source: Source::Stored {
            gaps: Vec::new(),
            pending: 0,
        },
    };
    let Some(durable) = &interest.durable else {
        return Ok(span);
    };
    // Before the read: if the stream begins anew meanwhile, the caller throws away what was read.
    let epoch = durable.timeline.life().epoch;
    let channel = interest.channel();
    let batch = usize::try_from(width(interest) + 1).unwrap_or(usize::MAX);
    let request = Get {
        seq: Some(start),
        next_by_subj: (!channel.is_wildcard()).then(|| durable.subject.as_str()),
        batch,
        ..Get::default()
    };
    let got = jetstream::get(wire, &durable.timeline.stream, &request, within).await?;
    let prefix = &interest.terms.prefix;
    let mut builder = BatchBuilder::new(encoding);
    let mut gaps = Vec::new();
    let mut expected = start;
    for message in &got.messages {
        let Some(offset) = jetstream::sequence(message) else {
            continue;
        };
        if channel.is_wildcard() && offset > expected {
            gaps.push((expected, offset - 1));
        }
        expected = offset + 1;
        let publication = Publication::of(message);
        let name = publication
            .as_ref()
            .and_then(|publication| publication.channel(prefix));
        if let Some(publication) = &publication
            && name.is_some_and(|name| channel.matches(name))
        {
            // As the feed tells subjects apart, so that what it has passed on is known again.
            let subject = subject_hash(publication.subject);
            let mut time = TimeText::default();
            let update = UpdateRef {
                epoch: Some(&epoch),
                trace: interest.terms.trace.then(|| publication.trace()).flatten(),
                ..publication.update(channel, prefix, &mut time)
            };
            builder.push_as(&update, subject);
        }
        span.to = offset;
    }
    let batch = builder.finish();
    // Without the memory that was reserved for more: it may stay in the ring for long.
    span.batch = batch.part(0..batch.len());
    span.source = Source::Stored {
        gaps,
        pending: got.pending,
    };
    Ok(span)
}
