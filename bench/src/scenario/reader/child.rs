//! One reader, in a process of its own: says [`READY`], then a line each [`WINDOW`] messages, and at last what they cost.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::{ConnectOptions, HeaderMap};
use clap::Args;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tailwater_broker::wire::{Handler, Message, SubscriptionId, number};
use tokio::sync::Notify;

use super::{WINDOW, Who, subject};
use crate::{nats, process};

/// The first line that a reader writes.
pub(crate) const READY: &str = "ready";

/// The longest that subscribing may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What JetStream adds when it republishes.
const NAMES: [&str; 5] = [
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
    "Nats-Last-Sequence",
];

/// The place of the sequence in `NAMES`.
const SEQUENCE: usize = 2;

#[derive(Debug, Args)]
pub(crate) struct Child {
    #[arg(long)]
    nats: String,
    #[arg(long)]
    reader: Who,
    #[arg(long)]
    subjects: usize,
    #[arg(long)]
    windows: u64,
}

/// What a reader has come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChildReport {
    /// Messages that were measured.
    pub(crate) messages: u64,
    /// The sum of all sequences, those before the measurement included.
    pub(crate) sequences: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) elapsed_ns: u64,
    /// What was allocated, where that is counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) allocations: Option<u64>,
}

impl Child {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let done = Arc::new(Notify::new());
        match self.reader {
            Who::Lean => self.lean(&done).await,
            Who::AsyncNats => self.async_nats(&done).await,
        }
    }

    async fn lean(&self, done: &Arc<Notify>) -> anyhow::Result<()> {
        let count = Count::new(self.windows, done.clone());
        let wire = nats::connect(&self.nats, "read", Lean(count)).await?;
        for number in 0..self.subjects {
            wire.subscribe(&subject(number), ()).await?;
        }
        wire.barrier(PATIENCE).await?;
        say(READY);
        done.notified().await;
        Ok(())
    }

    async fn async_nats(&self, done: &Arc<Notify>) -> anyhow::Result<()> {
        let count = Rc::new(std::cell::RefCell::new(Count::new(self.windows, done.clone())));
        let client = ConnectOptions::new().connect(&self.nats).await?;
        for number in 0..self.subjects {
            let mut messages = client.subscribe(subject(number)).await?;
            let count = count.clone();
            tokio::task::spawn_local(async move {
                while let Some(message) = messages.next().await {
                    let headers = message.headers.as_ref();
                    let values = NAMES.map(|name| last(headers, name));
                    count.borrow_mut().message(values);
                }
            });
        }
        // The server handles a connection's lines in order: this comes back when it has all subscriptions.
        let inbox = client.new_inbox();
        let mut echo = client.subscribe(inbox.clone()).await?;
        client.publish(inbox, "".into()).await?;
        let echoed = tokio::time::timeout(PATIENCE, echo.next()).await?;
        echoed.context("the connection ended")?;
        drop(echo);
        say(READY);
        done.notified().await;
        Ok(())
    }
}

fn last<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a [u8]> {
    Some(headers?.get_last(name)?.as_str().as_bytes())
}

struct Lean(Count);

impl Handler for Lean {
    type Subscription = ();

    fn message(&mut self, _: SubscriptionId, (): &mut (), message: &Message<'_>) {
        self.0.message(message.headers.last_of_each(NAMES));
    }
}

/// Counts messages and measures from the end of the first window on.
struct Count {
    messages: u64,
    sequences: u64,
    /// Messages of the whole run.
    total: u64,
    begin: Option<(Instant, Duration, Allocations)>,
    done: Arc<Notify>,
}

impl Count {
    fn new(windows: u64, done: Arc<Notify>) -> Self {
        Self {
            messages: 0,
            sequences: 0,
            total: WINDOW * (windows + 1),
            begin: None,
            done,
        }
    }

    fn message(&mut self, values: [Option<&[u8]>; 5]) {
        // All of them count: a reader that did not look would be stopped here.
        if values.iter().all(Option::is_some) {
            self.sequences += values[SEQUENCE].and_then(number).unwrap_or(0);
        }
        self.messages += 1;
        if self.messages.is_multiple_of(WINDOW) {
            self.window();
        }
    }

    fn window(&mut self) {
        say("window");
        match &self.begin {
            None => self.begin = Some((Instant::now(), process::own_cpu_time(), Allocations::begin())),
            Some((begin, cpu, allocations)) if self.messages == self.total => {
                let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                let report = ChildReport {
                    messages: self.total - WINDOW,
                    sequences: self.sequences,
                    cpu_ns: nanoseconds(process::own_cpu_time() - *cpu),
                    elapsed_ns: nanoseconds(begin.elapsed()),
                    allocations: allocations.count(),
                };
                say(&serde_json::to_string(&report).unwrap_or_default());
                self.done.notify_one();
            }
            Some(_) => {}
        }
    }
}

/// A line for the parent, who ends this process if it cannot be written.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Counts what is allocated while it lives.
#[cfg(feature = "allocations")]
struct Allocations(dhat::Profiler);

#[cfg(feature = "allocations")]
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[cfg(feature = "allocations")]
impl Allocations {
    fn begin() -> Self {
        Self(dhat::Profiler::builder().testing().build())
    }

    fn count(&self) -> Option<u64> {
        Some(dhat::HeapStats::get().total_blocks)
    }
}

#[cfg(not(feature = "allocations"))]
struct Allocations;

#[cfg(not(feature = "allocations"))]
impl Allocations {
    fn begin() -> Self {
        Self
    }

    fn count(&self) -> Option<u64> {
        None
    }
}
