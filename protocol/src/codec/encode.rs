//! Which fields each message has, and in which order they are written: the same for every codec.

use serde::Serialize;

use crate::command::{Command, CommandMessage, Order};
use crate::error::ErrorMessage;
use crate::message::{ServerBody, ServerMessage};
use crate::payload::PayloadRef;
use crate::push::{Connected, Lost, Push, UpdateRef};
use crate::reply::{History, Presence, Publication, Reply, Subscribed};

/// Writes one map, field by field. Everything a message holds can be written to memory, so nothing here fails.
pub(super) trait Fields: Sized {
    /// A field that is there.
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T);

    /// A field whose text is never escaped: a word of the protocol, or a channel.
    fn plain(&mut self, name: &'static str, text: &str);

    /// The payload, under the name and in the form that the codec has for it.
    fn payload(&mut self, payload: PayloadRef<'_>);

    /// A list of maps, each written by `item`.
    fn list<T>(&mut self, name: &'static str, items: &[T], item: fn(&mut Self, &T));

    /// A field that is left out if it is absent.
    fn optional<T: Serialize>(&mut self, name: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.field(name, &value);
        }
    }

    /// A field that is left out if it is false.
    fn flag(&mut self, name: &'static str, value: bool) {
        self.optional(name, value.then_some(true));
    }
}

pub(super) fn command(fields: &mut impl Fields, message: &CommandMessage) {
    fields.plain("type", message.command.kind());
    fields.optional("id", message.id);
    fields.optional("channel", message.command.channel());
    match &message.command {
        Command::Connect(connect) => {
            fields.optional("token", connect.token.as_ref());
            fields.optional("client", connect.client.as_ref());
        }
        Command::Subscribe(subscribe) => {
            fields.optional("since", subscribe.since.as_ref());
            fields.flag("latest", subscribe.latest);
        }
        Command::Publish(publish) => {
            fields.payload(publish.payload.as_ref());
            fields.optional("key", publish.key.as_ref());
        }
        Command::Request(request) => {
            fields.payload(request.payload.as_ref());
            fields.optional("timeout_ms", request.timeout_ms);
        }
        Command::History(history) => {
            fields.optional("since", history.since.as_ref());
            fields.optional("before", history.before.as_ref());
            fields.optional(
                "order",
                (history.order != Order::default()).then_some(history.order),
            );
            fields.optional("limit", history.limit);
        }
        Command::Refresh(refresh) => fields.field("token", &refresh.token),
        Command::Unsubscribe(_) | Command::Presence(_) | Command::Ping => {}
    }
}

/// The hot path.
pub(super) fn update(fields: &mut impl Fields, id: Option<u32>, update: &UpdateRef<'_>) {
    fields.plain("type", "update");
    fields.optional("id", id);
    fields.plain("channel", update.channel.as_str());
    fields.payload(update.payload);
    fields.optional("subject", update.subject);
    fields.optional("offset", update.offset);
    fields.optional("time", update.time);
    fields.optional("trace", update.trace);
    fields.optional("deleted", update.deleted);
}

pub(super) fn server(fields: &mut impl Fields, message: &ServerMessage) {
    match &message.body {
        ServerBody::Reply(reply) => {
            fields.plain("type", reply.kind());
            fields.optional("id", message.id);
            write_reply(fields, reply);
        }
        ServerBody::Push(Push::Update(body)) => update(fields, message.id, &body.as_ref()),
        ServerBody::Push(Push::Error(error)) => write_error(fields, error.id.or(message.id), error),
        ServerBody::Push(push) => {
            fields.plain("type", push.kind());
            fields.optional("id", message.id);
            write_push(fields, push);
        }
    }
}

fn write_reply(fields: &mut impl Fields, reply: &Reply) {
    match reply {
        Reply::Subscribed(Subscribed {
            channel,
            durable,
            offset,
            epoch,
            recovered,
        }) => {
            fields.plain("channel", channel.as_str());
            fields.field("durable", durable);
            fields.optional("offset", *offset);
            fields.optional("epoch", epoch.as_ref());
            fields.optional("recovered", *recovered);
        }
        Reply::Unsubscribed { channel } => fields.plain("channel", channel.as_str()),
        Reply::Published { offset, duplicate } => {
            fields.optional("offset", *offset);
            fields.flag("duplicate", *duplicate);
        }
        Reply::Reply { payload } => fields.payload(payload.as_ref()),
        Reply::Presence(Presence {
            channel,
            count,
            members,
        }) => {
            fields.plain("channel", channel.as_str());
            fields.field("count", count);
            fields.field("members", members);
        }
        Reply::History(History {
            channel,
            epoch,
            upto,
            publications,
            next,
            lost,
        }) => {
            fields.plain("channel", channel.as_str());
            fields.field("epoch", epoch);
            fields.field("upto", upto);
            fields.list("publications", publications, write_publication);
            fields.optional("next", *next);
            fields.optional("lost", lost.as_ref());
        }
        Reply::Refreshed { expires_at } => fields.optional("expires_at", expires_at.as_ref()),
        Reply::Pong => {}
    }
}

fn write_publication<F: Fields>(fields: &mut F, publication: &Publication) {
    fields.field("offset", &publication.offset);
    fields.payload(publication.payload.as_ref());
    fields.optional("subject", publication.subject.as_ref());
    fields.optional("time", publication.time.as_ref());
    fields.optional("trace", publication.trace.as_ref());
    fields.optional("deleted", publication.deleted);
}

fn write_push(fields: &mut impl Fields, push: &Push) {
    match push {
        Push::Connected(Connected {
            session,
            protocol,
            message,
            user,
            expires_at,
            ping_interval_ms,
        }) => {
            fields.field("session", session);
            fields.field("protocol", protocol);
            fields.field("message", message);
            fields.optional("user", user.as_ref());
            fields.optional("expires_at", expires_at.as_ref());
            fields.field("ping_interval_ms", ping_interval_ms);
        }
        Push::Lost(Lost {
            channel,
            from,
            to,
            count,
            reason,
        }) => {
            fields.plain("channel", channel.as_str());
            fields.optional("from", *from);
            fields.optional("to", *to);
            fields.optional("count", *count);
            fields.field("reason", reason);
        }
        Push::Position {
            channel,
            offset,
            epoch,
        } => {
            fields.plain("channel", channel.as_str());
            fields.field("offset", offset);
            fields.field("epoch", epoch);
        }
        Push::Joined { channel, member } | Push::Left { channel, member } => {
            fields.plain("channel", channel.as_str());
            fields.field("member", member);
        }
        Push::Drain { reconnect_after_ms } => fields.field("reconnect_after_ms", reconnect_after_ms),
        // These two have writers of their own.
        Push::Update(_) | Push::Error(_) => {}
    }
}

fn write_error(fields: &mut impl Fields, id: Option<u32>, error: &ErrorMessage) {
    fields.plain("type", "error");
    fields.optional("id", id);
    fields.field("code", &error.code);
    fields.field("message", &error.message);
    fields.optional("channel", error.channel.as_ref());
    fields.optional("retry_after_ms", error.retry_after_ms);
    if let Some(error) = &error.service_error {
        let said = ServiceErrorFields {
            code: &error.code,
            description: &error.description,
        };
        fields.field("service_error", &said);
        fields.payload(error.payload.as_ref());
    }
}

#[derive(Serialize)]
struct ServiceErrorFields<'a> {
    code: &'a str,
    description: &'a str,
}
