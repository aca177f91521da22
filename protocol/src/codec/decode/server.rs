//! How a client reads the server's messages.

use serde::Deserialize;

use super::payload::{WireBase64, WirePayload, payload_field, present};
use super::{Body, Head, Mistake};
use crate::channel::Channel;
use crate::codec::DecodeError;
use crate::error::{ErrorCode, ErrorMessage, ServiceError};
use crate::message::{ServerBody, ServerMessage};
use crate::position::{Epoch, Offset};
use crate::push::{Deleted, Push, Update};
use crate::reply::{Gap, History, Member, Publication, Reply};

/// Reads a message whose head has been read; `None` if this version does not know its type.
pub(in crate::codec) fn server(head: &Head, body: &impl Body) -> Result<Option<ServerMessage>, DecodeError> {
    if let Some(mistake) = &head.mistake {
        return Err(DecodeError::new(mistake.clone()));
    }
    let Some(kind) = &head.kind else {
        return Err(DecodeError::new("`type` is missing"));
    };
    let read = match reply(kind, body)? {
        Some(reply) => Some(ServerBody::Reply(reply)),
        None => push(kind, body)?.map(ServerBody::Push),
    };
    Ok(read.map(|body| ServerMessage { id: head.id, body }))
}

fn reply(kind: &str, body: &impl Body) -> Result<Option<Reply>, Mistake> {
    Ok(Some(match kind {
        "subscribed" => Reply::Subscribed(body.read()?),
        "unsubscribed" => {
            let UnsubscribedFields { channel } = body.read()?;
            Reply::Unsubscribed { channel }
        }
        "published" => {
            let PublishedFields { offset, duplicate } = body.read()?;
            Reply::Published {
                offset,
                duplicate: duplicate.unwrap_or(false),
            }
        }
        "reply" => {
            let ReplyFields { payload, payload_b64 } = body.read()?;
            Reply::Reply {
                payload: super::exactly_one(payload, payload_b64)?,
            }
        }
        "presence" => Reply::Presence(body.read()?),
        "history" => Reply::History(body.read::<HistoryFields>()?.into()),
        "refreshed" => {
            let RefreshedFields { expires_at } = body.read()?;
            Reply::Refreshed { expires_at }
        }
        "pong" => Reply::Pong,
        _ => return Ok(None),
    }))
}

fn push(kind: &str, body: &impl Body) -> Result<Option<Push>, Mistake> {
    Ok(Some(match kind {
        "connected" => Push::Connected(body.read()?),
        "update" => Push::Update(body.read::<UpdateFields>()?.check()?),
        "lost" => Push::Lost(body.read()?),
        "position" => {
            let PositionFields {
                channel,
                offset,
                epoch,
            } = body.read()?;
            Push::Position {
                channel,
                offset,
                epoch,
            }
        }
        "joined" => {
            let MemberFields { channel, member } = body.read()?;
            Push::Joined { channel, member }
        }
        "left" => {
            let MemberFields { channel, member } = body.read()?;
            Push::Left { channel, member }
        }
        "drain" => {
            let DrainFields { reconnect_after_ms } = body.read()?;
            Push::Drain { reconnect_after_ms }
        }
        "error" => Push::Error(body.read::<ErrorFields>()?.check()?),
        _ => return Ok(None),
    }))
}

#[derive(Deserialize)]
struct UnsubscribedFields {
    channel: Channel,
}

#[derive(Deserialize)]
struct PublishedFields {
    offset: Option<Offset>,
    duplicate: Option<bool>,
}

#[derive(Deserialize)]
struct ReplyFields {
    #[serde(default, deserialize_with = "present")]
    payload: Option<WirePayload>,
    payload_b64: Option<WireBase64>,
}

#[derive(Deserialize)]
struct HistoryFields {
    channel: Channel,
    epoch: Epoch,
    upto: Offset,
    publications: Vec<PublicationFields>,
    next: Option<Offset>,
    lost: Option<Gap>,
}

impl From<HistoryFields> for History {
    fn from(fields: HistoryFields) -> Self {
        let HistoryFields {
            channel,
            epoch,
            upto,
            publications,
            next,
            lost,
        } = fields;
        let publications = publications
            .into_iter()
            .map(|PublicationFields(publication)| publication)
            .collect();
        Self {
            channel,
            epoch,
            upto,
            publications,
            next,
            lost,
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "UncheckedPublication")]
struct PublicationFields(Publication);

#[derive(Deserialize)]
struct UncheckedPublication {
    offset: Offset,
    #[serde(default, deserialize_with = "present")]
    payload: Option<WirePayload>,
    payload_b64: Option<WireBase64>,
    subject: Option<String>,
    time: Option<String>,
    trace: Option<String>,
    deleted: Option<Deleted>,
}

impl TryFrom<UncheckedPublication> for PublicationFields {
    type Error = &'static str;

    fn try_from(fields: UncheckedPublication) -> Result<Self, &'static str> {
        let UncheckedPublication {
            offset,
            payload,
            payload_b64,
            subject,
            time,
            trace,
            deleted,
        } = fields;
        let payload = payload_field(payload, payload_b64)?;
        Ok(Self(Publication {
            payload,
            subject,
            offset,
            time,
            trace,
            deleted,
        }))
    }
}

#[derive(Deserialize)]
struct RefreshedFields {
    expires_at: Option<String>,
}

#[derive(Deserialize)]
struct UpdateFields {
    channel: Channel,
    #[serde(default, deserialize_with = "present")]
    payload: Option<WirePayload>,
    payload_b64: Option<WireBase64>,
    subject: Option<String>,
    offset: Option<Offset>,
    time: Option<String>,
    trace: Option<String>,
    deleted: Option<Deleted>,
}

impl UpdateFields {
    fn check(self) -> Result<Update, Mistake> {
        let Self {
            channel,
            payload,
            payload_b64,
            subject,
            offset,
            time,
            trace,
            deleted,
        } = self;
        let payload = super::exactly_one(payload, payload_b64)?;
        Ok(Update {
            channel,
            payload,
            subject,
            offset,
            time,
            trace,
            deleted,
        })
    }
}

#[derive(Deserialize)]
struct PositionFields {
    channel: Channel,
    offset: Offset,
    epoch: Epoch,
}

#[derive(Deserialize)]
struct MemberFields {
    channel: Channel,
    member: Member,
}

#[derive(Deserialize)]
struct DrainFields {
    reconnect_after_ms: u32,
}

#[derive(Deserialize)]
struct ErrorFields {
    id: Option<u32>,
    code: ErrorCode,
    message: String,
    channel: Option<String>,
    retry_after_ms: Option<u32>,
    service_error: Option<ServiceErrorFields>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<WirePayload>,
    payload_b64: Option<WireBase64>,
}

#[derive(Deserialize)]
struct ServiceErrorFields {
    code: String,
    description: String,
}

impl ErrorFields {
    fn check(self) -> Result<ErrorMessage, Mistake> {
        let Self {
            id,
            code,
            message,
            channel,
            retry_after_ms,
            service_error,
            payload,
            payload_b64,
        } = self;
        let service_error = match service_error {
            None => None,
            Some(ServiceErrorFields { code, description }) => Some(Box::new(ServiceError {
                code,
                description,
                payload: super::exactly_one(payload, payload_b64)?,
            })),
        };
        Ok(ErrorMessage {
            id,
            code,
            message,
            channel,
            retry_after_ms,
            service_error,
        })
    }
}
