//! What the owner of a connection hears from it.

use super::parser::Message;
use super::subscriptions::{SubscriptionId, Subscriptions};

/// Takes what a connection brings. It is called by the connection's one task, so it never waits: what
/// takes long here delays everything on this connection, and in the end the server cuts it.
pub trait Handler {
    /// What the handler keeps for each subscription; it comes back with every message.
    type Subscription;

    /// A message on this subscription.
    fn message(&mut self, id: SubscriptionId, subscription: &mut Self::Subscription, message: &Message<'_>);

    /// All messages that had been read were handed over: the time to pass on what they came to.
    fn drained(&mut self, _subscriptions: &mut Subscriptions<Self::Subscription>) {}

    /// The server that we are connected to has the subscription; said again after each reconnect.
    fn confirmed(&mut self, _id: SubscriptionId, _subscription: &mut Self::Subscription) {}

    /// The server refused the subscription, now or later, and it is gone.
    fn refused(&mut self, _id: SubscriptionId, _subscription: Self::Subscription, _reason: &str) {}

    /// Something happened to the connection.
    fn incident(&mut self, _incident: &Incident, _subscriptions: &mut Subscriptions<Self::Subscription>) {}
}

/// The handler of a connection that only makes requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestsOnly;

impl Handler for RequestsOnly {
    type Subscription = ();

    fn message(&mut self, _: SubscriptionId, (): &mut (), _: &Message<'_>) {}
}

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incident {
    /// Accepted by a server, and every subscription is in place there or was refused.
    Connected {
        /// Not for the first time: what was published in between did not arrive.
        again: bool,
    },
    /// The connection ended. Nothing arrives any more; messages of the next connection may come before
    /// its [`Incident::Connected`].
    Disconnected {
        /// Why, as far as it is known.
        reason: String,
    },
    /// NATS refused a subscription of the connection's own, without which no request gets an answer.
    /// Others come by [`Handler::refused`].
    SubscriptionRefused {
        /// The subject.
        subject: String,
    },
    /// The server is about to leave; the connection moves to another one if there is one.
    LameDuck,
    /// The server reports an error that belongs to no subscription and to no request.
    ServerError(String),
    /// An attempt to connect failed: which server, and why.
    Failed(String),
}
