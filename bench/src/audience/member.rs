//! One subscriber: how it comes in, and what it does with what it receives.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Seat, Seen, Shared};
use crate::client::{Client, Messages};
use crate::dialect::Step;
use crate::ledger::{Expected, Ledger};
use crate::tailwater::{self, Position};
use crate::template::fill;

/// A subscriber, shared by its task and its audience.
pub(super) struct Member {
    number: usize,
    seat: Seat,
    ledger: RefCell<Ledger>,
    position: RefCell<Option<Position>>,
    /// It has been counted among those who have everything.
    done: Cell<bool>,
}

impl Member {
    pub(super) fn new(number: usize, seat: Seat) -> Self {
        Self {
            number,
            ledger: RefCell::new(Ledger::new(seat.expects)),
            seat,
            position: RefCell::default(),
            done: Cell::new(false),
        }
    }

    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn may_stall(&self) -> bool {
        self.seat.stalls_after.is_some()
    }

    /// Begins a new ledger; who was cut off stays so.
    pub(super) fn expect(&self, shared: &Shared, expected: Expected) {
        let closed = self.ledger.replace(Ledger::new(expected)).counts().closed > 0;
        self.done.set(false);
        if closed {
            self.ledger.borrow_mut().close();
        }
        self.note(shared);
    }

    pub(super) fn seen(&self) -> Seen {
        Seen {
            stalled: self.may_stall(),
            counts: self.ledger.borrow().counts(),
            position: self.position.borrow().clone(),
        }
    }

    /// Tells the others when the last expected publication has come.
    fn note(&self, shared: &Shared) {
        if self.ledger.borrow().is_done() && !self.done.replace(true) {
            shared.done.set(shared.done.get() + 1);
            let stalled = usize::from(self.may_stall());
            shared.done_stalled.set(shared.done_stalled.get() + stalled);
            shared.changed.notify_one();
        }
    }

    /// Records the publications of one read, and hands over the other messages.
    fn take(&self, shared: &Shared, messages: &mut Messages<'_>, mut other: impl FnMut(&[u8])) {
        let now = Instant::now();
        let schedule = shared.schedule.get().filter(|_| !self.may_stall());
        let mut ledger = self.ledger.borrow_mut();
        let mut numbers = shared.numbers.borrow_mut();
        let mut delays = shared.delays.borrow_mut();
        let before = ledger.delivered();
        while let Some(message) = messages.next() {
            let found = numbers.each(message, |number| {
                ledger.record(number);
                if let Some(schedule) = schedule {
                    delays.record(schedule.late_us(number, now));
                }
            });
            if found {
                continue;
            }
            match shared.door.dialect.keep_alive {
                Some((asks, answer)) if message.starts_with(asks) => {
                    messages.answer(shared.door.dialect.binary, answer);
                }
                _ => {
                    if let Some(lost) = lost(shared, message) {
                        ledger.announce(lost);
                    }
                    other(message);
                }
            }
        }
        let delivered = ledger.delivered() - before;
        shared.delivered.set(shared.delivered.get() + delivered);
        if delivered > 0 {
            shared.last.set(Some(now));
        }
        shared.reads.set(shared.reads.get() + 1);
    }
}

/// How many publications a message says were lost, one where it does not say how many.
fn lost(shared: &Shared, message: &[u8]) -> Option<u64> {
    let reply = tailwater::reply(shared.door.codec?, message).ok()?;
    (reply.kind == "lost").then(|| reply.count.unwrap_or(1))
}

/// Comes in, and receives until it is aborted or cut off.
pub(super) async fn attend(shared: Rc<Shared>, member: Rc<Member>) -> anyhow::Result<()> {
    let client = match Box::pin(come_in(&shared, &member)).await {
        Ok(client) => client,
        Err(error) => {
            shared.failed.set(true);
            shared.changed.notify_one();
            return Err(error);
        }
    };
    shared.seated.set(shared.seated.get() + 1);
    member.note(&shared);
    shared.changed.notify_one();
    // It ends with the connection, which is no failure of the run but counts in the ledger.
    let _ = listen(&shared, &member, client).await;
    member.ledger.borrow_mut().close();
    member.note(&shared);
    Ok(())
}

async fn listen(shared: &Shared, member: &Member, mut client: Client) -> anyhow::Result<()> {
    let mut stalls_after = member.seat.stalls_after;
    loop {
        if stalls_after.is_some_and(|count| member.ledger.borrow().delivered() >= u64::from(count))
            && shared.schedule.get().is_some()
        {
            stalls_after = None;
            shared.resumed.subscribe().wait_for(|resumed| *resumed).await?;
        }
        client
            .read(&shared.scratch, |messages| member.take(shared, messages, |_| {}))
            .await?;
        member.note(shared);
    }
}

/// Connects and subscribes, again where the server asks to try later.
async fn come_in(shared: &Shared, member: &Member) -> anyhow::Result<Client> {
    let seat = &member.seat;
    let dialect = &shared.door.dialect;
    let door = shared.doors.acquire().await?;
    let mut client = Client::open(&shared.door, &seat.channel, member.number).await?;
    let filled = |template: &Vec<u8>| fill(template, &seat.channel, member.number);
    for step in &dialect.hello {
        let send = step.send.as_ref().map(filled);
        say(shared, member, &mut client, step, send.as_deref()).await?;
    }
    let send = match shared.door.codec {
        Some(codec) => Some(tailwater::subscribe(codec, &seat.channel, seat.since.as_ref())?),
        None => dialect.subscribe.send.as_ref().map(filled),
    };
    loop {
        let answer = say(shared, member, &mut client, &dialect.subscribe, send.as_deref())
            .await
            .with_context(|| format!("cannot subscribe to {}", seat.channel))?;
        let Some(codec) = shared.door.codec else { break };
        let reply = tailwater::reply(codec, &answer)?;
        if let Some(pause) = reply.retry_after_ms {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            continue;
        }
        anyhow::ensure!(
            reply.kind == "subscribed" && (seat.since.is_none() || reply.recovered == Some(true)),
            "{}: {}",
            if reply.kind == "subscribed" {
                "not recovered"
            } else {
                "refused"
            },
            answer.escape_ascii()
        );
        member.position.replace(reply.position);
        break;
    }
    drop(door);
    Ok(client)
}

/// Says something and waits for the answer, if one is expected. A refusal of our own server is an answer too, since it may
/// say when to try again.
async fn say(
    shared: &Shared,
    member: &Member,
    client: &mut Client,
    step: &Step,
    send: Option<&[u8]>,
) -> anyhow::Result<Vec<u8>> {
    if let Some(message) = send {
        client.send(message).await?;
    }
    let Some(expected) = &step.expect else {
        return Ok(Vec::new());
    };
    let holds = |message: &[u8], part: &[u8]| memchr::memmem::find(message, part).is_some();
    loop {
        let mut answer = None;
        client
            .read(&shared.scratch, |messages| {
                member.take(shared, messages, |message| {
                    let refused = step.refused.as_ref().is_some_and(|part| holds(message, part));
                    if refused || holds(message, expected) {
                        answer.get_or_insert((refused, message.to_vec()));
                    }
                });
            })
            .await?;
        match answer {
            Some((true, answer)) if shared.door.codec.is_none() => {
                anyhow::bail!("refused: {}", answer.escape_ascii())
            }
            Some((_, answer)) => return Ok(answer),
            None => {}
        }
    }
}
