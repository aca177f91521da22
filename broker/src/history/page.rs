//! Pages of what a durable channel stores, for those who ask without a subscription.
//!
//! A barrier tells how far the stream has come; a page is what is stored up to there, whatever is published meanwhile,
//! so that a subscription behind it goes on without a gap or a double. Any replica may answer a read: where one ends,
//! it is proven that there is no more (see `reader`).
//!
//! NATS selects the publications, of a pattern too: unlike a client that catches up, who reads a page may want a hundred
//! publications of a small part of a large stream. What a range lacks is told to who gave the position that it starts
//! behind; who asks for what there is lacks nothing.

use tailwater_protocol::command::{self, Order};
use tailwater_protocol::limits::DEFAULT_HISTORY_LIMIT;
use tailwater_protocol::position::{Epoch, Offset, Position, Since};
use tailwater_protocol::push::LostReason;
use tailwater_protocol::reply::{self, Gap};
use tokio::time::{Instant, timeout_at};

use super::reader::{Page, Reader, Target};
use super::{Cursor, History, READ_TIMEOUT, judge};
use crate::connection::Connection;
use crate::epoch;
use crate::error::BrokerError;
use crate::feed::{Known, Terms};
use crate::jetstream;

/// What is asked for: what lies behind `after` and before `end`.
struct Range {
    after: Cursor,
    end: u64,
    /// A cursor meant nothing in this stream, and was left out of account.
    is_foreign: bool,
}

impl History {
    /// A page of a durable channel. `known` is what the feed knows of the stream; `connection` is used if the stream
    /// has forgotten its epoch.
    ///
    /// A cursor of another epoch, or of a place that the stream has not come to, is left out of account, as if the
    /// channel were read from its oldest or its newest publication; the page says so in `lost`.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] if it takes more than five seconds, else what keeps NATS from answering.
    pub async fn page(
        &self,
        connection: &Connection,
        known: &Known,
        terms: &Terms,
        asked: &command::History,
    ) -> Result<reply::History, BrokerError> {
        let Some(stream) = &terms.stream else {
            return Err(BrokerError::Stopped);
        };
        let target = Target {
            channel: &asked.channel,
            subject: &terms.prefix.subject(&asked.channel),
            prefix: &terms.prefix,
            stream,
            trace: terms.trace,
        };
        let deadline = Instant::now() + READ_TIMEOUT;
        let work = async {
            // One turn for the whole page: what a page holds while it is made is bounded too.
            let _turn = self.turn().await?;
            let (reader, epoch) = self.reader(connection, known, target, deadline).await?;
            answer(&reader, asked, epoch).await
        };
        let worked = timeout_at(deadline, work).await;
        worked.unwrap_or(Err(BrokerError::Unavailable {
            timeout: READ_TIMEOUT,
        }))
    }

    /// Finds out how far the stream has come, in which epoch, and where an exact channel ends.
    async fn reader<'a>(
        &'a self,
        connection: &Connection,
        known: &Known,
        target: Target<'a>,
        deadline: Instant,
    ) -> Result<(Reader<'a>, Epoch), BrokerError> {
        let (wire, stream) = (self.wire(), target.stream);
        let is_exact = !target.channel.is_wildcard();
        let subject = [target.subject.as_str()];
        let subjects = if is_exact { &subject[..] } else { &[] };
        let head = jetstream::barrier(wire, stream, READ_TIMEOUT).await?;
        let heads = jetstream::heads(wire, stream, subjects, head, READ_TIMEOUT).await?;
        let epoch = match heads.epoch {
            Some(epoch) => epoch,
            // The stream's limits have removed it.
            None => epoch::refresh(connection, stream, &known.epoch).await?,
        };
        let newest = heads.messages.first().and_then(jetstream::sequence).unwrap_or(0);
        let reader = Reader {
            wire,
            target,
            deadline,
            limit: known.limit,
            head,
            // Without the sync message an empty answer proves nothing.
            newest: (is_exact && heads.upto >= head).then_some(newest),
        };
        Ok((reader, epoch))
    }
}

async fn answer(
    reader: &Reader<'_>,
    asked: &command::History,
    epoch: Epoch,
) -> Result<reply::History, BrokerError> {
    let range = range(reader, asked, &epoch).await?;
    let limit = asked.limit.map_or(DEFAULT_HISTORY_LIMIT, std::num::NonZero::get);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut page = if range.after.offset() + 1 >= range.end {
        Page::default()
    } else if asked.order == Order::Newest {
        reader.newest(range.after, range.end, limit).await?
    } else {
        reader.oldest(range.after, range.end, limit).await?
    };
    let lost = if range.is_foreign {
        Some(gap(None, LostReason::EpochChanged))
    } else {
        let lost = lost(reader, &range, asked.order, &page).await?;
        lost.map(|lost| gap(Some(lost), LostReason::Trimmed))
    };
    let (first, last) = (page.publications.front(), page.publications.back());
    let next = if asked.order == Order::Newest { first } else { last };
    let next = next.map(|publication| publication.offset).filter(|_| page.more);
    if asked.order == Order::Newest {
        page.publications.make_contiguous().reverse();
    }
    Ok(reply::History {
        channel: asked.channel.clone(),
        epoch,
        upto: reader.head()?,
        publications: page.publications.into(),
        next,
        lost,
    })
}

/// What the cursors of a command mean in the stream as it is now.
async fn range(reader: &Reader<'_>, asked: &command::History, epoch: &Epoch) -> Result<Range, BrokerError> {
    let behind_all = reader.head + 1;
    let known = |position: &Position, last: u64| {
        Some(position.offset.get()).filter(|offset| position.epoch == *epoch && *offset <= last)
    };
    let since = match &asked.since {
        Some(Since::Position(position)) => known(position, reader.head).map(Cursor::Had),
        None | Some(Since::Beginning) => Some(Cursor::From(0)),
        Some(Since::Last(count)) => Some(Cursor::From(reader.before_last(u64::from(*count)).await?)),
        Some(Since::Time(time)) => Some(Cursor::From(reader.before_time(time).await?)),
    };
    let before = match &asked.before {
        None => Some(behind_all),
        // One further than the last is what a client writes that wants the last.
        Some(position) => known(position, behind_all),
    };
    Ok(Range {
        after: since.unwrap_or(Cursor::From(0)),
        end: before.unwrap_or(behind_all),
        is_foreign: since.is_none() || before.is_none(),
    })
}

/// What is missing in the part of the range that the page covers; told only to who gave the position before it.
async fn lost(
    reader: &Reader<'_>,
    range: &Range,
    order: Order,
    page: &Page,
) -> Result<Option<judge::Range>, BrokerError> {
    let Cursor::Had(at) = range.after else {
        return Ok(None);
    };
    if at + 1 >= range.end {
        return Ok(None);
    }
    let first = page.publications.front().map(|first| first.offset.get());
    let last = page.publications.back().map(|last| last.offset.get());
    let from_start = order == Order::Oldest || !page.more;
    let to = match last {
        Some(last) if order == Order::Oldest && page.more => last,
        _ => range.end - 1,
    };
    let is_pattern = reader.target.channel.is_wildcard();
    if from_start && (is_pattern || !(page.anchored || first == Some(at + 1))) {
        // What lies before the oldest of the stream is gone, and of a pattern perhaps more behind it.
        let oldest = judge::oldest(reader.wire, reader.target.stream).await?;
        if let Some((from, gone)) = judge::before(oldest, at, to) {
            let more = if is_pattern {
                reader.missing(gone + 1, to).await?
            } else {
                None
            };
            return Ok(Some((from, more.map_or(gone, |(_, more)| more))));
        }
    }
    if is_pattern {
        let from = if from_start {
            at + 1
        } else {
            first.unwrap_or(at + 1)
        };
        return reader.missing(from, to).await;
    }
    // As many as are kept of a channel: older ones may have made room.
    let full = reader.limit.is_some_and(|limit| page.behind >= limit);
    let first = first.unwrap_or(to + 1);
    let is_hole = from_start && !page.anchored && first > at + 1;
    Ok((full && is_hole).then_some((at + 1, first - 1)))
}

fn gap(range: Option<judge::Range>, reason: LostReason) -> Gap {
    Gap {
        from: range.and_then(|(from, _)| Offset::new(from).ok()),
        to: range.and_then(|(_, to)| Offset::new(to).ok()),
        count: None,
        reason,
    }
}
