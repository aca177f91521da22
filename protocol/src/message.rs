//! One message of the server: a reply or a push, with the id of the command that it answers.

use crate::error::ErrorMessage;
use crate::push::{Connected, Lost, Push, Update};
use crate::reply::{Reply, Subscribed};

/// One message of the server as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    /// The id of the command that it answers. For an error the id inside counts, if there is one.
    pub id: Option<u32>,
    /// What it says.
    pub body: ServerBody,
}

/// What a message of the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerBody {
    /// The answer to a command.
    Reply(Reply),
    /// Said unasked, or `connected` and `error`, which may be either.
    Push(Push),
}

impl ServerMessage {
    /// The answer to the command of this id.
    pub fn reply(id: Option<u32>, reply: Reply) -> Self {
        Self {
            id,
            body: ServerBody::Reply(reply),
        }
    }

    /// The answer to the `connect` of this id.
    pub fn connected(id: Option<u32>, connected: Connected) -> Self {
        Self {
            id,
            body: ServerBody::Push(Push::Connected(connected)),
        }
    }

    /// The `type` on the wire.
    pub fn kind(&self) -> &'static str {
        match &self.body {
            ServerBody::Reply(reply) => reply.kind(),
            ServerBody::Push(push) => push.kind(),
        }
    }
}

impl From<Reply> for ServerMessage {
    fn from(reply: Reply) -> Self {
        Self::reply(None, reply)
    }
}

impl From<Push> for ServerMessage {
    fn from(push: Push) -> Self {
        let id = if let Push::Error(error) = &push {
            error.id
        } else {
            None
        };
        Self {
            id,
            body: ServerBody::Push(push),
        }
    }
}

impl From<Subscribed> for ServerMessage {
    fn from(subscribed: Subscribed) -> Self {
        Reply::Subscribed(subscribed).into()
    }
}

impl From<Connected> for ServerMessage {
    fn from(connected: Connected) -> Self {
        Push::Connected(connected).into()
    }
}

impl From<Update> for ServerMessage {
    fn from(update: Update) -> Self {
        Push::Update(update).into()
    }
}

impl From<Lost> for ServerMessage {
    fn from(lost: Lost) -> Self {
        Push::Lost(lost).into()
    }
}

impl From<ErrorMessage> for ServerMessage {
    fn from(error: ErrorMessage) -> Self {
        Push::Error(error).into()
    }
}
