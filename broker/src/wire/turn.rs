//! What a connection does in a turn: events in, commands in, lines out. No waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ConnectionState;
use super::command::Command;
use super::connection::Driver;
use super::handler::{Handler, Incident};
use super::headers::number;
use super::info::{Complaint, ServerInfo};
use super::link::Link;
use super::parser::{Event, Message, Parsed, ProtocolError, parse};
use super::subscriptions::{Numbers, Subscription, SubscriptionId};
use crate::error::BrokerError;

impl<H: Handler> Driver<H> {
    /// Hands over all that was read.
    ///
    /// # Errors
    /// [`ProtocolError`] if the connection cannot go on; what came before was handed over.
    pub(super) fn receive(&mut self, link: &mut Link) -> Result<(), ProtocolError> {
        let source = link.pipe.lend();
        let mut from = 0;
        let outcome = loop {
            match parse(&source, from, link.max_message) {
                Ok(Parsed::Event { event, end }) => {
                    from = end;
                    if let Event::Message(message) = event {
                        self.deliver(&message);
                    } else if let Err(error) = self.handle(link, event) {
                        break Err(error);
                    }
                }
                Ok(Parsed::Incomplete { total }) => break Ok(total - from),
                Err(error) => break Err(error),
            }
        };
        let wanted = *outcome.as_ref().unwrap_or(&0);
        link.pipe.take_back(source, from, wanted);
        self.settle_refused(link);
        self.handler.drained(&mut self.subscriptions);
        outcome.map(|_| ())
    }

    fn deliver(&mut self, message: &Message<'_>) {
        if let Some((id, subscription)) = self.subscriptions.find(message.sid) {
            self.handler.message(id, subscription, message);
        } else if message.sid == Numbers::INBOX {
            let rest = message.subject.strip_prefix(self.shared.inbox.as_bytes());
            if let Some(number) = rest.and_then(number) {
                self.requests.answer(number, message);
            }
        }
        // Else it was on its way when its subscription ended.
    }

    fn handle(&mut self, link: &mut Link, event: Event<'_>) -> Result<(), ProtocolError> {
        match event {
            Event::Ping => link.pong(),
            Event::Pong => self.answered(link),
            Event::Error(text) => self.complained(link, &String::from_utf8_lossy(text)),
            Event::Info(json) => self.informed(link, ServerInfo::read(json)?),
            Event::Ok | Event::Message(_) => {}
        }
        Ok(())
    }

    /// The server has handled all that stood before a PING.
    fn answered(&mut self, link: &mut Link) {
        // What it refused of that, it has said before.
        self.settle_refused(link);
        let Some(pong) = link.answered() else {
            return;
        };
        for id in &pong.confirmed {
            if let Some(subscription) = self.subscriptions.get_mut(*id) {
                self.handler.confirmed(*id, subscription);
            }
        }
        if pong.resumed {
            link.connected = true;
            let again = std::mem::replace(&mut self.was_connected, true);
            self.shared
                .reconnects
                .fetch_add(u64::from(again), Ordering::Relaxed);
            tracing::info!(role = self.role, server = %link.server, again, "connected to NATS");
            self.about.send_modify(|about| about.failure = None);
            self.state.send_replace(ConnectionState::Connected);
            self.handler
                .incident(&Incident::Connected { again }, &mut self.subscriptions);
        }
        pong.settle_barriers();
    }

    fn informed(&mut self, link: &mut Link, info: ServerInfo) {
        link.learn(&info);
        self.servers.learn(&info.connect_urls);
        if info.lame_duck && !link.leaving {
            link.leaving = true;
            tracing::info!(role = self.role, server = %link.server, "the NATS server is about to leave");
            self.handler
                .incident(&Incident::LameDuck, &mut self.subscriptions);
        }
        self.about.send_modify(|about| about.server = Arc::new(info));
    }

    /// The server complains; whoever it is about hears it.
    fn complained(&mut self, link: &mut Link, text: &str) {
        match Complaint::of(text) {
            Complaint::Subscription(subject) if subject.strip_suffix('*') == Some(&self.shared.inbox) => {
                tracing::warn!(
                    role = self.role,
                    subject,
                    "NATS refused our inbox: check the user's permissions"
                );
                self.inbox_refused = true;
                self.requests.fail_all(|| self.shared.refused_inbox());
                self.handler.incident(
                    &Incident::SubscriptionRefused { subject },
                    &mut self.subscriptions,
                );
            }
            Complaint::Subscription(subject) => {
                tracing::warn!(
                    role = self.role,
                    subject,
                    "NATS refused a subscription: check the user's permissions"
                );
                link.refused.insert(subject);
            }
            Complaint::Revoked(sid) => {
                tracing::warn!(role = self.role, text, "NATS took a subscription away");
                let id = self.subscriptions.find(sid).map(|(id, _)| id);
                id.into_iter().for_each(|id| self.refuse(id, text));
            }
            Complaint::Publish(subject) if self.requests.refuse(&subject) => {}
            Complaint::TooManySubscriptions => {
                self.report(link, text);
                for id in link.unconfirmed() {
                    link.unsubscribe(id);
                    self.refuse(id, text);
                }
            }
            Complaint::Publish(_) | Complaint::Other => self.report(link, text),
        }
    }

    fn report(&mut self, link: &mut Link, text: &str) {
        tracing::warn!(role = self.role, server = %link.server, error = text, "NATS reports an error");
        link.complaint = Some(format!("the server said: {text}"));
        self.handler
            .incident(&Incident::ServerError(text.to_owned()), &mut self.subscriptions);
    }

    /// Takes the subscriptions away that the server has refused.
    fn settle_refused(&mut self, link: &mut Link) {
        if link.refused.is_empty() {
            return;
        }
        for id in link.take_refused(&self.subscriptions) {
            self.refuse(id, "the permissions of the edge's user do not cover it");
        }
    }

    fn refuse(&mut self, id: SubscriptionId, reason: &str) {
        if let Some(subscription) = self.subscriptions.remove(id) {
            self.shared.numbers.give_back(id);
            self.handler.refused(id, subscription, reason);
        }
    }

    /// Does what was asked for; one PING confirms all of it.
    pub(super) fn obey(&mut self, link: &mut Link) {
        let mut subscribed = false;
        let mut barriers = Vec::new();
        let mut batch = std::mem::take(&mut self.batch);
        for command in batch.drain(..) {
            match command {
                Command::Subscribe { id, subject, state } => {
                    subscribed |= link.subscribe_new(id, &subject);
                    self.subscriptions.insert(Subscription { id, subject, state });
                }
                Command::Unsubscribe(id) => {
                    if self.end(id) {
                        link.unsubscribe(id);
                    }
                }
                other if !link.connected => fail(other),
                Command::Publish(publication) => link.pipe.out().extend_from_slice(&publication.lines),
                Command::Request { pending, .. } if self.inbox_refused => {
                    let _ = pending.done.send(Err(self.shared.refused_inbox()));
                }
                Command::Request {
                    number,
                    publication,
                    pending,
                } => {
                    if self.requests.insert(number, pending) {
                        link.pipe.out().extend_from_slice(&publication.lines);
                    }
                }
                Command::Barrier(done) => barriers.push(done),
            }
        }
        self.batch = batch;
        if subscribed || !barriers.is_empty() {
            link.ping(barriers, false);
        }
    }

    /// Does what can be done while NATS is away.
    pub(super) fn obey_away(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for command in batch.drain(..) {
            match command {
                Command::Subscribe { id, subject, state } => {
                    self.subscriptions.insert(Subscription { id, subject, state });
                }
                Command::Unsubscribe(id) => {
                    self.end(id);
                }
                other => fail(other),
            }
        }
        self.batch = batch;
    }

    /// Ends a subscription on our side; says whether there was one.
    fn end(&mut self, id: SubscriptionId) -> bool {
        let ended = self.subscriptions.remove(id).is_some();
        if ended {
            self.shared.numbers.give_back(id);
        }
        ended
    }
}

/// Answers a command that needs a server when there is none.
fn fail<S>(command: Command<S>) {
    match command {
        Command::Request { pending, .. } => {
            let _ = pending.done.send(Err(BrokerError::Away));
        }
        Command::Barrier(done) => {
            let _ = done.send(Err(BrokerError::Away));
        }
        Command::Subscribe { .. } | Command::Unsubscribe(_) | Command::Publish(_) => {}
    }
}
