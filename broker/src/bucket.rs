//! A key-value bucket (NATS ADR-8): a stream `KV_<name>` that keeps the newest message of each subject
//! `$KV.<name>.<key>`. Made if it is missing, read as a whole, written key by key.
//!
//! Who wants to follow it listens on [`Bucket::subject`] and reads it again when something may have been missed, and
//! from time to time: [`Bucket::read`] asks for one thing as long as nothing has changed. Over a leaf node in another
//! JetStream domain nothing is heard, and the reading alone brings changes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::config::NatsConfig;
use crate::connection::Connection;
use crate::error::BrokerError;
use crate::jetstream::{self, Get, sequence};
use crate::listener::{Listener, Note};
use crate::stream::Finding;
use crate::stream::api::{Info, JetStream};
use crate::wire::Headers;

/// The most entries that are read; a bucket with more is an error.
pub const MAX_ENTRIES: usize = 1_000_000;

/// Entries of one request.
const BATCH: usize = 1000;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long JetStream recognises a repeated id.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A bucket as the configuration wants it.
#[derive(Clone, Debug)]
pub struct BucketSpec {
    /// Its name: letters, digits, `_` and `-`.
    pub name: Arc<str>,
    /// What it is for; shown by NATS's own tools.
    pub description: &'static str,
    /// How long an entry is kept, if we make the bucket.
    pub max_age: Duration,
    /// Servers that hold a copy, if we make it.
    pub replicas: u32,
    /// Whether it is made if it is missing.
    pub manage: bool,
}

/// A bucket, by way of two connections.
#[derive(Clone, Debug)]
pub struct Bucket {
    jetstream: JetStream,
    listener: Listener,
    spec: BucketSpec,
    stream: Arc<str>,
    /// What stands before a key in the subject that it is stored on.
    stored_on: Arc<str>,
    /// What stands before a key where it is published.
    put_on: Arc<str>,
}

/// What one key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value; `None`: it was deleted.
    pub value: Option<Bytes>,
    /// When it was stored, in RFC 3339; nothing if that is not known.
    pub time: Option<String>,
}

/// All that a bucket holds.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// By the order in which they were stored; of a key that occurs twice the last counts.
    pub entries: Vec<Entry>,
    /// How long entries are kept; `None`: for ever.
    pub max_age: Option<Duration>,
    /// The state of the bucket that this is; nothing if a replica answered that was behind.
    pub mark: Option<Mark>,
}

/// A state of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    created: String,
    last: u64,
    count: u64,
}

/// Looks at a bucket without changing anything, over a connection of its own and within `timeout`.
pub async fn inspect(
    config: &NatsConfig,
    domain: Option<&str>,
    spec: &BucketSpec,
    timeout: Duration,
) -> Finding {
    let look = async {
        let (connection, _) = Connection::open_now(config, "check").await?;
        let info = JetStream::new(connection, domain).info(&stream_of(spec)).await?;
        info.map(|info| judge(spec, &info)).transpose()
    };
    let looked = tokio::time::timeout(timeout, Box::pin(look)).await;
    match looked.unwrap_or(Err(BrokerError::Unreachable { timeout })) {
        Ok(Some(())) => Finding::Fine("is as it should be".to_owned()),
        Ok(None) if spec.manage => Finding::Pending("does not exist: the edge will create it".to_owned()),
        Ok(None) => Finding::Refusal(format!(
            "does not exist, and the edge is not to make it: `nats kv add {} --ttl {}s`",
            spec.name,
            spec.max_age.as_secs()
        )),
        Err(error @ BrokerError::NoJetStream { .. }) => Finding::Warning(format!(
            "{error}; without it revocations are forgotten when the edge restarts"
        )),
        Err(error) => Finding::Refusal(error.to_string()),
    }
}

/// Makes a bucket that is missing and may be made, over a connection of its own and within `timeout`.
pub async fn provide(
    config: &NatsConfig,
    domain: Option<&str>,
    spec: &BucketSpec,
    timeout: Duration,
) -> Finding {
    let work = async {
        let (connection, _) = Connection::open_now(config, "provision").await?;
        judge(spec, &look(&JetStream::new(connection, domain), spec).await?)
    };
    let worked = tokio::time::timeout(timeout, Box::pin(work)).await;
    match worked.unwrap_or(Err(BrokerError::Unreachable { timeout })) {
        Ok(()) => Finding::Fine("is as it should be".to_owned()),
        Err(error) => Finding::Refusal(error.to_string()),
    }
}

/// The stream behind a bucket.
fn stream_of(spec: &BucketSpec) -> String {
    format!("KV_{}", spec.name)
}

/// Refuses a bucket that cannot be read as we do.
fn judge(spec: &BucketSpec, info: &Info) -> Result<(), BrokerError> {
    if info.config.get("allow_direct").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    Err(BrokerError::BucketUnfit {
        bucket: spec.name.to_string(),
        reason: "its stream needs `allow_direct`: set it with `nats stream edit`",
    })
}

/// The stream behind a bucket, which is made if it is missing and may be made.
async fn look(jetstream: &JetStream, spec: &BucketSpec) -> Result<Info, BrokerError> {
    let stream = stream_of(spec);
    if let Some(info) = jetstream.info(&stream).await? {
        return Ok(info);
    }
    if spec.manage {
        jetstream.create(&stream, &creation(spec)).await?;
        tracing::info!(bucket = &*spec.name, "the bucket was created");
    }
    // Read again: another edge may have made it at the same time.
    let info = jetstream.info(&stream).await?;
    info.ok_or(BrokerError::NoStream { stream })
}

/// A new bucket as NATS's own clients make it, of one value a key.
fn creation(spec: &BucketSpec) -> Map<String, Value> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let config = json!({
        "name": stream_of(spec),
        "description": spec.description,
        "subjects": [format!("$KV.{}.>", spec.name)],
        "max_msgs_per_subject": 1,
        "max_age": nanoseconds(spec.max_age),
        "duplicate_window": nanoseconds(DUPLICATE_WINDOW.min(spec.max_age)),
        "storage": "file",
        "discard": "new",
        "num_replicas": spec.replicas,
        "allow_direct": true,
        "allow_rollup_hdrs": true,
        "deny_delete": true,
    });
    match config {
        Value::Object(config) => config,
        _ => unreachable!("an object was written"),
    }
}

impl Bucket {
    /// The bucket that `spec` describes, which is not looked at yet; `domain` is its JetStream domain.
    pub fn new(connection: Connection, listener: Listener, domain: Option<&str>, spec: BucketSpec) -> Self {
        let jetstream = JetStream::new(connection, domain);
        let stored_on = format!("$KV.{}.", spec.name);
        // The servers map this to the plain subject in the domain.
        let put_on = match domain {
            Some(_) => format!("{}.{stored_on}", jetstream.prefix()),
            None => stored_on.clone(),
        };
        Self {
            stream: stream_of(&spec).into(),
            stored_on: stored_on.into(),
            put_on: put_on.into(),
            jetstream,
            listener,
            spec,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where changes can be heard.
    pub fn subject(&self) -> String {
        format!("{}>", self.stored_on)
    }

    /// All that the bucket holds, or nothing if its state is still `known`. Makes the bucket if it is missing and may be
    /// made.
    ///
    /// # Errors
    /// [`BrokerError::NoJetStream`], [`BrokerError::NoStream`] if there is no bucket and we are not to make it,
    /// [`BrokerError::BucketUnfit`], [`BrokerError::TooManySubjects`] beyond [`MAX_ENTRIES`],
    /// [`BrokerError::Refused`] if NATS forbids what is needed; what is worth another try is as for every request.
    pub async fn read(&self, known: Option<&Mark>) -> Result<Option<Snapshot>, BrokerError> {
        let info = look(&self.jetstream, &self.spec).await?;
        let mark = Mark {
            created: info.created.clone(),
            last: info.state.last_seq,
            count: info.state.messages,
        };
        if known == Some(&mark) {
            return Ok(None);
        }
        judge(&self.spec, &info)?;
        let max_age = info.config.get("max_age").and_then(Value::as_u64);
        let max_age = max_age.filter(|nanoseconds| *nanoseconds > 0);
        let (entries, upto) = self.read_all().await?;
        let is_whole = upto >= mark.last || entries.len() as u64 >= mark.count;
        Ok(Some(Snapshot {
            entries,
            max_age: max_age.map(Duration::from_nanos),
            mark: is_whole.then_some(mark),
        }))
    }

    /// Stores `value` under `key`, in place of what is there. Several that store the same at the same time do so once if
    /// they give the same `id`.
    ///
    /// # Errors
    /// [`BrokerError::Away`], [`BrokerError::NoStream`], [`BrokerError::Refused`], [`BrokerError::Unavailable`] without
    /// an answer in time, [`BrokerError::JetStream`] with JetStream's own reason.
    pub async fn put(&self, key: &str, value: Bytes, id: &str) -> Result<(), BrokerError> {
        let subject = format!("{}{key}", self.put_on);
        self.jetstream.put(&self.stream, &subject, id, value).await
    }

    /// What a note on [`Bucket::subject`] says; nothing if it is on another subject.
    pub fn entry(&self, note: &Note) -> Option<Entry> {
        self.entry_of(
            note.subject(),
            note.header("KV-Operation").or(note.header("Nats-Marker-Reason")),
            note.payload(),
            None,
        )
    }

    /// Every entry, and the last sequence among them.
    async fn read_all(&self) -> Result<(Vec<Entry>, u64), BrokerError> {
        let (subject, mut entries, mut upto) = (self.subject(), Vec::new(), 0);
        loop {
            let get = Get {
                seq: Some(upto + 1),
                next_by_subj: Some(&subject),
                batch: BATCH,
                ..Get::default()
            };
            let prefix = self.jetstream.prefix();
            let got = jetstream::get_of(self.listener.wire(), prefix, &self.stream, &get, TIMEOUT).await?;
            let Some(last) = got.messages.last().and_then(sequence) else {
                return Ok((entries, upto));
            };
            upto = last;
            for message in &got.messages {
                let headers: Headers<'_> = message.headers();
                let [stored_on, operation, marker, time] = headers.last_of_each([
                    "Nats-Subject",
                    "KV-Operation",
                    "Nats-Marker-Reason",
                    "Nats-Time-Stamp",
                ]);
                let time = time.and_then(|time| str::from_utf8(time).ok()).map(str::to_owned);
                let stored_on = stored_on.unwrap_or_default();
                entries.extend(self.entry_of(stored_on, operation.or(marker), &message.payload, time));
            }
            if got.pending == 0 {
                return Ok((entries, upto));
            }
            if entries.len() >= MAX_ENTRIES {
                return Err(BrokerError::TooManySubjects { limit: MAX_ENTRIES });
            }
        }
    }

    /// `deleted`: why the message is no value, if it is none.
    fn entry_of(
        &self,
        subject: &[u8],
        deleted: Option<&[u8]>,
        payload: &Bytes,
        time: Option<String>,
    ) -> Option<Entry> {
        let key = subject.strip_prefix(self.stored_on.as_bytes())?;
        let is_deleted = deleted.is_some_and(|operation| operation != b"PUT");
        Some(Entry {
            key: str::from_utf8(key).ok()?.to_owned(),
            value: (!is_deleted).then(|| payload.clone()),
            time,
        })
    }
}
