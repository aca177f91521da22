//! Requests to JetStream, each with its answer or its error.
//!
//! They are written by hand, as JSON: a stream's configuration is sent back with every field that the server has, also
//! those that no client library knows yet, which would otherwise be lost with an update. A request that NATS does not
//! let us make fails at once instead of after a time-out.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{
    HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::{Message, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::connection::{Connection, Incident};
use crate::error::BrokerError;

/// The longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The error (`err_code`) for subjects that another stream has.
pub(super) const OVERLAP: u64 = 10_065;

/// The other errors of JetStream that mean something to us.
mod code {
    pub(super) const NO_QUORUM: u64 = 10_008;
    pub(super) const NOT_FOR_ACCOUNT: u64 = 10_039;
    pub(super) const NOT_ENABLED: u64 = 10_076;
    pub(super) const NO_MESSAGE: u64 = 10_037;
    pub(super) const NO_STREAM: u64 = 10_059;
    pub(super) const NAME_IN_USE: u64 = 10_058;
    pub(super) const WRONG_LAST_SEQUENCE: u64 = 10_071;
    pub(super) const WRONG_LAST_SEQUENCE_UNKNOWN: u64 = 10_164;
    pub(super) const NOT_CLUSTERED: u64 = 10_074;
    pub(super) const NO_STORAGE: u64 = 10_047;
    pub(super) const NO_MEMORY: u64 = 10_028;
    pub(super) const ACCOUNT_RESOURCES: u64 = 10_002;
    pub(super) const NO_PEERS: u64 = 10_005;
}

/// JetStream as one connection reaches it.
#[derive(Clone, Debug)]
pub(crate) struct JetStream {
    connection: Connection,
    prefix: Arc<str>,
}

/// What `STREAM.INFO` says about a stream.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Info {
    /// Its configuration, all of it.
    pub(crate) config: Map<String, Value>,
    /// When it was created, in RFC 3339.
    pub(crate) created: String,
    #[serde(default)]
    pub(crate) state: State,
    cluster: Option<Cluster>,
}

/// The messages of a stream.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct State {
    /// The sequence of the last message that was ever stored; 0: none ever was.
    pub(crate) last_seq: u64,
    /// How many are stored now.
    #[serde(default)]
    pub(crate) messages: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Cluster {
    #[serde(default)]
    leader: String,
}

/// A stored message, without its headers.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) body: Vec<u8>,
    /// When it was stored, in RFC 3339.
    pub(crate) time: String,
}

/// What came of a request to create a stream.
#[derive(Debug)]
pub(crate) enum Creation {
    /// It is there, as asked for.
    Created,
    /// There is a stream of that name with another configuration.
    NameInUse,
    /// Another stream has some of the subjects.
    SubjectsTaken,
}

impl Info {
    /// Publications that the stream keeps of one subject; `None`: no limit.
    pub(crate) fn max_messages_per_subject(&self) -> Option<u64> {
        let limit = self.config.get("max_msgs_per_subject").and_then(Value::as_u64);
        limit.filter(|limit| *limit > 0)
    }
}

impl JetStream {
    /// JetStream over `connection`, in its domain if it has one.
    pub(crate) fn new(connection: Connection, domain: Option<&str>) -> Self {
        Self::at(connection, prefix(domain).into())
    }

    /// As [`JetStream::new`], by the prefix of the API's subjects.
    pub(crate) fn at(connection: Connection, prefix: Arc<str>) -> Self {
        Self { connection, prefix }
    }

    pub(crate) fn prefix(&self) -> &Arc<str> {
        &self.prefix
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The stream of this name, if there is one.
    pub(crate) async fn info(&self, stream: &str) -> Result<Option<Info>, BrokerError> {
        let asked = self.ask(&format!("STREAM.INFO.{stream}"), Bytes::new()).await;
        let Some(answer) = led(stream, or_none(asked, code::NO_STREAM))? else {
            return Ok(None);
        };
        let info: Info = self.read(&format!("STREAM.INFO.{stream}"), answer)?;
        // Without a leader nothing can be stored, and what is told may be old.
        if info
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.leader.is_empty())
        {
            let stream = stream.to_owned();
            return Err(BrokerError::NoLeader { stream });
        }
        Ok(Some(info))
    }

    pub(crate) async fn create(
        &self,
        stream: &str,
        config: &Map<String, Value>,
    ) -> Result<Creation, BrokerError> {
        let asked = self.ask(&format!("STREAM.CREATE.{stream}"), body(config)).await;
        match led(stream, asked) {
            Ok(_) => Ok(Creation::Created),
            Err(BrokerError::JetStream { code, .. }) if code == code::NAME_IN_USE => Ok(Creation::NameInUse),
            Err(BrokerError::JetStream { code, .. }) if code == OVERLAP => Ok(Creation::SubjectsTaken),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn update(&self, stream: &str, config: &Map<String, Value>) -> Result<(), BrokerError> {
        let asked = self.ask(&format!("STREAM.UPDATE.{stream}"), body(config)).await;
        led(stream, asked).map(|_| ())
    }

    /// The names of the streams that have a subject in common with this one; none if we may not know.
    pub(crate) async fn streams_with(&self, subject: &str) -> Vec<String> {
        let asked = self.ask("STREAM.NAMES", json!({"subject": subject}).to_string().into());
        let answer = asked.await.unwrap_or_default();
        let names = answer.get("streams").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    }

    /// The last message on `subject`, as the stream's leader has it.
    pub(crate) async fn last(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BrokerError> {
        #[derive(Deserialize)]
        struct Answer {
            message: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            seq: u64,
            #[serde(default)]
            data: String,
            time: String,
        }
        let request = format!("STREAM.MSG.GET.{stream}");
        let asked = self.ask(&request, json!({"last_by_subj": subject}).to_string().into());
        let answer = match led(stream, or_none(asked.await, code::NO_MESSAGE)) {
            Err(BrokerError::JetStream { code, .. }) if code == code::NO_STREAM => {
                let stream = stream.to_owned();
                return Err(BrokerError::NoStream { stream });
            }
            other => other?,
        };
        let Some(answer) = answer else {
            return Ok(None);
        };
        let Answer { message } = self.read(&request, answer)?;
        let decoded = BASE64_STANDARD.decode(message.data);
        Ok(Some(Stored {
            sequence: message.seq,
            body: decoded.map_err(|_| self.unintelligible(&request))?,
            time: message.time,
        }))
    }

    /// Stores a message if the last one on `subject` has the sequence `expected` (0: there is none). Gives its
    /// sequence, or nothing if the last one is another.
    pub(crate) async fn store(
        &self,
        stream: &str,
        subject: &str,
        expected: u64,
        body: Bytes,
    ) -> Result<Option<u64>, BrokerError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, stream);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string().as_str());
        let answer = match led(stream, self.request(subject, headers, body).await) {
            // The stream was there a moment ago.
            Err(BrokerError::NoResponders { .. }) => {
                let stream = stream.to_owned();
                return Err(BrokerError::NoLeader { stream });
            }
            answer => answer?,
        };
        match self.parse(subject, &answer) {
            Ok(answer) => {
                let sequence = answer.get("seq").and_then(Value::as_u64);
                sequence
                    .map(Some)
                    .ok_or_else(|| self.unintelligible_subject(subject))
            }
            Err(BrokerError::JetStream { code, .. })
                if code == code::WRONG_LAST_SEQUENCE || code == code::WRONG_LAST_SEQUENCE_UNKNOWN =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a message, whatever is there; once, if several do so with the same `id` within the stream's duplicate
    /// window.
    pub(crate) async fn put(
        &self,
        stream: &str,
        subject: &str,
        id: &str,
        body: Bytes,
    ) -> Result<(), BrokerError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, stream);
        headers.insert(NATS_MESSAGE_ID, id);
        let answer = match self.request(subject, headers, body).await {
            Err(BrokerError::NoResponders { .. }) => Err(BrokerError::NoStream {
                stream: stream.to_owned(),
            }),
            answer => answer,
        };
        self.parse(subject, &answer?).map(|_| ())
    }

    /// One request to the API, `name` being what follows the prefix.
    async fn ask(&self, name: &str, body: Bytes) -> Result<Map<String, Value>, BrokerError> {
        let subject = self.subject(name);
        match self.request(&subject, HeaderMap::new(), body).await {
            Ok(answer) => self.parse(&subject, &answer),
            Err(BrokerError::NoResponders { .. }) => Err(BrokerError::NoJetStream {
                api: self.prefix.to_string(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and waits for its answer, or for NATS to refuse it. Each has an inbox of its own: a refused
    /// inbox is noticed every time.
    pub(crate) async fn request(
        &self,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Message, BrokerError> {
        if !self.connection.is_connected() {
            return Err(BrokerError::Away);
        }
        let client = self.connection.client();
        let mut incidents = self.connection.incidents();
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(|_| BrokerError::Away)?;
        let (to, reply) = (subject.to_owned(), inbox.clone());
        let sent = client.publish_with_reply_and_headers(to, reply, headers, body);
        sent.await.map_err(|_| BrokerError::Away)?;
        let refusal = async {
            loop {
                match incidents.recv().await {
                    Ok(Incident::SubscriptionRefused(refused)) if refused == inbox => return refused,
                    Ok(Incident::PublicationRefused(refused)) if refused == subject => return refused,
                    Err(RecvError::Closed) => std::future::pending().await,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                }
            }
        };
        tokio::select! {
            answer = answers.next() => match answer {
                Some(answer) if answer.status == Some(StatusCode::NO_RESPONDERS) => {
                    Err(BrokerError::NoResponders { subject: subject.to_owned() })
                }
                answer => answer.ok_or(BrokerError::Away),
            },
            subject = refusal => Err(BrokerError::Refused { subject }),
            () = tokio::time::sleep(TIMEOUT) => Err(BrokerError::Unavailable { timeout: TIMEOUT }),
        }
    }

    /// The fields of an answer, or the error that it tells.
    fn parse(&self, subject: &str, answer: &Message) -> Result<Map<String, Value>, BrokerError> {
        let parsed = serde_json::from_slice(&answer.payload);
        let answer: Map<String, Value> = parsed.map_err(|_| self.unintelligible_subject(subject))?;
        let Some(error) = answer.get("error") else {
            return Ok(answer);
        };
        let code = error.get("err_code").and_then(Value::as_u64).unwrap_or(0);
        let description = error
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if matches!(code, code::NOT_ENABLED | code::NOT_FOR_ACCOUNT) {
            let api = self.prefix.to_string();
            return Err(BrokerError::NoJetStream { api });
        }
        let advice = advice(code)
            .map(|advice| format!(": {advice}"))
            .unwrap_or_default();
        Err(BrokerError::JetStream {
            request: subject.to_owned(),
            code,
            description: format!("{description}{advice}"),
        })
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        request: &str,
        answer: Map<String, Value>,
    ) -> Result<T, BrokerError> {
        serde_json::from_value(Value::Object(answer)).map_err(|_| self.unintelligible(request))
    }

    fn subject(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn unintelligible(&self, request: &str) -> BrokerError {
        self.unintelligible_subject(&self.subject(request))
    }

    fn unintelligible_subject(&self, subject: &str) -> BrokerError {
        let request = subject.to_owned();
        BrokerError::Unintelligible { request }
    }
}

/// The prefix of the subjects of JetStream's API.
pub(crate) fn prefix(domain: Option<&str>) -> String {
    domain.map_or_else(|| "$JS.API".to_owned(), |domain| format!("$JS.{domain}.API"))
}

fn body(config: &Map<String, Value>) -> Bytes {
    serde_json::to_vec(config).unwrap_or_default().into()
}

/// Nothing instead of the error with this code.
fn or_none(
    asked: Result<Map<String, Value>, BrokerError>,
    none: u64,
) -> Result<Option<Map<String, Value>>, BrokerError> {
    match asked {
        Err(BrokerError::JetStream { code, .. }) if code == none => Ok(None),
        asked => asked.map(Some),
    }
}

/// Of requests that only a leader answers: without one there is silence, or an error that is not of the stream.
fn led<T>(stream: &str, asked: Result<T, BrokerError>) -> Result<T, BrokerError> {
    match asked {
        Err(
            BrokerError::Unavailable { .. }
            | BrokerError::JetStream {
                code: code::NO_QUORUM,
                ..
            },
        ) => {
            let stream = stream.to_owned();
            Err(BrokerError::NoLeader { stream })
        }
        asked => asked,
    }
}

/// What an operator can do about an error of JetStream.
fn advice(code: u64) -> Option<&'static str> {
    match code {
        code::NOT_CLUSTERED => Some("set `replicas = 1` for the stream, or run NATS as a cluster"),
        code::NO_PEERS => Some("lower `replicas` of the stream, or give the cluster more servers"),
        code::NO_STORAGE | code::NO_MEMORY | code::ACCOUNT_RESOURCES => {
            Some("lower `max_bytes` of the stream, or give JetStream or the account more room")
        }
        _ => None,
    }
}
