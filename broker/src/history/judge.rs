//! Whether something is missing between a client's cursor and what was read: publications that the stream's limits have
//! removed. Where it cannot be known, it is said: a client is never told less than what it lacks.

use std::time::Duration;

use super::Cursor;
use super::spans::{Source, Span};
use crate::error::BrokerError;
use crate::feed::Interest;
use crate::jetstream::{self, Get};
use crate::stream::Stream;
use crate::wire::Wire;

/// How long the stream is asked for its oldest message.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A range of offsets, both ends included.
pub(super) type Range = (u64, u64);

/// What is missing, as far as the span alone tells: outer nothing if it does not.
pub(super) fn at_hand(interest: &Interest, span: &Span, cursor: Cursor) -> Option<Option<Range>> {
    let at = cursor.offset();
    match (&span.source, cursor) {
        (Source::Live, _) => Some(None),
        (Source::Stored { gaps, .. }, _) if interest.channel().is_wildcard() => Some(missing(gaps, cursor)),
        (_, Cursor::From(_)) => Some(None),
        // What is removed is the oldest: as long as the client's own last publication is there, all behind it is.
        (_, Cursor::Had(_)) => {
            let next = span.first_behind(at);
            (span.contains(at) || next == Some(at + 1)).then_some(None)
        }
    }
}

/// Of a pattern: one range around all sequences that are missing behind the cursor.
fn missing(gaps: &[Range], cursor: Cursor) -> Option<Range> {
    let at = cursor.offset();
    let mut behind = gaps.iter().filter(|(_, to)| *to > at).copied();
    let first = behind.next()?;
    let last = behind.next_back().unwrap_or(first);
    // What a reader from the oldest on lacks at its start it did not ask for.
    let first = match cursor {
        Cursor::From(_) if first.0 <= at + 1 => gaps.iter().copied().find(|(from, _)| *from > at + 1)?,
        _ => first,
    };
    Some((first.0.max(at + 1), last.1))
}

/// What is missing, after asking the stream where the span does not tell.
pub(super) async fn against_stream(
    wire: &Wire<()>,
    interest: &Interest,
    span: &Span,
    cursor: Cursor,
) -> Result<Option<Range>, BrokerError> {
    if let Some(known) = at_hand(interest, span, cursor) {
        return Ok(known);
    }
    let at = cursor.offset();
    let first = span.first_behind(at).unwrap_or(span.to + 1);
    let oldest = oldest_of(wire, interest).await?;
    // What was read is not missing, though it may be gone by now.
    if let Some(gone) = before(oldest, at, first - 1) {
        return Ok(Some(gone));
    }
    let durable = interest.durable.as_ref();
    let limit = durable.and_then(|durable| durable.timeline.limit());
    let pending = match &span.source {
        Source::Stored { pending, .. } => *pending,
        Source::Live => 0,
    };
    // As many as are kept of a subject: older ones may have made room.
    let full = limit.is_some_and(|limit| span.count_behind(at) + pending >= limit);
    Ok((full && first > at + 1).then_some((at + 1, first - 1)))
}

/// What is missing if nothing is stored behind the cursor although the channel has come to `goal`.
pub(super) async fn without_rest(
    wire: &Wire<()>,
    interest: &Interest,
    cursor: Cursor,
    goal: u64,
) -> Result<Option<Range>, BrokerError> {
    let Cursor::Had(at) = cursor else {
        return Ok(None);
    };
    if interest.channel().is_wildcard() {
        return Ok(Some((at + 1, goal)));
    }
    let oldest = oldest_of(wire, interest).await?;
    Ok(before(oldest, at, goal))
}

/// The part behind `at` that lies before the oldest message of the stream.
pub(super) fn before(oldest: Option<u64>, at: u64, to: u64) -> Option<Range> {
    let oldest = oldest.unwrap_or(to + 1);
    (oldest > at + 1).then(|| (at + 1, (oldest - 1).min(to.max(at + 1))))
}

/// The sequence of the oldest message in the stream.
pub(super) async fn oldest(wire: &Wire<()>, stream: &Stream) -> Result<Option<u64>, BrokerError> {
    let request = Get {
        seq: Some(1),
        batch: 1,
        ..Get::default()
    };
    let got = jetstream::get(wire, stream, &request, TIMEOUT).await?;
    Ok(got.messages.first().and_then(jetstream::sequence))
}

/// As [`oldest`], of the stream of a channel.
async fn oldest_of(wire: &Wire<()>, interest: &Interest) -> Result<Option<u64>, BrokerError> {
    match &interest.durable {
        Some(durable) => oldest(wire, &durable.timeline.stream).await,
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_from_a_pattern_behind_the_cursor_is_one_range() {
        let gaps = [(3, 5), (9, 9), (20, 30)];
        assert_eq!(missing(&gaps, Cursor::Had(0)), Some((3, 30)));
        assert_eq!(missing(&gaps, Cursor::Had(4)), Some((5, 30)));
        assert_eq!(missing(&gaps, Cursor::Had(9)), Some((20, 30)));
        assert_eq!(missing(&gaps, Cursor::Had(30)), None);
        assert_eq!(missing(&[], Cursor::Had(0)), None);
        assert_eq!(missing(&[(3, 5)], Cursor::Had(0)), Some((3, 5)));
    }

    #[test]
    fn a_reader_from_the_oldest_on_lacks_nothing_before_it() {
        assert_eq!(missing(&[(1, 8)], Cursor::From(0)), None);
        assert_eq!(missing(&[(1, 8), (12, 12)], Cursor::From(0)), Some((12, 12)));
        assert_eq!(missing(&[(5, 8)], Cursor::From(0)), Some((5, 8)));
    }

    #[test]
    fn what_lies_before_the_oldest_message_is_missing() {
        assert_eq!(before(Some(1), 0, 10), None);
        assert_eq!(before(Some(5), 4, 10), None);
        assert_eq!(before(Some(6), 4, 10), Some((5, 5)));
        assert_eq!(before(None, 4, 10), Some((5, 10)));
    }
}
