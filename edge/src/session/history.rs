//! Answers `history`: a page of what a durable channel stores. The session need not be subscribed to it.

use tailwater_broker::BrokerError;
use tailwater_broker::feed::Terms;
use tailwater_protocol::command::History;
use tailwater_protocol::error::ErrorMessage;
use tailwater_protocol::reply::Reply;

use super::commands::broker_error;
use crate::worker::Worker;

/// Reads the page. Commands wait for room in the outbox before they are carried out, so that a client has no more than
/// one page waiting beyond that.
///
/// # Errors
/// What the client is told instead: `unavailable` if it takes more than five seconds.
pub(super) async fn page(worker: &Worker, asked: &History, terms: &Terms) -> Result<Reply, ErrorMessage> {
    let connection = worker.publisher().connection();
    let known = terms.stream.as_ref().map(|stream| worker.feed().known(stream));
    let page = match &known {
        Some(known) => worker.history().page(connection, known, terms, asked).await,
        None => Err(BrokerError::Stopped),
    };
    page.map(Reply::History).map_err(|error| {
        let channel = asked.channel.as_str();
        tracing::debug!(channel, %error, "a page of history could not be read");
        broker_error(&error, &asked.channel)
    })
}
