//! Properties of the whole crate: whatever can be said reads back as it was said, in both codecs, and no bytes that
//! anybody sends make it panic.

use std::num::NonZeroU32;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;
use tailwater_protocol::command::{
    Connect, History, Order, Presence, Publish, Refresh, Request, Subscribe, Unsubscribe,
};
use tailwater_protocol::deflate::{InflateError, deflate, inflate};
use tailwater_protocol::event_stream;
use tailwater_protocol::reply::{self, Gap, Member, Publication, Subscribed};
use tailwater_protocol::{
    BatchBuilder, Channel, Codec, Command, CommandMessage, Connected, Deleted, Encoding, Epoch, ErrorCode,
    ErrorMessage, Key, Lost, LostReason, Offset, Payload, PayloadRef, Position, Push, Reply, ServerBody,
    ServerMessage, ServiceError, Since, Timestamp, Update,
};

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 250,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

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

fn command() -> impl Strategy<Value = CommandMessage> {
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

fn update() -> impl Strategy<Value = Update> {
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

fn server() -> impl Strategy<Value = ServerMessage> {
    prop_oneof![
        (any::<Option<u32>>(), reply()).prop_map(|(id, reply)| ServerMessage::reply(id, reply)),
        push().prop_map(ServerMessage::from),
    ]
}

/// Numbers may be written otherwise after MessagePack, so payloads are compared as values there.
fn comparable(codec: Codec, json: Vec<u8>) -> Value {
    let text = String::from_utf8(json).expect("JSON is UTF-8");
    match codec {
        Codec::Json => Value::String(text),
        Codec::MessagePack => serde_json::from_str(&text).expect("JSON"),
    }
}

/// Bytes that come close to a message: pieces of real ones, cut and mixed.
fn nearly(codec: Codec) -> impl Strategy<Value = Vec<u8>> {
    let piece = (command(), server(), any::<bool>()).prop_map(move |(command, server, which)| {
        if which {
            codec.encode_command(&command)
        } else {
            codec.encode(&server)
        }
    });
    (
        prop::collection::vec((piece, any::<prop::sample::Index>()), 1..3),
        any::<(prop::sample::Index, u8)>(),
    )
        .prop_map(|(pieces, (at, byte))| {
            let mut bytes: Vec<u8> = Vec::new();
            for (piece, cut) in pieces {
                bytes.extend_from_slice(&piece[..=cut.index(piece.len())]);
            }
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_command_reads_back_in_both_codecs(message in command()) {
        for codec in Codec::ALL {
            let read = codec.decode_commands(&codec.encode_command(&message));
            prop_assert_eq!(read.len(), 1);
            let read = read[0].as_ref().map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(read.command.kind(), message.command.kind());
            let (read, said) = (Codec::Json.encode_command(read), Codec::Json.encode_command(&message));
            prop_assert_eq!(comparable(codec, read), comparable(codec, said));
        }
    }

    #[test]
    fn every_server_message_reads_back_in_both_codecs(message in server()) {
        for codec in Codec::ALL {
            let read = codec.decode_server(&codec.encode(&message));
            let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read[0].id, message.id);
            let (read, said) = (Codec::Json.encode(&read[0]), Codec::Json.encode(&message));
            prop_assert_eq!(comparable(codec, read), comparable(codec, said));
        }
        let read = Codec::Json.decode_server(&Codec::Json.encode(&message));
        prop_assert_eq!(read.expect("it read back above"), vec![message]);
    }

    #[test]
    fn an_update_is_written_alike_borrowed_and_owned(update in update()) {
        for codec in Codec::ALL {
            let mut out = Vec::new();
            codec.encode_update(&update.as_ref(), &mut out);
            let whole = ServerMessage { id: None, body: ServerBody::Push(Push::Update(update.clone())) };
            prop_assert_eq!(out, codec.encode(&whole));
        }
    }

    #[test]
    fn what_is_compressed_inflates_to_what_it_was(
        pieces in prop::collection::vec(("[ -~]{0,40}", 1..60_usize), 1..20),
        noise in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let text: String = pieces.into_iter().map(|(text, count)| text.repeat(count)).collect();
        for message in [text.as_bytes(), &noise, &[text.as_bytes(), &noise].concat()] {
            let Some(deflated) = deflate(message) else { continue };
            prop_assert!(deflated.len() < message.len());
            prop_assert_eq!(inflate(&deflated, message.len()), Ok(message.to_vec()));
            prop_assert_eq!(inflate(&deflated, message.len() - 1), Err(InflateError::TooLarge));
        }
        // Whatever the bytes are, no more than the limit comes of them.
        if let Ok(message) = inflate(&noise, 100) {
            prop_assert!(message.len() <= 100);
        }
    }

    #[test]
    fn a_batch_has_the_same_updates_in_every_encoding(
        updates in prop::collection::vec((update(), 0..40_usize), 1..6),
    ) {
        // Some of them long enough to be compressed.
        let updates: Vec<Update> = updates.into_iter().map(|(update, times)| match update.deleted {
            None if times > 20 => Update { payload: Payload::from_json(&"a longer text, ".repeat(times * 10)).expect("a value"), ..update },
            _ => update,
        }).collect();
        for encoding in Encoding::ALL {
            let mut builder = BatchBuilder::new(encoding);
            for update in &updates {
                builder.push(&update.as_ref());
            }
            let batch = builder.finish();
            prop_assert_eq!(batch.len(), updates.len());
            for (index, update) in updates.iter().enumerate() {
                let frame = batch.slice(index..index + 1);
                if encoding.is_events() {
                    let events: Vec<_> = event_stream::messages(&frame).collect();
                    prop_assert!(frame.ends_with(b"\n\n") && events.len() == 1);
                    let read = Codec::Json.decode_server(events[0]).expect("a message");
                    let whole = Push::Update(update.clone());
                    prop_assert_eq!(read, [ServerMessage::from(whole)]);
                    continue;
                }
                let start = match frame[1] { 126 => 4, 127 => 10, _ => 2 };
                let mut message = Vec::new();
                encoding.codec.encode_update(&update.as_ref(), &mut message);
                let is_compressed = frame[0] == 0xC0 | encoding.codec.opcode() as u8;
                prop_assert!(is_compressed || frame[0] == 0x80 | encoding.codec.opcode() as u8);
                prop_assert!(encoding.is_deflated() || !is_compressed);
                if is_compressed {
                    prop_assert_eq!(inflate(&frame[start..], 1 << 20), Ok(message));
                } else {
                    prop_assert_eq!(&frame[start..], &message);
                }
            }
        }
    }

    #[test]
    fn commands_in_one_frame_are_read_one_by_one(messages in prop::collection::vec(command(), 1..5)) {
        let json: Vec<_> = messages.iter().map(|message| Codec::Json.encode_command(message)).collect();
        let json = [&b"["[..], &json.join(&b", "[..]), b"]"].concat();
        let read: Result<Vec<_>, _> = Codec::Json.decode_commands(&json).into_iter().collect();
        prop_assert_eq!(read.expect("commands"), messages.clone());
        let packed: Vec<_> = messages.iter().map(|message| Codec::MessagePack.encode_command(message)).collect();
        let read: Result<Vec<_>, _> = Codec::MessagePack.decode_commands(&packed.concat()).into_iter().collect();
        prop_assert_eq!(read.expect("commands").len(), messages.len());
    }

    #[test]
    fn no_bytes_make_it_panic(
        noise in prop::collection::vec(any::<u8>(), 0..80),
        json in nearly(Codec::Json),
        packed in nearly(Codec::MessagePack),
    ) {
        for bytes in [noise, json, packed] {
            let _ = PayloadRef::classify(&bytes).to_payload().expect("what was classified is valid");
            for codec in Codec::ALL {
                prop_assert!(!codec.decode_commands(&bytes).is_empty());
                let _ = codec.decode_server(&bytes);
            }
        }
    }
}
