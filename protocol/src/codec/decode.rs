//! How a message is read, whatever its codec: first its `type`, `id` and `channel`, then the fields of that type. What
//! another type would need counts as unknown and is ignored, and an error can name the command that it is about.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::channel::Channel;
use crate::codec::DecodeError;
use crate::command::Unsubscribe;
use crate::command::{
    Command, CommandMessage, Connect, History, Key, Presence, Publish, Refresh, Request, Subscribe,
};
use crate::error::{ErrorCode, ErrorMessage};
use crate::limits::{MAX_CHANNEL_BYTES, MAX_COMMANDS_PER_FRAME, MAX_ERROR_MESSAGE_BYTES};
use crate::payload::Payload;
use crate::position::Since;
use crate::text::cut;

mod payload;
mod server;

pub(super) use self::payload::BASE64;
pub(super) use self::server::server;

use self::payload::{WireBase64, WirePayload, payload_field, present};

/// What is read of a message before its type is known.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) kind: Option<String>,
    pub(super) id: Option<u32>,
    pub(super) channel: Option<String>,
    /// A mistake in one of these fields, which makes the message unreadable.
    pub(super) mistake: Option<String>,
}

/// A value of one of these fields, told apart just as far as `Head` needs it.
pub(super) enum Scalar {
    Null,
    Number(u64),
    Text(String),
    Other,
}

/// The fields of [`Head`].
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
pub(super) enum HeadField {
    Type,
    Id,
    Channel,
    #[serde(other)]
    Unknown,
}

impl Head {
    /// Takes in one field. The first mistake stays.
    pub(super) fn set(&mut self, field: HeadField, value: Scalar) {
        let mistake = match (field, value) {
            (HeadField::Type, Scalar::Text(kind)) => self.kind.replace(kind).map(|_| "`type` appears twice"),
            (HeadField::Type, _) => Some("`type` is not a string"),
            (HeadField::Id, Scalar::Null) => None,
            (HeadField::Id, Scalar::Number(id)) => match u32::try_from(id) {
                Ok(id) => self.id.replace(id).map(|_| "`id` appears twice"),
                Err(_) => Some(BAD_ID),
            },
            (HeadField::Id, _) => Some(BAD_ID),
            (HeadField::Channel, Scalar::Text(channel)) => {
                self.channel = (channel.len() <= MAX_CHANNEL_BYTES).then_some(channel);
                None
            }
            // A channel that is no string is reported with the other fields of its type.
            (HeadField::Channel | HeadField::Unknown, _) => None,
        };
        if self.mistake.is_none() {
            self.mistake = mistake.map(str::to_owned);
        }
    }

    /// An error about the message of this head.
    pub(super) fn error(&self, code: ErrorCode, mut message: String) -> ErrorMessage {
        if message.len() > MAX_ERROR_MESSAGE_BYTES {
            // What the client sent may be quoted, and is as long as it likes.
            message.truncate(cut(&message, MAX_ERROR_MESSAGE_BYTES - 3).len());
            message.push_str("...");
        }
        ErrorMessage {
            id: self.id,
            code,
            message,
            channel: self.channel.clone(),
            retry_after_ms: None,
            service_error: None,
        }
    }
}

const BAD_ID: &str = "`id` is not an integer from 0 to 4294967295";

/// Why the fields of a message could not be read.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The field, such as `since.offset`; empty if it is the message as a whole.
    pub(super) path: String,
    /// What is wrong and what was expected.
    pub(super) what: String,
    /// Where that is, in the codec's own terms.
    pub(super) place: String,
}

impl Mistake {
    /// Names the place of a mistake that is only found when the fields are compared.
    fn rule(path: &str, what: &str) -> Self {
        Self {
            path: path.to_owned(),
            what: what.to_owned(),
            place: String::new(),
        }
    }

    /// The code that tells a client where to look.
    fn code(&self) -> ErrorCode {
        match self.path.split(['.', '[']).next() {
            Some("since" | "before") => ErrorCode::BadCursor,
            _ => ErrorCode::BadMessage,
        }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(formatter, "`{}`: ", self.path)?;
        }
        formatter.write_str(&self.what)?;
        if !self.place.is_empty() {
            write!(formatter, " ({})", self.place)?;
        }
        Ok(())
    }
}

/// One message whose end is known, in a codec.
pub(super) trait Body {
    /// Reads its fields as those of `T`.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Mistake>;
}

/// Reads a command whose head has been read.
pub(super) fn command(head: &Head, body: &impl Body) -> Result<CommandMessage, ErrorMessage> {
    let kind = match (&head.mistake, &head.kind) {
        (Some(mistake), _) => return Err(head.error(ErrorCode::BadMessage, mistake.clone())),
        (None, Some(kind)) => kind,
        (None, None) => {
            let what = format!("`type` is missing: one of {}", Command::KINDS.join(", "));
            return Err(head.error(ErrorCode::BadMessage, what));
        }
    };
    let command = match kind.as_str() {
        "connect" => body.read::<Connect>().map(Command::Connect),
        "subscribe" => body
            .read::<SubscribeFields>()
            .and_then(SubscribeFields::check)
            .map(Command::Subscribe),
        "unsubscribe" => body.read::<Unsubscribe>().map(Command::Unsubscribe),
        "publish" => body
            .read::<PublishFields>()
            .and_then(PublishFields::check)
            .map(Command::Publish),
        "request" => body
            .read::<RequestFields>()
            .and_then(RequestFields::check)
            .map(Command::Request),
        "presence" => body.read::<Presence>().map(Command::Presence),
        "history" => body.read::<History>().map(Command::History),
        "refresh" => body.read::<Refresh>().map(Command::Refresh),
        "ping" => Ok(Command::Ping),
        unknown => {
            let what = format!(
                "there is no command of type {:?}: one of {}",
                Short(unknown),
                Command::KINDS.join(", ")
            );
            return Err(head.error(ErrorCode::UnknownType, what));
        }
    };
    match command {
        Ok(command) => Ok(CommandMessage { id: head.id, command }),
        Err(mistake) => Err(head.error(mistake.code(), mistake.to_string())),
    }
}

/// The error of a frame that holds too many commands.
pub(super) fn too_many() -> ErrorMessage {
    let what =
        format!("a frame holds at most {MAX_COMMANDS_PER_FRAME} commands: send the others in another one");
    ErrorMessage::new(ErrorCode::Limit, what)
}

/// The error of a frame without a command.
pub(super) fn none_at_all() -> ErrorMessage {
    ErrorMessage::new(
        ErrorCode::BadMessage,
        "the frame holds no command: send none, or one with a `type`",
    )
}

/// The start of a text that is too long to quote.
struct Short<'a>(&'a str);

impl std::fmt::Debug for Short<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        cut(self.0, 64).fmt(formatter)
    }
}

#[derive(Deserialize)]
struct SubscribeFields {
    channel: Channel,
    since: Option<Since>,
    latest: Option<bool>,
}

impl SubscribeFields {
    fn check(self) -> Result<Subscribe, Mistake> {
        let latest = self.latest.unwrap_or(false);
        if latest && self.since.is_some() {
            return Err(Mistake::rule(
                "latest",
                "`latest` and `since` exclude each other: leave one of them out",
            ));
        }
        Ok(Subscribe {
            channel: self.channel,
            since: self.since,
            latest,
        })
    }
}

#[derive(Deserialize)]
struct PublishFields {
    channel: Channel,
    #[serde(default, deserialize_with = "present")]
    payload: Option<WirePayload>,
    payload_b64: Option<WireBase64>,
    key: Option<Key>,
}

impl PublishFields {
    fn check(self) -> Result<Publish, Mistake> {
        let payload = exactly_one(self.payload, self.payload_b64)?;
        Ok(Publish {
            channel: self.channel,
            payload,
            key: self.key,
        })
    }
}

#[derive(Deserialize)]
struct RequestFields {
    channel: Channel,
    #[serde(default, deserialize_with = "present")]
    payload: Option<WirePayload>,
    payload_b64: Option<WireBase64>,
    timeout_ms: Option<u32>,
}

impl RequestFields {
    fn check(self) -> Result<Request, Mistake> {
        let payload = exactly_one(self.payload, self.payload_b64)?;
        Ok(Request {
            channel: self.channel,
            payload,
            timeout_ms: self.timeout_ms,
        })
    }
}

fn exactly_one(payload: Option<WirePayload>, base64: Option<WireBase64>) -> Result<Payload, Mistake> {
    payload_field(payload, base64).map_err(|what| Mistake::rule("payload", what))
}

/// As [`DecodeError`], for a client.
impl From<Mistake> for DecodeError {
    fn from(mistake: Mistake) -> Self {
        Self::new(mistake.to_string())
    }
}
