//! Publications that wait for their acknowledgements: one subscription, and a table of who waits.
//!
//! Not by the client library's own requests: it keeps each one that nobody waits for any more for ever, does not fail
//! those in flight when the link breaks or NATS refuses them, and takes the first answer, whoever sent it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::StreamExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OnceCell, broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::{Stored, acknowledgement};
use crate::connection::{Connection, Incident};
use crate::error::BrokerError;

/// The most publications that may wait at a time on one connection; more are refused as [`BrokerError::Busy`].
const MAX_WAITING: usize = 4096;

/// If NATS refuses the inbox: the pause before it is asked again, and how long a refusal takes at most to come.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

type Answer = Result<Stored, BrokerError>;

/// Where the acknowledgements of a connection come in.
#[derive(Debug)]
pub(super) struct Inbox {
    subject: String,
    waiting: Arc<Mutex<Table>>,
    /// Subscribes at the first use: a connection without durable channels needs no permission for it.
    reader: OnceCell<Reader>,
}

/// The task that hands the answers out; ends with the inbox.
#[derive(Debug)]
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inbox {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            subject: connection.client().new_inbox(),
            waiting: Arc::default(),
            reader: OnceCell::new(),
        }
    }

    /// A place for the acknowledgement of a publication on `subject` into `stream`.
    ///
    /// # Errors
    /// [`BrokerError::Busy`] if too many wait, [`BrokerError::InboxRefused`] if no answer can come,
    /// [`BrokerError::Away`].
    pub(super) async fn expect(
        &self,
        connection: &Connection,
        subject: &str,
        stream: &str,
    ) -> Result<Waiting, BrokerError> {
        self.reader.get_or_try_init(|| self.open(connection)).await?;
        let (done, answer) = oneshot::channel();
        let number = lock(&self.waiting).insert(Pending {
            subject: subject.into(),
            stream: stream.into(),
            breaks: connection.breaks(),
            strange: false,
            done,
        })?;
        let waiting = Waiting {
            table: self.waiting.clone(),
            number,
            reply: format!("{}.{number}", self.subject),
            answer,
        };
        // Looked at once the place is in the table: from here on a break ends the wait.
        if connection.is_connected() {
            Ok(waiting)
        } else {
            Err(BrokerError::Away)
        }
    }

    async fn open(&self, connection: &Connection) -> Result<Reader, BrokerError> {
        let (subject, incidents) = (format!("{}.*", self.subject), connection.incidents());
        let subscribed = connection.client().subscribe(subject.clone()).await;
        let reading = Reading {
            answers: subscribed.map_err(|_| BrokerError::Away)?,
            incidents,
            connection: connection.clone(),
            table: self.waiting.clone(),
            subject,
        };
        Ok(Reader(connection.runtime().spawn(reading.run())))
    }
}

/// Hands out answers, and what else ends a wait.
struct Reading {
    answers: Subscriber,
    incidents: broadcast::Receiver<Incident>,
    connection: Connection,
    table: Arc<Mutex<Table>>,
    subject: String,
}

impl Reading {
    /// Until the connection is closed for good. If NATS refuses the inbox, it is asked again every now and then: the
    /// permissions may be corrected while the connection stays.
    async fn run(mut self) {
        while self.read().await == Ended::Refused {
            tokio::time::sleep(REFUSED_PAUSE).await;
            match self.connection.client().subscribe(self.subject.clone()).await {
                Ok(answers) => self.answers = answers,
                Err(_) => break,
            }
        }
        lock(&self.table).fail_all(lost);
    }

    async fn read(&mut self) -> Ended {
        let accepted = tokio::time::sleep(REFUSED_PAUSE);
        tokio::pin!(accepted);
        let mut waited = false;
        loop {
            tokio::select! {
                // What came in before the link broke counts.
                biased;
                message = self.answers.next() => match message {
                    Some(message) => lock(&self.table).answer(&message),
                    None => return Ended::Closed,
                },
                incident = self.incidents.recv() => match incident {
                    Ok(Incident::PublicationRefused(subject)) => lock(&self.table).refuse(&subject),
                    Ok(Incident::SubscriptionRefused(subject)) if subject == self.subject => {
                        lock(&self.table).close(&subject);
                        return Ended::Refused;
                    }
                    // Missed ones may have been this one.
                    Ok(Incident::Disconnected) | Err(RecvError::Lagged(_)) => {
                        lock(&self.table).link_broke(self.connection.breaks());
                    }
                    Ok(_) => {}
                    Err(RecvError::Closed) => return Ended::Closed,
                },
                // No refusal for so long: a refused inbox is allowed by now.
                () = &mut accepted, if !waited => {
                    lock(&self.table).refused = None;
                    waited = true;
                }
            }
        }
    }
}

/// Why nothing more is read.
#[derive(PartialEq, Eq)]
enum Ended {
    /// NATS does not let us subscribe.
    Refused,
    /// The connection is closed for good.
    Closed,
}

/// A publication that has a place in the table, and leaves it when this is dropped.
pub(super) struct Waiting {
    table: Arc<Mutex<Table>>,
    number: u64,
    reply: String,
    answer: oneshot::Receiver<Answer>,
}

impl Waiting {
    /// The subject on which the acknowledgement is to come.
    pub(super) fn reply(&self) -> &str {
        &self.reply
    }

    /// The acknowledgement, or what came instead; until `deadline`, which is `within` after the beginning.
    pub(super) async fn answer(&mut self, deadline: Instant, within: Duration) -> Answer {
        match timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(BrokerError::Stopped),
            Err(_) => match lock(&self.table).pending.get(&self.number) {
                Some(pending) => Err(pending.overdue(within)),
                // It came at the last moment.
                None => self.answer.try_recv().unwrap_or(Err(BrokerError::Stopped)),
            },
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.table).pending.remove(&self.number);
    }
}

/// Who waits.
#[derive(Debug, Default)]
struct Table {
    /// By the number at the end of the reply subject.
    pending: HashMap<u64, Pending>,
    next: u64,
    /// NATS does not let us subscribe to this, as far as we know.
    refused: Option<String>,
}

#[derive(Debug)]
struct Pending {
    subject: Box<str>,
    stream: Box<str>,
    /// How often the link had broken before this was sent.
    breaks: u64,
    /// Something answered that was not the stream.
    strange: bool,
    done: oneshot::Sender<Answer>,
}

impl Pending {
    /// The error of one that has waited for `timeout`.
    fn overdue(&self, timeout: Duration) -> BrokerError {
        let stream = self.stream.to_string();
        if self.strange {
            let subject = self.subject.to_string();
            BrokerError::StrangeAcknowledgement { stream, subject }
        } else {
            BrokerError::Unacknowledged { stream, timeout }
        }
    }
}

impl Table {
    fn insert(&mut self, pending: Pending) -> Result<u64, BrokerError> {
        if let Some(subject) = self.refused.clone() {
            return Err(BrokerError::InboxRefused { subject });
        }
        if self.pending.len() >= MAX_WAITING {
            return Err(BrokerError::Busy);
        }
        self.next += 1;
        self.pending.insert(self.next, pending);
        Ok(self.next)
    }

    /// Ends the wait that a message on the inbox belongs to, if it is an answer of its stream.
    fn answer(&mut self, message: &Message) {
        let number = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|text| text.parse().ok());
        let Some((number, pending)) =
            number.and_then(|number: u64| Some((number, self.pending.get_mut(&number)?)))
        else {
            return;
        };
        let unheard = message.status == Some(StatusCode::NO_RESPONDERS) && message.payload.is_empty();
        let answer = if unheard {
            Some(Err(BrokerError::StreamAway {
                stream: pending.stream.to_string(),
                subject: pending.subject.to_string(),
            }))
        } else {
            acknowledgement::read(&message.payload, &pending.subject, &pending.stream)
        };
        match answer {
            Some(answer) => self.end(number, answer),
            // Another subscriber of the subject may answer too; the stream's own word counts.
            None => pending.strange = true,
        }
    }

    /// NATS refuses publications on `subject`.
    fn refuse(&mut self, subject: &str) {
        self.fail_where(
            |pending| *pending.subject == *subject,
            |_| BrokerError::Refused {
                subject: subject.to_owned(),
            },
        );
    }

    /// NATS refuses the inbox `subject`: what has been sent may be stored, but nobody will hear of it.
    fn close(&mut self, subject: &str) {
        self.refused = Some(subject.to_owned());
        self.fail_all(|_| BrokerError::InboxRefused {
            subject: subject.to_owned(),
        });
    }

    /// The link has broken for the `breaks`th time. What was sent before that may be lost, or its answer.
    fn link_broke(&mut self, breaks: u64) {
        self.fail_where(|pending| pending.breaks < breaks, lost);
    }

    fn fail_all(&mut self, error: impl Fn(&Pending) -> BrokerError) {
        self.fail_where(|_| true, error);
    }

    fn fail_where(&mut self, which: impl Fn(&Pending) -> bool, error: impl Fn(&Pending) -> BrokerError) {
        for (_, pending) in self.pending.extract_if(|_, pending| which(pending)) {
            let error = error(&pending);
            let _ = pending.done.send(Err(error));
        }
    }

    fn end(&mut self, number: u64, answer: Answer) {
        if let Some(pending) = self.pending.remove(&number) {
            let _ = pending.done.send(answer);
        }
    }
}

fn lost(pending: &Pending) -> BrokerError {
    BrokerError::AcknowledgementLost {
        stream: pending.stream.to_string(),
    }
}

/// Every change of the table is complete before anything in it can panic.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(
        table: &mut Table,
        subject: &str,
        breaks: u64,
    ) -> Result<(u64, oneshot::Receiver<Answer>), BrokerError> {
        let (done, answer) = oneshot::channel();
        let number = table.insert(Pending {
            subject: subject.into(),
            stream: "CHAT".into(),
            breaks,
            strange: false,
            done,
        })?;
        Ok((number, answer))
    }

    fn message(number: u64, payload: &str, status: Option<StatusCode>) -> Message {
        Message {
            subject: format!("_INBOX.x.{number}").into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status,
            description: None,
            length: payload.len(),
        }
    }

    #[test]
    fn a_broken_link_ends_the_waits_that_began_before_it_and_no_later_one() {
        let mut table = Table::default();
        let (_, mut before) = wait(&mut table, "chat.a", 0).unwrap();
        let (_, mut after) = wait(&mut table, "chat.a", 1).unwrap();
        table.link_broke(1);
        let lost = before.try_recv().unwrap();
        assert!(matches!(lost, Err(BrokerError::AcknowledgementLost { .. })));
        assert!(after.try_recv().is_err(), "it was sent over the next link");
    }

    #[test]
    fn an_answer_ends_its_own_wait_alone() {
        let mut table = Table::default();
        let (first, mut one) = wait(&mut table, "chat.a", 0).unwrap();
        let (second, mut two) = wait(&mut table, "chat.b", 0).unwrap();
        table.answer(&message(second, r#"{"stream":"CHAT","seq":7}"#, None));
        assert_eq!(two.try_recv().unwrap().unwrap().offset.get(), 7);
        assert!(one.try_recv().is_err());
        // Late, doubled and foreign ones find nobody.
        for number in [second, 99, u64::MAX] {
            table.answer(&message(number, r#"{"stream":"CHAT","seq":8}"#, None));
        }
        table.answer(&message(first, "", Some(StatusCode::NO_RESPONDERS)));
        let nobody = one.try_recv().unwrap();
        assert!(matches!(nobody, Err(BrokerError::StreamAway { subject, .. }) if subject == "chat.a"));
    }

    #[test]
    fn those_who_wait_are_bounded_and_a_refusal_concerns_its_subject_alone() {
        let mut table = Table::default();
        let held: Vec<_> = (0..MAX_WAITING)
            .map(|_| wait(&mut table, "chat.a", 0).unwrap())
            .collect();
        assert!(matches!(wait(&mut table, "chat.a", 0), Err(BrokerError::Busy)));
        table.refuse("chat.b");
        assert_eq!(table.pending.len(), held.len());
        table.refuse("chat.a");
        assert!(table.pending.is_empty());
        table.close("_INBOX.x.*");
        assert!(matches!(
            wait(&mut table, "chat.a", 0),
            Err(BrokerError::InboxRefused { .. })
        ));
    }
}
