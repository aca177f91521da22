//! The way from the process to its workers' sessions: requests over a bounded channel to each worker, and the walks that
//! answer them there. A walk gives the worker's other tasks a turn every few hundred sessions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use slab::Slab;
use tailwater_protocol::channel::Pattern;
use tailwater_protocol::close::CloseCode;
use tokio::sync::{mpsc, oneshot};

use super::order::Selector;
use super::revocations::Revocations;
use crate::identity::Identity;
use crate::session::{End, Session};
use crate::worker::Worker;

/// Requests that wait for one worker; who asks more waits.
const REQUESTS: usize = 64;

/// Sessions that one turn of a walk looks at.
const TURN: usize = 256;

/// What a worker is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// Close sessions.
    Close {
        whom: Whom,
        code: CloseCode,
        reason: Option<Arc<str>>,
        done: oneshot::Sender<Closed>,
    },
    /// End their subscriptions that `pattern` includes.
    Unsubscribe {
        selector: Selector,
        pattern: Pattern,
        reason: Option<Arc<str>>,
        /// How many sessions lost any.
        done: oneshot::Sender<usize>,
    },
    /// Describe sessions.
    List {
        filter: Filter,
        done: oneshot::Sender<Vec<Description>>,
    },
}

/// Whose sessions.
#[derive(Clone, Debug)]
pub(crate) enum Whom {
    Selected(Selector),
    /// Those whose token is revoked.
    Revoked(Revocations),
}

/// What came of closing sessions.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    pub(crate) sessions: usize,
    /// The token of the last one, if it had one.
    pub(crate) token_id: Option<Arc<str>>,
}

/// Which sessions are described: by their ids, from the smallest on.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) user: Option<Arc<str>>,
    /// The ids from this one on.
    pub(crate) from: u64,
    /// Most of them.
    pub(crate) limit: usize,
    /// Channels of each.
    pub(crate) channels: usize,
}

/// One session, for operators.
#[derive(Debug, Serialize)]
pub(crate) struct Description {
    /// 16 hexadecimal digits, so texts sort as the ids do.
    pub(crate) id: String,
    pub(crate) user: Option<Arc<str>>,
    pub(crate) token_id: Option<Arc<str>>,
    /// In seconds since 1970.
    pub(crate) expires_at: Option<u64>,
    pub(crate) remote_addr: String,
    pub(crate) transport: &'static str,
    pub(crate) codec: &'static str,
    /// In seconds since 1970.
    pub(crate) connected_at: u32,
    pub(crate) subscriptions: usize,
    /// The first of them.
    pub(crate) channels: Vec<String>,
    pub(crate) outbox_bytes: usize,
    /// Durable subscriptions that are not in step.
    pub(crate) behind: usize,
}

/// The sessions of one worker.
type Sessions = RefCell<Slab<Rc<Session>>>;

/// Asks all workers of the process; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Workers(Arc<[mpsc::Sender<Request>]>);

impl Workers {
    /// The side that asks, and for each of `count` workers the side that is asked.
    pub(crate) fn new(count: usize) -> (Self, Vec<mpsc::Receiver<Request>>) {
        let (senders, receivers): (Vec<_>, _) = (0..count).map(|_| mpsc::channel(REQUESTS)).unzip();
        (Self(senders.into()), receivers)
    }

    /// Closes sessions, and says how many there were.
    pub(crate) async fn close(&self, whom: &Whom, code: CloseCode, reason: Option<&Arc<str>>) -> Closed {
        let request = |done| Request::Close {
            whom: whom.clone(),
            code,
            reason: reason.cloned(),
            done,
        };
        let mut all = Closed::default();
        for closed in self.ask(request).await {
            all.sessions += closed.sessions;
            all.token_id = closed.token_id.or(all.token_id);
        }
        all
    }

    /// Ends subscriptions, and says how many sessions had any.
    pub(crate) async fn unsubscribe(
        &self,
        selector: &Selector,
        pattern: &Pattern,
        reason: Option<&Arc<str>>,
    ) -> usize {
        let request = |done| Request::Unsubscribe {
            selector: selector.clone(),
            pattern: pattern.clone(),
            reason: reason.cloned(),
            done,
        };
        self.ask(request).await.into_iter().sum()
    }

    /// Describes sessions, by their ids.
    pub(crate) async fn list(&self, filter: &Filter) -> Vec<Description> {
        let request = |done| Request::List {
            filter: filter.clone(),
            done,
        };
        let mut all: Vec<_> = self.ask(request).await.into_iter().flatten().collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all.truncate(filter.limit);
        all
    }

    /// All answers. A worker that has ended has no sessions, and gives none.
    async fn ask<A>(&self, request: impl Fn(oneshot::Sender<A>) -> Request) -> Vec<A> {
        let mut asked = Vec::with_capacity(self.0.len());
        for worker in &*self.0 {
            let (done, answer) = oneshot::channel();
            if worker.send(request(done)).await.is_ok() {
                asked.push(answer);
            }
        }
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.extend(answer.await.ok());
        }
        answers
    }
}

/// Answers what a worker is asked, for as long as the worker lives.
pub(crate) async fn serve(worker: Rc<Worker>, mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        // Who asked may have gone meanwhile.
        match request {
            Request::Close {
                whom,
                code,
                reason,
                done,
            } => drop(done.send(close(worker.sessions(), &whom, code, reason.as_deref()).await)),
            Request::Unsubscribe {
                selector,
                pattern,
                reason,
                done,
            } => drop(done.send(unsubscribe(&worker, &selector, &pattern, reason.as_deref()).await)),
            Request::List { filter, done } => drop(done.send(list(worker.sessions(), &filter).await)),
        }
    }
}

impl Whom {
    fn means(&self, id: u64, identity: &Identity) -> bool {
        match self {
            Self::Selected(selector) => selector.means(id, identity),
            Self::Revoked(revocations) => revocations.is_revoked(
                identity.user.as_deref(),
                identity.token_id.as_deref(),
                identity.issued_at,
            ),
        }
    }
}

async fn close(sessions: &Sessions, whom: &Whom, code: CloseCode, reason: Option<&str>) -> Closed {
    let mut closed = Closed::default();
    walk(sessions, |session| {
        let identity = session.identity();
        if !whom.means(session.id(), &identity) || session.is_ending() {
            return;
        }
        // What waits may be what the client must not see any more.
        session.end(End::Cut(code, code.reason()));
        closed.sessions += 1;
        closed.token_id = identity.token_id.clone();
        audit(
            session,
            &identity,
            "session.disconnected",
            Some(code),
            None,
            reason,
        );
    })
    .await;
    closed
}

async fn unsubscribe(worker: &Worker, selector: &Selector, pattern: &Pattern, reason: Option<&str>) -> usize {
    let mut count = 0;
    walk(worker.sessions(), |session| {
        let identity = session.identity();
        if selector.means(session.id(), &identity) && session.unsubscribe_within(worker, pattern) {
            count += 1;
            let channel = Some(pattern.as_str());
            audit(session, &identity, "session.unsubscribed", None, channel, reason);
        }
    })
    .await;
    count
}

async fn list(sessions: &Sessions, filter: &Filter) -> Vec<Description> {
    let mut found: BTreeMap<u64, Rc<Session>> = BTreeMap::new();
    walk(sessions, |session| {
        let is_wanted = !session.is_ending()
            && session.id() >= filter.from
            && (filter.user.is_none() || session.identity().user == filter.user);
        if is_wanted {
            found.insert(session.id(), session.clone());
        }
        if found.len() > filter.limit {
            found.pop_last();
        }
    })
    .await;
    found
        .values()
        .map(|session| session.describe(filter.channels))
        .collect()
}

/// Looks at every session of the worker. One that comes while this goes on may be left out.
async fn walk(sessions: &Sessions, mut look: impl FnMut(&Rc<Session>)) {
    let mut key = 0;
    loop {
        let turn: Vec<_> = {
            let sessions = sessions.borrow();
            if key >= sessions.capacity() {
                return;
            }
            let keys = key..sessions.capacity().min(key + TURN);
            keys.filter_map(|key| sessions.get(key).cloned()).collect()
        };
        turn.iter().for_each(&mut look);
        key += TURN;
        tokio::task::yield_now().await;
    }
}

/// One line of the audit log.
fn audit(
    session: &Session,
    identity: &Identity,
    event: &str,
    code: Option<CloseCode>,
    channel: Option<&str>,
    reason: Option<&str>,
) {
    tracing::info!(
        target: "audit",
        event,
        user = identity.user.as_deref(),
        session_id = session.hex_id(),
        remote_addr = %session.remote_addr(),
        close_code = code.map(CloseCode::code),
        channel,
        reason,
    );
}

#[cfg(test)]
mod tests;
