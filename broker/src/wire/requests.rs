//! Requests that wait for their answers.
//!
//! Whoever asks waits with a deadline of its own. One who has given up is noticed when an answer comes,
//! at every tick, and when the table is full.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::parser::{Message, OwnedMessage};
use crate::error::BrokerError;

/// The most requests in flight on one connection, unless its owner says otherwise; more are refused as
/// [`BrokerError::Busy`].
pub const MAX_REQUESTS: usize = 1024;

/// What the answers to one request may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Answers, the one that ends them included.
    pub replies: usize,
    /// Bytes of subject, headers and payload together.
    pub bytes: usize,
}

pub(super) type Answer = Result<Vec<OwnedMessage>, BrokerError>;

/// A request whose answers are not complete.
pub(super) struct Pending {
    pub(super) subject: Box<str>,
    /// One answer is all there is; else they end with the first that carries a status.
    pub(super) single: bool,
    pub(super) limits: Limits,
    pub(super) replies: Vec<OwnedMessage>,
    pub(super) bytes: usize,
    pub(super) done: oneshot::Sender<Answer>,
}

pub(super) struct Requests {
    /// By the number at the end of the inbox.
    pending: HashMap<u64, Pending>,
    /// The most that are kept.
    pub(super) limit: usize,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            pending: HashMap::new(),
            limit: MAX_REQUESTS,
        }
    }
}

impl Requests {
    /// Adds one; if there are too many already, it is answered so at once.
    pub(super) fn insert(&mut self, number: u64, pending: Pending) -> bool {
        if self.pending.len() >= self.limit {
            self.forget_abandoned();
        }
        if self.pending.len() >= self.limit {
            let _ = pending.done.send(Err(BrokerError::Busy));
            return false;
        }
        self.pending.insert(number, pending);
        true
    }

    /// An answer to this one.
    pub(super) fn answer(&mut self, number: u64, message: &Message<'_>) {
        let Some(pending) = self.pending.get_mut(&number) else {
            return;
        };
        if pending.done.is_closed() {
            self.pending.remove(&number);
            return;
        }
        // What JetStream hands out of a stream carries its sequence. Its status, if it has one, was written by
        // whoever published it, and means nothing.
        let stored = message.headers.last("Nats-Sequence").is_some();
        let status = message.headers.status().filter(|_| !stored);
        let unheard = status.is_some_and(|status| status.code == 503) && message.payload.is_empty();
        let last = pending.single || status.is_some();
        pending.bytes += message.subject.len() + message.headers.as_bytes().len() + message.payload.len();
        let full = pending.replies.len() >= pending.limits.replies || pending.bytes > pending.limits.bytes;
        if !unheard && !full {
            pending.replies.push(message.to_owned());
        }
        if unheard || full || last {
            let pending = self.pending.remove(&number).expect("found above");
            let answer = if unheard {
                let subject = pending.subject.into();
                Err(BrokerError::NoResponders { subject })
            } else if full {
                let limit = pending.limits.bytes;
                Err(BrokerError::ReplyTooLarge { limit })
            } else {
                Ok(pending.replies)
            };
            let _ = pending.done.send(answer);
        }
    }

    /// Fails all that were sent to this subject; says whether there was one.
    pub(super) fn refuse(&mut self, subject: &str) -> bool {
        let refused: Vec<_> = self
            .pending
            .extract_if(|_, each| *each.subject == *subject)
            .collect();
        let any = !refused.is_empty();
        for (_, pending) in refused {
            let subject = subject.to_owned();
            let _ = pending.done.send(Err(BrokerError::Refused { subject }));
        }
        any
    }

    /// Fails all, each with an error of its own.
    pub(super) fn fail_all(&mut self, error: impl Fn() -> BrokerError) {
        for (_, pending) in self.pending.drain() {
            let _ = pending.done.send(Err(error()));
        }
    }

    pub(super) fn forget_abandoned(&mut self) {
        self.pending.retain(|_, pending| !pending.done.is_closed());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::parser::{Event, Parsed, parse};
    use super::*;

    fn ask(requests: &mut Requests, number: u64, single: bool, limits: Limits) -> oneshot::Receiver<Answer> {
        let (done, answer) = oneshot::channel();
        let pending = Pending {
            subject: "svc".into(),
            single,
            limits,
            replies: Vec::new(),
            bytes: 0,
            done,
        };
        requests.insert(number, pending);
        answer
    }

    fn answer(requests: &mut Requests, number: u64, headers: &str, payload: &str) {
        let line = format!(
            "HMSG inbox 0 {} {}\r\n",
            headers.len(),
            headers.len() + payload.len()
        );
        let source = Bytes::from(format!("{line}{headers}{payload}\r\n"));
        match parse(&source, 0, 1000) {
            Ok(Parsed::Event {
                event: Event::Message(message),
                ..
            }) => requests.answer(number, &message),
            other => panic!("a message: {other:?}"),
        }
    }

    const WIDE: Limits = Limits {
        replies: 10,
        bytes: 1000,
    };

    #[test]
    fn a_single_answer_ends_a_request_and_a_status_ends_a_batch() {
        let mut requests = Requests::default();
        let mut one = ask(&mut requests, 1, true, WIDE);
        let mut many = ask(&mut requests, 2, false, WIDE);
        answer(&mut requests, 1, "", "hello");
        answer(&mut requests, 1, "", "too late");
        answer(&mut requests, 2, "", "a");
        answer(&mut requests, 2, "NATS/1.0\r\n\r\n", "b");
        assert!(many.try_recv().is_err());
        answer(&mut requests, 2, "NATS/1.0 204 EOB\r\n\r\n", "");
        let one = one.try_recv().expect("answered").expect("well");
        assert_eq!((one.len(), &one[0].payload[..]), (1, &b"hello"[..]));
        assert_eq!(many.try_recv().expect("answered").expect("well").len(), 3);
        assert!(requests.pending.is_empty());
    }

    #[test]
    fn a_status_that_a_publisher_forged_ends_no_batch() {
        let mut requests = Requests::default();
        let mut many = ask(&mut requests, 2, false, WIDE);
        for forged in ["503", "204 EOB", "404"] {
            let headers = format!("NATS/1.0 {forged}\r\nNats-Sequence: 4\r\n\r\n");
            answer(&mut requests, 2, &headers, "");
        }
        assert!(many.try_recv().is_err());
        answer(&mut requests, 2, "NATS/1.0 204 EOB\r\n\r\n", "");
        assert_eq!(many.try_recv().expect("answered").expect("well").len(), 4);
    }

    #[test]
    fn nobody_there_is_an_error_at_once() {
        let mut requests = Requests::default();
        let mut many = ask(&mut requests, 2, false, WIDE);
        answer(&mut requests, 2, "NATS/1.0 503\r\n\r\n", "");
        assert!(
            matches!(many.try_recv(), Ok(Err(BrokerError::NoResponders { subject })) if subject == "svc")
        );
    }

    #[test]
    fn answers_beyond_a_limit_end_the_request() {
        let mut requests = Requests::default();
        let mut count = ask(
            &mut requests,
            1,
            false,
            Limits {
                replies: 1,
                bytes: 1000,
            },
        );
        let mut bytes = ask(
            &mut requests,
            2,
            false,
            Limits {
                replies: 9,
                bytes: 20,
            },
        );
        for _ in 0..2 {
            answer(&mut requests, 1, "", "0123456789");
            answer(&mut requests, 2, "", "0123456789");
        }
        for answer in [&mut count, &mut bytes] {
            assert!(matches!(
                answer.try_recv(),
                Ok(Err(BrokerError::ReplyTooLarge { .. }))
            ));
        }
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_has_given_up() {
        let mut requests = Requests::default();
        let waiting: Vec<_> = (0..MAX_REQUESTS as u64)
            .map(|number| ask(&mut requests, number, true, WIDE))
            .collect();
        let mut refused = ask(&mut requests, 5000, true, WIDE);
        assert!(matches!(refused.try_recv(), Ok(Err(BrokerError::Busy))));
        drop(waiting);
        let mut next = ask(&mut requests, 5001, true, WIDE);
        assert_eq!(requests.pending.len(), 1);
        assert!(requests.refuse("svc") && !requests.refuse("svc"));
        assert!(matches!(next.try_recv(), Ok(Err(BrokerError::Refused { .. }))));
    }
}
