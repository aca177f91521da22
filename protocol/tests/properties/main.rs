//! Properties of the whole crate: whatever can be said reads back as it was said, in both codecs, and no bytes that
//! anybody sends make it panic.

mod strategies;

use proptest::prelude::*;
use serde_json::Value;
use tailwater_protocol::deflate::{InflateError, deflate, inflate};
use tailwater_protocol::event_stream;
use tailwater_protocol::{
    BatchBuilder, Codec, Encoding, Payload, PayloadRef, Push, ServerBody, ServerMessage, Update,
};

use strategies::{command, server, update};

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 250,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
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
