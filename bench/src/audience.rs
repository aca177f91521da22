//! Many subscribers on the thread of the caller: each connects, subscribes, and keeps a ledger of what it receives.
//!
//! A read costs one system call, one look at the clock and no allocation, however many messages it brings.

mod member;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::member::Member;
use crate::client::{Door, Scratch};
use crate::histogram::Histogram;
use crate::ledger::{Counts, Expected};
use crate::payload::Numbers;
use crate::publisher::Schedule;
use crate::tailwater::Position;

/// Who hears nothing for this long has heard all that there will be.
const SILENCE: Duration = Duration::from_secs(3);

/// The same for who has stalled for long: the server's kernel may ask only every few seconds whether there is room again.
const SILENCE_OF_STALLED: Duration = Duration::from_secs(10);

/// The longest that all connections together may take.
const ARRIVAL: Duration = Duration::from_secs(120);

/// After everything has come, what comes twice is waited for this long.
const GRACE: Duration = Duration::from_millis(100);

/// What one subscriber does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    pub(crate) channel: String,
    /// From where it resumes; from now on if that is nothing.
    pub(crate) since: Option<Position>,
    /// What it should receive as soon as it has subscribed.
    pub(crate) expects: Expected,
    /// After so many publications it stops reading, until [`Audience::resume`].
    pub(crate) stalls_after: Option<u32>,
}

/// What one subscriber has come to.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) stalled: bool,
    pub(crate) counts: Counts,
    /// Where the subscription began.
    pub(crate) position: Option<Position>,
}

/// What all members share.
struct Shared {
    door: Door,
    scratch: Scratch,
    numbers: RefCell<Numbers>,
    /// Handshakes and subscriptions under way.
    doors: Semaphore,
    seated: Cell<usize>,
    /// Members who have all that they expect, and how many of them may stall.
    done: Cell<usize>,
    done_stalled: Cell<usize>,
    delivered: Cell<u64>,
    reads: Cell<u64>,
    /// When the last publication came.
    last: Cell<Option<Instant>>,
    failed: Cell<bool>,
    changed: Notify,
    schedule: Cell<Option<Schedule>>,
    delays: RefCell<Histogram>,
    /// Those who stalled read on.
    resumed: watch::Sender<bool>,
}

/// Subscribers, all on the thread that this is made on, inside a `LocalSet`. They leave when it is dropped.
pub(crate) struct Audience {
    shared: Rc<Shared>,
    members: Vec<Rc<Member>>,
    stalled: usize,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// What an audience has received since it was last told what to expect.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) delays: Histogram,
    pub(crate) reads: u64,
    /// When the last publication came.
    pub(crate) last: Option<Instant>,
    pub(crate) seen: Vec<Seen>,
}

impl Received {
    /// Of all together.
    pub(crate) fn counts(&self) -> Counts {
        sum(&self.seen)
    }
}

impl Audience {
    /// Lets all of them in, `at_once` at a time; returns when all are subscribed.
    ///
    /// # Errors
    /// If one is refused, or all take longer than two minutes.
    pub(crate) async fn seat(
        door: Door,
        seats: impl IntoIterator<Item = Seat>,
        at_once: usize,
    ) -> anyhow::Result<Self> {
        let shared = Rc::new(Shared {
            door,
            scratch: Scratch::new(),
            numbers: RefCell::new(Numbers::new(0)),
            doors: Semaphore::new(at_once),
            seated: Cell::new(0),
            done: Cell::new(0),
            done_stalled: Cell::new(0),
            delivered: Cell::new(0),
            reads: Cell::new(0),
            last: Cell::new(None),
            failed: Cell::new(false),
            changed: Notify::new(),
            schedule: Cell::new(None),
            delays: RefCell::default(),
            resumed: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        let mut members = Vec::new();
        for (number, seat) in seats.into_iter().enumerate() {
            let member = Rc::new(Member::new(number, seat));
            members.push(member.clone());
            tasks.spawn_local(member::attend(shared.clone(), member));
        }
        let mut audience = Self {
            shared,
            stalled: members.iter().filter(|member| member.may_stall()).count(),
            members,
            tasks,
        };
        let seated = audience.until(|shared| shared.seated.get() == audience.members.len());
        match timeout(ARRIVAL, seated).await {
            Ok(true) => Ok(audience),
            Ok(false) => Err(audience.failure().await),
            Err(_) => anyhow::bail!("not all clients are subscribed within {ARRIVAL:?}"),
        }
    }

    /// Forgets what has been received, and says what comes now: publication `n` goes to channel `n % channels`, which is the
    /// one of the members whose number is that.
    pub(crate) fn expect(&self, schedule: Schedule) {
        let shared = &self.shared;
        shared.done.set(0);
        shared.done_stalled.set(0);
        shared.delivered.set(0);
        shared.reads.set(0);
        shared.last.set(None);
        *shared.delays.borrow_mut() = Histogram::default();
        *shared.numbers.borrow_mut() = Numbers::new(schedule.size);
        shared.schedule.set(Some(schedule));
        for member in &self.members {
            member.expect(shared, schedule.expected_by(member.number()));
        }
    }

    /// Waits until everybody who reads has everything, or nothing comes any more.
    pub(crate) async fn read_all(&self) {
        let all = self.members.len() - self.stalled;
        self.until_quiet(SILENCE, |shared| {
            shared.done.get() - shared.done_stalled.get() >= all
        })
        .await;
    }

    /// Lets those who stalled read on, and waits as [`Audience::read_all`], for all.
    pub(crate) async fn resume(&self) {
        self.shared.resumed.send_replace(true);
        self.until_quiet(SILENCE_OF_STALLED, |shared| {
            shared.done.get() == self.members.len()
        })
        .await;
    }

    /// Waits for what may come twice.
    pub(crate) async fn linger(&self) {
        tokio::time::sleep(GRACE).await;
    }

    /// What has come since [`Audience::expect`], or since the members are seated.
    pub(crate) fn received(&self) -> Received {
        Received {
            delays: self.shared.delays.borrow().clone(),
            reads: self.shared.reads.get(),
            last: self.shared.last.get(),
            seen: self.members.iter().map(|member| member.seen()).collect(),
        }
    }

    /// True when `done`, false when somebody could not be seated.
    async fn until(&self, done: impl Fn(&Shared) -> bool) -> bool {
        loop {
            let changed = self.shared.changed.notified();
            if self.shared.failed.get() {
                return false;
            }
            if done(&self.shared) {
                return true;
            }
            changed.await;
        }
    }

    async fn until_quiet(&self, silence: Duration, done: impl Fn(&Shared) -> bool) {
        let mut delivered = self.shared.delivered.get();
        while timeout(silence, self.until(&done)).await.is_err() {
            let now = self.shared.delivered.get();
            if delivered == now {
                return;
            }
            delivered = now;
        }
    }

    /// Why the first of those that failed did.
    async fn failure(&mut self) -> anyhow::Error {
        while let Some(result) = self.tasks.join_next().await {
            match result {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return error.into(),
            }
        }
        anyhow::anyhow!("a client failed")
    }
}

/// Adds up what subscribers have come to.
pub(crate) fn sum<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> Counts {
    let mut sum = Counts::default();
    for each in seen {
        sum += each.counts;
    }
    sum
}
