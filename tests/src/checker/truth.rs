//! What the stream holds, which is what every subscriber must receive. Read byte by byte while the run goes on,
//! because a library would stumble over the forged headers that the run stores.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::raw_nats::RawNats;

/// The number of a subject in a [`Truth`].
pub type SubjectId = usize;

/// One stored publication: 16 bytes, so that hours of them fit into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its offset.
    pub offset: u64,
    /// The [`fingerprint`] of its payload.
    pub print: u64,
}

/// Everything that the stream holds up to an offset, by subject.
#[derive(Debug, Default)]
pub struct Truth {
    upto: u64,
    ids: HashMap<String, SubjectId>,
    subjects: Vec<Subject>,
    kinds: HashMap<String, u64>,
}

#[derive(Debug)]
struct Subject {
    name: String,
    stored: Vec<Stored>,
}

impl Truth {
    /// The offset up to which everything is known.
    pub fn upto(&self) -> u64 {
        self.upto
    }

    /// The number of a subject, which is given to it when it is first asked for.
    pub fn id(&mut self, subject: &str) -> SubjectId {
        if let Some(id) = self.ids.get(subject) {
            return *id;
        }
        let id = self.subjects.len();
        self.ids.insert(subject.to_owned(), id);
        self.subjects.push(Subject {
            name: subject.to_owned(),
            stored: Vec::new(),
        });
        id
    }

    /// How many subjects have a number.
    pub fn len(&self) -> usize {
        self.subjects.len()
    }

    /// Whether no subject has a number.
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// The subject of a number.
    pub fn name(&self, id: SubjectId) -> &str {
        &self.subjects[id].name
    }

    /// What is stored on a subject, by offset.
    pub fn stored(&self, id: SubjectId) -> &[Stored] {
        &self.subjects[id].stored
    }

    /// How many publications are stored on all subjects.
    pub fn count(&self) -> usize {
        self.subjects.iter().map(|subject| subject.stored.len()).sum()
    }

    /// How many publications of a kind (see [`super::publishers`]) are stored.
    pub fn of_kind(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }

    /// Adds what the stream holds at `offset`, behind everything so far.
    pub fn store(&mut self, subject: &str, offset: u64, payload: &[u8]) {
        if offset <= self.upto {
            return;
        }
        self.upto = offset;
        // The stream keeps the edges' own notes too.
        if subject.starts_with('_') {
            return;
        }
        let kind = payload
            .strip_prefix(br#"{"k":""#)
            .and_then(|rest| rest.split(|byte| *byte == b'"').next());
        let kind = kind
            .and_then(|kind| str::from_utf8(kind).ok())
            .unwrap_or_default();
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.kinds.insert(kind.to_owned(), 1)),
        }
        let id = self.id(subject);
        let print = fingerprint(payload);
        self.subjects[id].stored.push(Stored { offset, print });
    }
}

/// A number that two payloads share only if they are the same, for all that matters here.
pub fn fingerprint(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

/// Takes a lock that a panic elsewhere does not close.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `stream` into `truth` for ever, from whichever of `nodes` answers.
pub async fn follow(nodes: Vec<SocketAddr>, stream: &str, truth: Arc<Mutex<Truth>>) {
    for node in nodes.iter().cycle() {
        // Away, or without the stream: the next one.
        let _ = read(*node, stream, &truth).await;
        super::pause(Duration::from_millis(50)).await;
    }
}

/// Reads from one node until that fails.
async fn read(node: SocketAddr, stream: &str, truth: &Mutex<Truth>) -> io::Result<()> {
    let mut nats = RawNats::connect(node).await?;
    let inbox = format!("_INBOX_truth.{:016x}", fastrand::u64(..));
    nats.send(format!("SUB {inbox} 1\r\n").as_bytes()).await?;
    loop {
        let from = lock(truth).upto + 1;
        let body = format!(r#"{{"seq":{from},"batch":256,"max_bytes":500000}}"#);
        let request = format!(
            "PUB $JS.API.DIRECT.GET.{stream} {inbox} {}\r\n{body}\r\n",
            body.len()
        );
        nats.send(request.as_bytes()).await?;
        let batch = timeout(Duration::from_secs(2), batch(&mut nats, truth)).await;
        if !batch.map_err(io::Error::from)?? {
            super::pause(Duration::from_millis(20)).await;
        }
    }
}

/// Takes one batch; false if there is nothing new.
async fn batch(nats: &mut RawNats, truth: &Mutex<Truth>) -> io::Result<bool> {
    loop {
        let message = nats.next().await?;
        let sequence = message
            .header("Nats-Sequence")
            .and_then(|sequence| sequence.parse().ok());
        let subject = message.header("Nats-Subject");
        match (sequence, subject) {
            (Some(sequence), Some(subject)) => lock(truth).store(subject, sequence, &message.payload),
            _ => match message.status() {
                204 => return Ok(true),
                404 => return Ok(false),
                status => return Err(io::Error::other(format!("status {status}"))),
            },
        }
    }
}
