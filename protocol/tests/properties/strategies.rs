//! Everything that can be said, as proptest makes it.

use std::num::NonZeroU32;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use tailwater_protocol::command::{
    Connect, History, Order, Presence, Publish, Refresh, Request, Subscribe, Unsubscribe,
};
use tailwater_protocol::reply::{self, Gap, Member, Publication, Subscribed};
use tailwater_protocol::{
    Channel, Command, CommandMessage, Connected, Deleted, Epoch, ErrorCode, ErrorMessage, Key, Lost,
    LostReason, Offset, Payload, Position, Push, Reply, ServerMessage, ServiceError, Since, Timestamp,
    Update,
};

fn channel() -> impl Strategy<Value = Channel> {
    r"[a-zA-Z0-9-][a-zA-Z0-9_-]{0,8}(\.([a-zA-Z0-9_-]{1,8}|\*)){0,4}(\.>)?"
        .prop_map(|text| Channel::new(&text).expect("a channel"))
}

fn offset() -> impl Strategy<Value = Offset> {
    (0..1_u64 << 53).prop_map(|value| Offset::new(value).expect("an offset"))
}

fn epoch() -> impl Strategy<Value = Epoch> {
    "[!-~]{1,64}".prop_map(|text| Epoch::new(&text).expect("an epoch"))
}

fn position() -> impl Strategy<Value = Position> {
    (offset(), epoch()).prop_map(|(offset, epoch)| Position { offset, epoch })
}

fn since() -> impl Strategy<Value = Since> {
    let time = (
        0..3000_u32,
        1..13_u32,
        1..29_u32,
        0..24_u32,
        0..60_u32,
        0..60_u32,
        0..1000_u32,
    );
    let time = time.prop_map(|(year, month, day, hour, minute, second, milli)| {
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z");
        Since::Time(Timestamp::new(&text).expect("a time"))
    });
    prop_oneof![
        position().prop_map(Since::Position),
        Just(Since::Beginning),
        any::<u32>().prop_map(Since::Last),
        time,
    ]
}

/// Any value that JSON and MessagePack both have.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..20)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        3 => value().prop_map(|value| Payload::from_json(&value).expect("a value")),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Payload::Binary(Bytes::from(bytes))),
    ]
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(any::<String>())
}

pub(crate) fn command() -> impl Strategy<Value = CommandMessage> {
    let key = prop::option::of("[!-~]{1,64}".prop_map(|text| Key::new(&text).expect("a key")));
    let order = prop::sample::select(vec![Order::Newest, Order::Oldest]);
    let limit = prop::option::of((1..=u32::MAX).prop_map(|limit| NonZeroU32::new(limit).expect("not zero")));
    let command = prop_oneof![
        (text(), prop::option::of(".{0,50}"))
            .prop_map(|(token, client)| Command::Connect(Connect { token, client })),
        (channel(), prop::option::of(since()), any::<bool>()).prop_map(|(channel, since, latest)| {
            let latest = latest && since.is_none();
            Command::Subscribe(Subscribe {
                channel,
                since,
                latest,
            })
        }),
        channel().prop_map(|channel| Command::Unsubscribe(Unsubscribe { channel })),
        (channel(), payload(), key).prop_map(|(channel, payload, key)| Command::Publish(Publish {
            channel,
            payload,
            key
        })),
        (channel(), payload(), any::<Option<u32>>()).prop_map(|(channel, payload, timeout_ms)| {
            Command::Request(Request {
                channel,
                payload,
                timeout_ms,
            })
        }),
        channel().prop_map(|channel| Command::Presence(Presence { channel })),
        (
            channel(),
            prop::option::of(since()),
            prop::option::of(position()),
            order,
            limit
        )
            .prop_map(|(channel, since, before, order, limit)| {
                Command::History(History {
                    channel,
                    since,
                    before,
                    order,
                    limit,
                })
            }),
        any::<String>().prop_map(|token| Command::Refresh(Refresh { token })),
        Just(Command::Ping),
    ];
    (any::<Option<u32>>(), command).prop_map(|(id, command)| CommandMessage { id, command })
}

fn member() -> impl Strategy<Value = Member> {
    (any::<String>(), text()).prop_map(|(session, user)| Member { session, user })
}

fn deleted() -> impl Strategy<Value = Option<Deleted>> {
    prop::option::of(prop::sample::select(vec![Deleted::MaxAge, Deleted::Purge]))
}

fn reason() -> impl Strategy<Value = LostReason> {
    prop_oneof![
        prop::sample::select(LostReason::ALL.to_vec()),
        any::<String>().prop_map(LostReason::from)
    ]
}

fn publication() -> impl Strategy<Value = Publication> {
    (payload(), text(), offset(), text(), text(), deleted()).prop_map(
        |(payload, subject, offset, time, trace, deleted)| Publication {
            payload,
            subject,
            offset,
            time,
            trace,
            deleted,
        },
    )
}

pub(crate) fn update() -> impl Strategy<Value = Update> {
    (
        channel(),
        payload(),
        text(),
        prop::option::of(offset()),
        text(),
        text(),
        deleted(),
    )
        .prop_map(
            |(channel, payload, subject, offset, time, trace, deleted)| Update {
                channel,
                payload,
                subject,
                offset,
                time,
                trace,
                deleted,
            },
        )
}

fn reply() -> impl Strategy<Value = Reply> {
    let gap = (
        prop::option::of(offset()),
        prop::option::of(offset()),
        any::<Option<u64>>(),
        reason(),
    )
        .prop_map(|(from, to, count, reason)| Gap {
            from,
            to,
            count,
            reason,
        });
    let publications = prop::collection::vec(publication(), 0..4);
    prop_oneof![
        (
            channel(),
            any::<bool>(),
            prop::option::of(offset()),
            prop::option::of(epoch()),
            any::<Option<bool>>()
        )
            .prop_map(|(channel, durable, offset, epoch, recovered)| {
                Reply::Subscribed(Subscribed {
                    channel,
                    durable,
                    offset,
                    epoch,
                    recovered,
                })
            }),
        channel().prop_map(|channel| Reply::Unsubscribed { channel }),
        (prop::option::of(offset()), any::<bool>())
            .prop_map(|(offset, duplicate)| Reply::Published { offset, duplicate }),
        payload().prop_map(|payload| Reply::Reply { payload }),
        (channel(), any::<u32>(), prop::collection::vec(member(), 0..20)).prop_map(
            |(channel, count, members)| {
                Reply::Presence(reply::Presence {
                    channel,
                    count,
                    members,
                })
            }
        ),
        (
            channel(),
            epoch(),
            offset(),
            publications,
            prop::option::of(offset()),
            prop::option::of(gap)
        )
            .prop_map(|(channel, epoch, upto, publications, next, lost)| {
                Reply::History(reply::History {
                    channel,
                    epoch,
                    upto,
                    publications,
                    next,
                    lost,
                })
            }),
        any::<Option<String>>().prop_map(|expires_at| Reply::Refreshed { expires_at }),
        Just(Reply::Pong),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    let connected = (
        any::<String>(),
        any::<u32>(),
        any::<String>(),
        text(),
        text(),
        any::<u32>(),
    )
        .prop_map(
            |(session, protocol, message, user, expires_at, ping_interval_ms)| {
                Push::Connected(Connected {
                    session,
                    protocol,
                    message,
                    user,
                    expires_at,
                    ping_interval_ms,
                })
            },
        );
    let lost = (
        channel(),
        prop::option::of(offset()),
        prop::option::of(offset()),
        any::<Option<u64>>(),
        reason(),
    );
    let code = prop::sample::select(ErrorCode::ALL.to_vec());
    prop_oneof![
        connected,
        update().prop_map(Push::Update),
        lost.prop_map(|(channel, from, to, count, reason)| Push::Lost(Lost {
            channel,
            from,
            to,
            count,
            reason
        })),
        (channel(), offset(), epoch()).prop_map(|(channel, offset, epoch)| Push::Position {
            channel,
            offset,
            epoch
        }),
        (channel(), member()).prop_map(|(channel, member)| Push::Joined { channel, member }),
        (channel(), member()).prop_map(|(channel, member)| Push::Left { channel, member }),
        any::<u32>().prop_map(|reconnect_after_ms| Push::Drain { reconnect_after_ms }),
        (
            any::<Option<u32>>(),
            code,
            any::<String>(),
            text(),
            any::<Option<u32>>(),
            prop::option::of(service_error())
        )
            .prop_map(|(id, code, message, channel, retry_after_ms, service_error)| {
                Push::Error(ErrorMessage {
                    id,
                    code,
                    message,
                    channel,
                    retry_after_ms,
                    service_error,
                })
            }),
    ]
}

fn service_error() -> impl Strategy<Value = Box<ServiceError>> {
    (any::<String>(), any::<String>(), payload()).prop_map(|(code, description, payload)| {
        Box::new(ServiceError {
            code,
            description,
            payload,
        })
    })
}

pub(crate) fn server() -> impl Strategy<Value = ServerMessage> {
    prop_oneof![
        (any::<Option<u32>>(), reply()).prop_map(|(id, reply)| ServerMessage::reply(id, reply)),
        push().prop_map(ServerMessage::from),
    ]
}
