//! Begins a durable subscription: where it is to go on from, whether something is missing there, and the answer.

use std::rc::Rc;
use std::time::Duration;

use tailwater_broker::BrokerError;
use tailwater_broker::feed::{Membership, Terms};
use tailwater_broker::history::{Cursor, Latest, Origin};
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::Subscribe;
use tailwater_protocol::encoding::Encoding;
use tailwater_protocol::error::{ErrorCode, ErrorMessage};
use tailwater_protocol::message::ServerMessage;
use tailwater_protocol::position::{Epoch, Offset, Since};
use tailwater_protocol::push::{Lost, LostReason, Push};
use tailwater_protocol::reply::{Reply, Subscribed};
use tokio::time::timeout;

use super::behind::{Behind, Fed};
use super::commands::{answer, broker_error};
use super::places::Standing;
use super::recovery::lost_push;
use super::{Session, Subscription, state};
use crate::hub::position;
use crate::metrics::meters::{Label as _, Recovery};
use crate::telemetry::traces::Span;
use crate::worker::Worker;

/// How long NATS is given to say what is missing.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Subscribes to a durable channel.
///
/// # Errors
/// What the client is told instead; it holds no subscription then.
pub(super) async fn subscribe(
    session: &Rc<Session>,
    worker: &Rc<Worker>,
    id: Option<u32>,
    subscribe: Subscribe,
    terms: &Terms,
    span: &Span,
) -> Result<(), ErrorMessage> {
    let channel = &subscribe.channel;
    let failed = |error: BrokerError| broker_error(&error, channel);
    let joined = worker
        .feed()
        .join(worker.index(), session.encoding, channel, terms)
        .await;
    let refused = |_: &ErrorMessage| {
        if subscribe.since.is_some() {
            worker.meters().recoveries.of(Recovery::Refused).add(1);
        }
    };
    let membership = joined.map_err(failed).inspect_err(refused)?;
    let prepared = timeout(TIMEOUT, prepare(worker, &membership, &subscribe)).await;
    let (mut start, latest) = prepared
        .map_err(|_| failed(BrokerError::Unavailable { timeout: TIMEOUT }))?
        .map_err(|error| match error {
            BrokerError::TooManySubjects { limit } => {
                let message = format!(
                    "`{channel}` has more than {limit} subjects: ask for `latest` of a narrower pattern"
                );
                state::refusal(ErrorCode::Limit, message, Some(channel))
            }
            BrokerError::ReplyTooLarge { limit } if subscribe.latest => {
                let message = format!(
                    "the last values of `{channel}` come to more than {limit} bytes: ask for `latest` of a narrower pattern"
                );
                state::refusal(ErrorCode::Limit, message, Some(channel))
            }
            error => failed(error),
        })
        .inspect_err(refused)?;
    if start.recovered.is_some() {
        start.resume = worker.tracer().follow("resume", span);
    }
    // From here on in one step: nothing can come between the answer and the place in the audience.
    session.together(|| enter(session, worker, id, channel, membership, start, latest.as_ref()));
    Ok(())
}

/// Finds out where to begin, again if the stream begins anew meanwhile.
async fn prepare(
    worker: &Worker,
    membership: &Membership,
    subscribe: &Subscribe,
) -> Result<(Start, Option<Latest>), BrokerError> {
    let interest = membership.interest();
    loop {
        let mut start = start(worker, membership, subscribe.since.as_ref()).await?;
        let latest = if subscribe.latest {
            let latest = worker
                .history()
                .latest(interest, membership.encoding(), start.tip)
                .await?;
            start.cursor = Cursor::Had(latest.upto);
            Some(latest)
        } else {
            None
        };
        if interest.place().is_some_and(|place| place.life == start.life) {
            return Ok((start, latest));
        }
    }
}

fn enter(
    session: &Rc<Session>,
    worker: &Worker,
    id: Option<u32>,
    channel: &Channel,
    membership: Membership,
    mut start: Start,
    latest: Option<&Latest>,
) {
    let subscribed = ServerMessage::reply(id, Reply::Subscribed(start.answer(channel)));
    // Who loses an event stream before the last values are all there is to get them again.
    let encoding = match latest {
        Some(_) if session.encoding.is_events() => Encoding::EVENTS,
        _ => session.encoding,
    };
    session.push_message(encoding.encode(&subscribed));
    if let Some(notice) = start.notice(channel) {
        if let Push::Lost(lost) = &notice {
            worker.meters().announced(&lost.reason, 1);
        }
        session.push_message(session.encoding.encode(&notice.into()));
    }
    if let Some(latest) = latest {
        session.push_batch(&latest.batch, channel);
        if session.encoding.is_events()
            && let Some(position) = position(session.encoding, channel, &start.epoch, latest.upto)
        {
            session.push_message(position);
        }
    }
    let interest = membership.interest().clone();
    let tip = interest.place().map_or(start.tip, |place| place.tip);
    let had = match start.cursor {
        Cursor::Had(offset) => Some(offset),
        Cursor::From(_) => None,
    };
    let (seat, is_behind) =
        worker
            .hub()
            .borrow_mut()
            .add_stored(&membership, session, had, (tip, &start.epoch));
    let mut held = Subscription {
        channel: channel.clone(),
        seat,
        membership,
        life: start.life,
        behind: None,
        fed: Fed::default(),
    };
    // Who asked for a start resumes; what of it is gone was told.
    let resumes = start.recovered.map(|recovered| match recovered {
        true => Recovery::Ring,
        false => Recovery::Refused,
    });
    if let Some(source) = resumes.filter(|source| !is_behind || *source == Recovery::Refused) {
        worker.meters().recoveries.of(source).add(1);
    }
    if let Some(source) = resumes {
        start.resume.note("tailwater.source", source.name());
        if start.resume.is_kept() {
            start.resume.note("tailwater.channel", channel.to_string());
        }
    }
    if is_behind {
        let mut behind = Behind::new(start.cursor);
        behind.told = start.lost;
        behind.span = start.resume;
        behind.resumes = resumes.filter(|source| *source != Recovery::Refused);
        held.behind = Some(Box::new(behind));
    } else if channel.is_wildcard() && !session.reads_stream_alone(channel) {
        held.fed.open(start.cursor.offset());
    }
    session.hold(held);
    if is_behind && !session.catch_up_at_once(worker, &interest) {
        session.catch_up_soon();
    }
}

/// Answers a repeated subscription with the present cursor; nothing is replayed.
///
/// # Errors
/// If the subscription is gone by now.
pub(super) fn tell_position(
    session: &Session,
    worker: &Worker,
    id: Option<u32>,
    channel: Channel,
) -> Result<(), ErrorMessage> {
    let Some(Standing { offset, epoch }) = session.standing(worker, &channel) else {
        let message = format!("`{channel}` is not subscribed any more");
        return Err(state::refusal(ErrorCode::Unavailable, message, Some(&channel)));
    };
    let subscribed = Subscribed {
        channel,
        durable: true,
        offset,
        epoch,
        recovered: None,
    };
    answer(session, id, Reply::Subscribed(subscribed));
    Ok(())
}

/// Where a subscription begins.
#[derive(Debug)]
struct Start {
    cursor: Cursor,
    tip: u64,
    life: u32,
    epoch: Epoch,
    /// Only for those who asked for a start.
    recovered: Option<bool>,
    /// What is missing, if it is known already.
    lost: Option<(u64, u64)>,
    /// Of what follows.
    resume: Span,
}

/// Finds out where a subscription is to begin, and whether something is missing there.
///
/// # Errors
/// What keeps NATS from answering.
async fn start(
    worker: &Worker,
    membership: &Membership,
    since: Option<&Since>,
) -> Result<Start, BrokerError> {
    let interest = membership.interest();
    let (place, epoch) = interest.settled().await?;
    let mut start = Start {
        cursor: Cursor::Had(place.tip),
        tip: place.tip,
        life: place.life,
        epoch,
        recovered: since.map(|_| true),
        lost: None,
        resume: Span::default(),
    };
    let history = worker.history();
    match since {
        None => {}
        Some(Since::Beginning) => start.cursor = Cursor::From(0),
        Some(Since::Last(count)) => start.cursor = Cursor::From(history.before_last(interest, *count).await?),
        Some(Since::Time(time)) => start.cursor = Cursor::From(history.before_time(interest, time).await?),
        Some(Since::Position(position)) => {
            let offset = position.offset.get();
            // Another edge may have seen more of the stream than this one.
            let known = offset <= place.tip.max(interest.stream_reached());
            if position.epoch != start.epoch || (!known && offset > history.stream_head(interest).await?) {
                start.cursor = Cursor::From(0);
                start.recovered = Some(false);
                return Ok(start);
            }
            start.cursor = Cursor::Had(offset);
            if offset < place.tip {
                let chunk = history
                    .read(
                        interest,
                        membership.encoding(),
                        start.cursor,
                        place.tip,
                        Origin::Any,
                    )
                    .await?;
                start.lost = chunk.lost;
                start.recovered = Some(chunk.lost.is_none());
            }
        }
    }
    Ok(start)
}

impl Start {
    fn answer(&self, channel: &Channel) -> Subscribed {
        Subscribed {
            channel: channel.clone(),
            durable: true,
            offset: Offset::new(self.cursor.offset()).ok(),
            epoch: Some(self.epoch.clone()),
            recovered: self.recovered,
        }
    }

    /// What the client is told at once of what is missing.
    fn notice(&self, channel: &Channel) -> Option<Push> {
        match self.lost {
            Some(lost) => Some(lost_push(channel, lost, LostReason::Trimmed)),
            None if self.recovered == Some(false) => Some(Push::Lost(Lost {
                channel: channel.clone(),
                from: None,
                to: None,
                count: None,
                reason: LostReason::EpochChanged,
            })),
            None => None,
        }
    }
}
