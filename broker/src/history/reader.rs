//! Reads of one channel, for a page and to find a place.
//!
//! A replica that lags behind answers as if its last message were the last: an answer that ends the channel counts only
//! once a replica that has come as far as the barrier has nothing behind it either.
//!
//! Direct get reads forwards alone, so the newest are read from a place that is searched first (see `place`).

use std::collections::VecDeque;
use std::time::Duration;

use tailwater_protocol::channel::Channel;
use tailwater_protocol::payload::Payload;
use tailwater_protocol::position::Offset;
use tailwater_protocol::reply::Publication;
use tokio::time::{Instant, sleep};

use super::place::Wanted;
use super::{Cursor, LAG_PAUSE, READ_TIMEOUT, judge};
use crate::error::BrokerError;
use crate::jetstream::{self, Get, Got};
use crate::publication::{self, TimeText};
use crate::stream::Stream;
use crate::subject::{Subject, SubjectPrefix};
use crate::wire::Wire;

/// Payloads of one page, in bytes; a publication of any size still comes alone.
const PAGE_BYTES: usize = 512 * 1024;

/// Payloads that are read for one page of the newest, before it is made smaller.
const READ_BYTES: usize = 2 * 1024 * 1024;

/// Most publications of one answer.
const BATCH: usize = 1024;

/// Sequences that are looked through for what is missing in a page of a pattern.
const SEARCHED: u64 = 1024;

/// A channel of a durable namespace, which nobody needs to have subscribed to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) channel: &'a Channel,
    /// The channel as the stream's subject, which may have wildcards.
    pub(super) subject: &'a Subject,
    pub(super) prefix: &'a SubjectPrefix,
    pub(super) stream: &'a Stream,
    /// Publications say where they stand in their publisher's trace.
    pub(super) trace: bool,
}

/// Reads one channel of a stream that has come to `head`.
pub(super) struct Reader<'a> {
    pub(super) wire: &'a Wire<()>,
    pub(super) target: Target<'a>,
    pub(super) deadline: Instant,
    /// Publications that the stream keeps of one subject, as far as that is known; `None`: no limit.
    pub(super) limit: Option<u64>,
    /// The stream had come to this sequence when the reader was made.
    pub(super) head: u64,
    /// Of an exact channel: its last sequence in a replica that has come to `head`; 0 if it is empty.
    pub(super) newest: Option<u64>,
}

/// Part of a range.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// By offset.
    pub(super) publications: VecDeque<Publication>,
    /// There may be more in the range.
    pub(super) more: bool,
    /// The publication that the range starts behind is still there.
    pub(super) anchored: bool,
    /// Publications of the channel behind the range's start, if the page has come there.
    pub(super) behind: u64,
    bytes: usize,
}

impl Reader<'_> {
    /// The stream's last offset when the page was asked for.
    pub(super) fn head(&self) -> Result<Offset, BrokerError> {
        Offset::new(self.head).map_err(|_| BrokerError::OffsetTooLarge {
            stream: self.target.stream.name.to_string(),
            sequence: self.head,
        })
    }

    /// The first publications behind `after` and before `end`.
    pub(super) async fn oldest(&self, after: Cursor, end: u64, limit: usize) -> Result<Page, BrokerError> {
        let (at, mut page) = (after.offset(), Page::default());
        let from = start(after);
        let first = self.get(from, limit + 2).await?;
        page.behind = first.messages.len() as u64 + first.pending;
        self.forward(from, end, limit + 2, first, |publication, _| {
            if publication.offset.get() <= at {
                page.anchored = true;
                return true;
            }
            let bytes = page.bytes + publication.payload.byte_len();
            let is_full = page.publications.len() == limit || bytes > PAGE_BYTES;
            page.more = is_full && !page.publications.is_empty();
            if !page.more {
                page.bytes = bytes;
                page.publications.push_back(publication);
            }
            !page.more
        })
        .await?;
        page.behind = page.behind.saturating_sub(u64::from(page.anchored));
        Ok(page)
    }

    /// The last publications behind `after` and before `end`.
    pub(super) async fn newest(&self, after: Cursor, end: u64, limit: usize) -> Result<Page, BrokerError> {
        let (at, floor) = (after.offset(), start(after));
        // One more than the page holds tells whether there are more.
        let mut wanted = limit as u64 + 1;
        let mut beyond = if end > self.head {
            0
        } else {
            self.count_from(end).await?
        };
        loop {
            let place = self
                .search(floor, (end, beyond), Wanted::About(wanted), 2 * limit + 2)
                .await?;
            let average = bytes(&place.got) / place.got.messages.len().max(1) as u64;
            let fits = READ_BYTES as u64 / average.max(1);
            if place.count > fits && wanted > 2 {
                wanted = (wanted / 2).min(fits).max(2);
                continue;
            }
            let mut page = Page {
                behind: place.count + beyond,
                ..Page::default()
            };
            let mut read = 0;
            let finished = self
                .forward(place.from, end, BATCH, place.got, |publication, bytes| {
                    if publication.offset.get() <= at {
                        page.anchored = true;
                        return true;
                    }
                    read += bytes;
                    page.bytes += publication.payload.byte_len();
                    page.publications.push_back(publication);
                    while page.publications.len() > limit
                        || (page.bytes > PAGE_BYTES && page.publications.len() > 1)
                    {
                        let dropped = page.publications.pop_front();
                        page.bytes -= dropped.map_or(0, |dropped| dropped.payload.byte_len());
                        page.more = true;
                    }
                    read <= READ_BYTES || wanted <= 2
                })
                .await?;
            if !finished {
                // Larger towards the end.
                wanted = (wanted / 4).max(2);
                continue;
            }
            if page.publications.is_empty() && place.from > floor {
                // All that was counted has come behind the range's end meanwhile.
                beyond = self.count_from(end).await?;
                continue;
            }
            page.more |= place.from > floor;
            page.behind = page.behind.saturating_sub(u64::from(page.anchored));
            return Ok(page);
        }
    }

    /// Of a pattern: one range around all sequences between `from` and `to` that may have held publications which have
    /// made room for others of their channels.
    pub(super) async fn missing(&self, from: u64, to: u64) -> Result<Option<judge::Range>, BrokerError> {
        if self.limit.is_none() || from > to {
            // Only what is oldest is removed then.
            return Ok(None);
        }
        let sequences = to - from + 1;
        if sequences > SEARCHED {
            return Ok(Some((from, to)));
        }
        let request = Get {
            seq: Some(from),
            batch: BATCH,
            ..Get::default()
        };
        let got = self.ask(request).await?;
        let (mut expected, mut missing) = (from, None);
        for sequence in got.messages.iter().filter_map(jetstream::sequence) {
            if expected <= to && sequence > expected {
                let first = missing.map_or(expected, |(first, _)| first);
                missing = Some((first, to.min(sequence - 1)));
            }
            expected = sequence + 1;
        }
        if expected <= to && got.pending > 0 {
            // Large publications have filled the answer.
            let first = missing.map_or(expected, |(first, _)| first);
            missing = Some((first, to));
        }
        Ok(missing)
    }

    /// Hands on what lies from `from` on and before `end`, until `take` says no or nothing more is there, which is proven
    /// then. `first` is the answer to the first read. Says whether all was taken.
    async fn forward(
        &self,
        mut from: u64,
        end: u64,
        batch: usize,
        first: Got,
        mut take: impl FnMut(Publication, usize) -> bool,
    ) -> Result<bool, BrokerError> {
        let mut got = first;
        loop {
            for message in &got.messages {
                let Some(publication) = publication::Publication::of(message) else {
                    continue;
                };
                let offset = publication.offset.get();
                if offset >= end {
                    return Ok(true);
                }
                from = offset + 1;
                let name = publication.channel(self.target.prefix);
                if !name.is_some_and(|name| self.target.channel.matches(name)) {
                    continue;
                }
                let bytes = message.headers().as_bytes().len() + message.payload.len();
                if !take(self.publication(&publication), bytes) {
                    return Ok(false);
                }
            }
            if from >= end {
                return Ok(true);
            }
            if got.pending == 0 || got.messages.is_empty() {
                if self.ends_before(from).await? {
                    return Ok(true);
                }
                sleep(LAG_PAUSE).await;
            }
            got = self.get(from, batch).await?;
        }
    }

    /// Whether it is certain that nothing was stored from `from` on when the page was asked for.
    async fn ends_before(&self, from: u64) -> Result<bool, BrokerError> {
        if self.newest.is_some_and(|newest| newest < from) {
            return Ok(true);
        }
        let (stream, subject) = (self.target.stream, self.target.subject.as_str());
        let within = self.left()?;
        jetstream::is_nothing_from(self.wire, stream, subject, from, self.head, within).await
    }

    /// How many publications there are from `from` on.
    async fn count_from(&self, from: u64) -> Result<u64, BrokerError> {
        let got = self.get(from, 1).await?;
        Ok(got.messages.len() as u64 + got.pending)
    }

    pub(super) async fn get(&self, from: u64, batch: usize) -> Result<Got, BrokerError> {
        let request = Get {
            seq: Some(from.max(1)),
            ..self.request(batch.min(BATCH))
        };
        self.ask(request).await
    }

    pub(super) fn request(&self, batch: usize) -> Get<'_> {
        Get {
            next_by_subj: Some(self.target.subject.as_str()),
            batch,
            ..Get::default()
        }
    }

    pub(super) async fn ask(&self, request: Get<'_>) -> Result<Got, BrokerError> {
        jetstream::get(self.wire, self.target.stream, &request, self.left()?).await
    }

    fn left(&self) -> Result<Duration, BrokerError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let late = BrokerError::Unavailable {
            timeout: READ_TIMEOUT,
        };
        if left.is_zero() { Err(late) } else { Ok(left) }
    }

    fn publication(&self, stored: &publication::Publication<'_>) -> Publication {
        let payload = stored.payload();
        let subject = stored.channel(self.target.prefix).map(str::to_owned);
        let mut time = TimeText::default();
        Publication {
            offset: stored.offset,
            // Valid JSON by its kind; if the two readers of JSON ever disagree, it is given as bytes.
            payload: payload
                .to_payload()
                .unwrap_or_else(|_| Payload::Binary(bytes::Bytes::copy_from_slice(stored.bytes()))),
            subject: subject.filter(|_| self.target.channel.is_wildcard()),
            time: stored.time(&mut time).map(str::to_owned),
            trace: self
                .target
                .trace
                .then(|| stored.trace())
                .flatten()
                .map(str::to_owned),
            deleted: stored.deleted(),
        }
    }
}

/// Where a read starts: at the client's own last publication, to see whether it is still there.
fn start(after: Cursor) -> u64 {
    match after {
        Cursor::Had(at) => at.max(1),
        Cursor::From(at) => at + 1,
    }
}

/// Bytes of an answer.
fn bytes(got: &Got) -> u64 {
    let sizes = got
        .messages
        .iter()
        .map(|message| message.payload.len() + message.headers().as_bytes().len());
    sizes.sum::<usize>() as u64
}
