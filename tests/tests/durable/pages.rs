//! How the tests ask for pages of history, and what they look at in the answers.

use std::num::NonZeroU32;

use tailwater_edge::client::Client;
use tailwater_protocol::channel::Channel;
use tailwater_protocol::command::{Command, History, Order};
use tailwater_protocol::error::ErrorMessage;
use tailwater_protocol::message::ServerBody;
use tailwater_protocol::position::{Epoch, Offset, Position, Since};
use tailwater_protocol::push::{LostReason, Push};
use tailwater_protocol::reply::{self, Reply};
use tailwater_tests::durable::Publisher;
use tailwater_tests::{next, soon};

/// A page of `channel` with nothing else said.
pub(crate) fn of(channel: &str, order: Order) -> History {
    History {
        channel: Channel::new(channel).expect("a channel"),
        since: None,
        before: None,
        order,
        limit: None,
    }
}

pub(crate) fn limited(history: History, limit: u32) -> History {
    History {
        limit: NonZeroU32::new(limit),
        ..history
    }
}

pub(crate) fn at(offset: u64, epoch: &Epoch) -> Position {
    Position {
        offset: Offset::new(offset).expect("an offset"),
        epoch: epoch.clone(),
    }
}

pub(crate) fn since(history: History, offset: u64, epoch: &Epoch) -> History {
    History {
        since: Some(Since::Position(at(offset, epoch))),
        ..history
    }
}

pub(crate) fn before(history: History, offset: u64, epoch: &Epoch) -> History {
    History {
        before: Some(at(offset, epoch)),
        ..history
    }
}

pub(crate) async fn answer(client: &mut Client, history: History) -> ServerBody {
    let sent = client.send(Some(3), Command::History(history)).await;
    sent.expect("the connection lives");
    loop {
        let message = next(client).await;
        if message.id == Some(3) || matches!(message.body, ServerBody::Push(Push::Error(_))) {
            return message.body;
        }
    }
}

pub(crate) async fn page(client: &mut Client, history: History) -> reply::History {
    match answer(client, history).await {
        ServerBody::Reply(Reply::History(page)) => page,
        other => panic!("expected a page, got {other:?}"),
    }
}

pub(crate) async fn refused(client: &mut Client, history: History) -> ErrorMessage {
    match answer(client, history).await {
        ServerBody::Push(Push::Error(error)) => error,
        other => panic!("expected an error, got {other:?}"),
    }
}

pub(crate) fn offsets(page: &reply::History) -> Vec<u64> {
    page.publications
        .iter()
        .map(|publication| publication.offset.get())
        .collect()
}

pub(crate) fn lost(page: &reply::History) -> Option<(Option<u64>, Option<u64>, LostReason)> {
    let gap = page.lost.as_ref()?;
    Some((
        gap.from.map(Offset::get),
        gap.to.map(Offset::get),
        gap.reason.clone(),
    ))
}

/// Reads page after page until there is no `next`, and gives all offsets.
pub(crate) async fn all(client: &mut Client, history: History) -> Vec<u64> {
    let (mut asked, mut got) = (history.clone(), Vec::new());
    loop {
        let page = page(client, asked).await;
        assert_eq!(page.lost, None);
        got.extend(offsets(&page));
        let Some(next) = page.next else { return got };
        asked = match history.order {
            Order::Oldest => since(history.clone(), next.get(), &page.epoch),
            Order::Newest => before(history.clone(), next.get(), &page.epoch),
        };
    }
}

/// Stores one publication on each of so many channels below `d.many`, and gives their offsets.
pub(crate) async fn store_each(publisher: &Publisher, count: u64) -> Vec<u64> {
    let mut sent = Vec::new();
    for number in 0..count {
        let subject = format!("d.many.{number}");
        let publication = publisher.jetstream().publish(subject, "1".into()).await;
        sent.push(publication.expect("the connection lives").into_future());
    }
    let stored = soon("acknowledgements", futures_util::future::try_join_all(sent)).await;
    let stored = stored.expect("the stream stores them");
    stored.into_iter().map(|stored| stored.sequence).collect()
}

pub(crate) fn reversed(mut offsets: Vec<u64>) -> Vec<u64> {
    offsets.reverse();
    offsets
}
