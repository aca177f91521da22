//! Many subscribers on the thread of the caller: each connects, subscribes, and keeps a ledger of what it receives.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, Scratch};
use crate::ledger::{Counts, Ledger};
use crate::nats::{Schedule, number_in};
use crate::report::Delays;

/// Who hears nothing for this long has heard all that there will be.
const SILENCE: Duration = Duration::from_secs(5);

/// The longest that all connections together may take.
const ARRIVAL: Duration = Duration::from_secs(120);

/// After everything has come, what comes twice is waited for this long.
const GRACE: Duration = Duration::from_millis(200);

/// Kernel buffer of one client, in bytes, so that the kernel hides little of one that does not read.
const RECEIVE_BUFFER: u32 = 64 * 1024;

/// A position in a durable channel, as the edge told it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    pub(crate) epoch: String,
}

/// What one subscriber does.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) channel: String,
    /// From where it resumes; from now on if that is nothing.
    pub(crate) since: Option<Position>,
    /// The numbers of the publications that it should receive.
    pub(crate) expects: Range<u32>,
    /// After so many publications it stops reading, until [`Audience::resume`].
    pub(crate) stalls_after: Option<u32>,
    /// Its delays count.
    pub(crate) timed: bool,
}

/// What one subscriber has come to.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) stalled: bool,
    pub(crate) counts: Counts,
    /// Where the subscription began.
    pub(crate) position: Option<Position>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Those who stall do not read.
    First,
    /// All read.
    Second,
    /// All leave.
    End,
}

struct Shared {
    address: SocketAddr,
    scratch: Scratch,
    /// Handshakes and subscriptions under way.
    doors: Semaphore,
    seated: Cell<usize>,
    full: Cell<usize>,
    full_stalled: Cell<usize>,
    delivered: Cell<u64>,
    failed: Cell<bool>,
    changed: Notify,
    schedule: Cell<Option<Schedule>>,
    delays: RefCell<Vec<u32>>,
}

/// Subscribers, all on the thread that this is made on, inside a `LocalSet`.
pub(crate) struct Audience {
    shared: Rc<Shared>,
    size: usize,
    stalled: usize,
    tasks: JoinSet<anyhow::Result<Seen>>,
    act: watch::Sender<Act>,
}

impl Audience {
    /// Lets all of them in, `at_once` at a time; returns when all are subscribed.
    pub(crate) async fn seat(
        address: SocketAddr,
        seats: impl IntoIterator<Item = Seat>,
        at_once: usize,
    ) -> anyhow::Result<Self> {
        let (act, acts) = watch::channel(Act::First);
        let shared = Rc::new(Shared {
            address,
            scratch: Scratch::new(),
            doors: Semaphore::new(at_once),
            seated: Cell::new(0),
            full: Cell::new(0),
            full_stalled: Cell::new(0),
            delivered: Cell::new(0),
            failed: Cell::new(false),
            changed: Notify::new(),
            schedule: Cell::new(None),
            delays: RefCell::default(),
        });
        let mut tasks = JoinSet::new();
        let mut stalled = 0;
        for seat in seats {
            stalled += usize::from(seat.stalls_after.is_some());
            tasks.spawn_local(attend(shared.clone(), seat, acts.clone()));
        }
        let audience = Self {
            shared,
            size: tasks.len(),
            stalled,
            tasks,
            act,
        };
        let seated = audience.until(|shared| shared.seated.get() == audience.size);
        match timeout(ARRIVAL, seated).await {
            Ok(true) => Ok(audience),
            Ok(false) => Err(audience.failure().await),
            Err(_) => anyhow::bail!("not all clients are subscribed within {ARRIVAL:?}"),
        }
    }

    /// When each publication is due, to tell delays.
    pub(crate) fn expect(&self, schedule: Schedule) {
        self.shared.schedule.set(Some(schedule));
    }

    /// Waits until everybody who reads has everything, or nothing comes any more.
    pub(crate) async fn read_all(&self) {
        let all = self.size - self.stalled;
        self.until_quiet(|shared| shared.full.get() - shared.full_stalled.get() >= all)
            .await;
    }

    /// Lets those who stalled read on, and waits as [`Audience::read_all`], for all.
    pub(crate) async fn resume(&self) {
        self.act.send_replace(Act::Second);
        self.until_quiet(|shared| shared.full.get() == self.size).await;
    }

    /// Publications received so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.shared.delivered.get()
    }

    /// Sends all away and says what each has come to, and how late publications were.
    pub(crate) async fn leave(self) -> anyhow::Result<(Vec<Seen>, Delays)> {
        tokio::time::sleep(GRACE).await;
        self.leave_now().await
    }

    /// As [`Audience::leave`], without waiting for what may come twice.
    pub(crate) async fn leave_now(mut self) -> anyhow::Result<(Vec<Seen>, Delays)> {
        self.act.send_replace(Act::End);
        let mut seen = Vec::with_capacity(self.size);
        while let Some(result) = self.tasks.join_next().await {
            seen.push(result??);
        }
        let delays = Delays::of(&mut self.shared.delays.borrow_mut());
        Ok((seen, delays))
    }

    /// True when `done`, false when somebody has failed.
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

    async fn until_quiet(&self, done: impl Fn(&Shared) -> bool) {
        let mut delivered = self.delivered();
        while timeout(SILENCE, self.until(&done)).await.is_err() {
            if delivered == self.delivered() {
                return;
            }
            delivered = self.delivered();
        }
    }

    /// Why the first of those that failed did.
    async fn failure(mut self) -> anyhow::Error {
        self.act.send_replace(Act::End);
        while let Some(result) = self.tasks.join_next().await {
            match result {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(error) => return error.into(),
            }
        }
        anyhow::anyhow!("a client failed")
    }
}

async fn attend(shared: Rc<Shared>, seat: Seat, acts: watch::Receiver<Act>) -> anyhow::Result<Seen> {
    let result = Box::pin(attend_to_the_end(&shared, seat, acts)).await;
    if result.is_err() {
        shared.failed.set(true);
        shared.changed.notify_one();
    }
    result
}

async fn attend_to_the_end(
    shared: &Shared,
    seat: Seat,
    mut acts: watch::Receiver<Act>,
) -> anyhow::Result<Seen> {
    let mut ledger = Ledger::new(seat.expects.clone());
    let door = shared.doors.acquire().await?;
    let mut client = Client::connect(shared.address, Some(RECEIVE_BUFFER)).await?;
    let position = subscribe(shared, &mut client, &seat, &mut ledger)
        .await
        .with_context(|| format!("cannot subscribe to {}", seat.channel))?;
    drop(door);
    let mut was_full = false;
    shared.seated.set(shared.seated.get() + 1);
    note(shared, &seat, &ledger, &mut was_full);
    shared.changed.notify_one();
    let mut stalls_after = seat.stalls_after;
    loop {
        if stalls_after.is_some_and(|count| ledger.counts().delivered >= u64::from(count)) {
            stalls_after = None;
            acts.wait_for(|act| *act != Act::First).await?;
        }
        let ended = acts.wait_for(|act| *act == Act::End);
        let read = client.read(&shared.scratch, |message| {
            record(shared, &seat, &mut ledger, message);
        });
        tokio::select! {
            biased;
            read = read => read?,
            _ = ended => break,
        }
        note(shared, &seat, &ledger, &mut was_full);
    }
    Ok(Seen {
        stalled: seat.stalls_after.is_some(),
        counts: ledger.counts(),
        position,
    })
}

/// Tells the others when the last expected publication has come.
fn note(shared: &Shared, seat: &Seat, ledger: &Ledger, was_full: &mut bool) {
    if ledger.is_full() && !std::mem::replace(was_full, true) {
        shared.full.set(shared.full.get() + 1);
        let stalled = usize::from(seat.stalls_after.is_some());
        shared.full_stalled.set(shared.full_stalled.get() + stalled);
        shared.changed.notify_one();
    }
}

fn record(shared: &Shared, seat: &Seat, ledger: &mut Ledger, message: &[u8]) {
    if is(message, "update") {
        let Some(number) = number_in(message) else { return };
        ledger.record(number);
        shared.delivered.set(shared.delivered.get() + 1);
        if seat.timed
            && let Some(schedule) = shared.schedule.get()
        {
            let late = Instant::now().saturating_duration_since(schedule.due(number));
            let late = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
            shared.delays.borrow_mut().push(late);
        }
    } else if is(message, "lost") {
        let lost = serde_json::from_slice::<Lost>(message);
        ledger.announce(lost.ok().and_then(|lost| lost.count).unwrap_or(1));
    }
}

/// Whether a message of the server is of this type, which it always says first.
fn is(message: &[u8], kind: &str) -> bool {
    let rest = message.strip_prefix(br#"{"type":""#);
    rest.and_then(|rest| rest.strip_prefix(kind.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&b'"'))
}

/// What is looked at of a `lost`.
#[derive(Deserialize)]
struct Lost {
    count: Option<u64>,
}

/// What is looked at of a reply.
#[derive(Deserialize)]
struct Reply {
    #[serde(flatten)]
    position: Option<Position>,
    recovered: Option<bool>,
    retry_after_ms: Option<u64>,
}

/// Subscribes, again where the edge asks to try later; the position from which the subscription goes on, on a durable
/// channel.
async fn subscribe(
    shared: &Shared,
    client: &mut Client,
    seat: &Seat,
    ledger: &mut Ledger,
) -> anyhow::Result<Option<Position>> {
    let since = seat
        .since
        .as_ref()
        .map_or(String::new(), |Position { offset, epoch }| {
            format!(r#","since":{{"offset":{offset},"epoch":"{epoch}"}}"#)
        });
    let command = format!(r#"{{"type":"subscribe","channel":"{}"{since}}}"#, seat.channel);
    client.send(&command).await?;
    loop {
        let mut answer = None;
        client
            .read(&shared.scratch, |message| {
                if is(message, "subscribed") || is(message, "error") {
                    answer = Some(message.to_vec());
                } else {
                    record(shared, seat, ledger, message);
                }
            })
            .await?;
        let Some(answer) = answer else { continue };
        let reply: Reply = serde_json::from_slice(&answer)?;
        if is(&answer, "subscribed") {
            anyhow::ensure!(
                seat.since.is_none() || reply.recovered == Some(true),
                "not recovered: {}",
                answer.escape_ascii()
            );
            return Ok(reply.position);
        }
        let pause = reply
            .retry_after_ms
            .with_context(|| answer.escape_ascii().to_string())?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        client.send(&command).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart_by_their_type() {
        assert!(is(br#"{"type":"update","channel":"a"}"#, "update"));
        assert!(!is(br#"{"type":"updated"}"#, "update"));
        assert!(!is(br#"{"id":1}"#, "update"));
    }

    #[test]
    fn a_reply_has_a_position_or_none() {
        let read = |text: &str| serde_json::from_str::<Reply>(text).unwrap().position;
        assert_eq!(
            read(r#"{"type":"subscribed","channel":"a","durable":false}"#),
            None
        );
        let durable = r#"{"type":"subscribed","channel":"a","durable":true,"offset":7,"epoch":"e-1"}"#;
        let epoch = "e-1".to_owned();
        assert_eq!(read(durable), Some(Position { offset: 7, epoch }));
    }
}
