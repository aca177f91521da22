//! The test vectors, in both directions and both codecs, and that none is missing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tailwater_protocol::{
    Channel, Codec, Command, CommandMessage, ErrorCode, LostReason, PayloadRef, Push, Reply, ServerMessage,
    UpdateRef,
};

/// A vector of the files that hold canonical messages.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    kind: Kind,
    published: Option<String>,
    published_hex: Option<Hex>,
    value: Value,
    json: String,
    msgpack_hex: Hex,
    #[serde(default)]
    one_way: bool,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Command,
    Server,
}

/// A vector of `accepted.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    name: String,
    json: Option<String>,
    msgpack_hex: Option<Hex>,
    commands: Vec<String>,
}

/// A vector of `refused.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    name: String,
    json: Option<String>,
    msgpack_hex: Option<Hex>,
    errors: Vec<Option<Value>>,
}

struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = |at: usize| {
            text.get(at..at + 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digits).collect();
        bytes.map(Self).ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

const CANONICAL: [&str; 5] = [
    "commands.json",
    "replies.json",
    "pushes.json",
    "errors.json",
    "payloads.json",
];

fn load<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    // One payload is nested as deeply as the protocol allows.
    deserializer.disable_recursion_limit();
    Vec::<T>::deserialize(&mut deserializer).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn canonical() -> Vec<Vector> {
    CANONICAL.into_iter().flat_map(load).collect()
}

fn command(codec: Codec, body: &[u8]) -> CommandMessage {
    let mut commands = codec.decode_commands(body);
    assert_eq!(commands.len(), 1);
    commands.remove(0).unwrap_or_else(|error| panic!("{error}"))
}

fn server(codec: Codec, body: &[u8]) -> ServerMessage {
    let mut messages = codec
        .decode_server(body)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

/// Reads the message in one codec and writes it in another.
fn translate(kind: &Kind, from: Codec, body: &[u8], to: Codec) -> Vec<u8> {
    match kind {
        Kind::Command => to.encode_command(&command(from, body)),
        Kind::Server => to.encode(&server(from, body)),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

#[test]
fn every_vector_reads_and_writes_in_both_codecs() {
    for vector in canonical() {
        let Vector {
            name,
            kind,
            json,
            msgpack_hex: Hex(packed),
            one_way,
            ..
        } = vector;
        assert_eq!(
            text(translate(&kind, Codec::Json, json.as_bytes(), Codec::Json)),
            json,
            "{name}"
        );
        assert_eq!(
            translate(&kind, Codec::Json, json.as_bytes(), Codec::MessagePack),
            packed,
            "{name}"
        );
        assert_eq!(
            translate(&kind, Codec::MessagePack, &packed, Codec::MessagePack),
            packed,
            "{name}"
        );
        let back = text(translate(&kind, Codec::MessagePack, &packed, Codec::Json));
        assert_eq!(back == json, !one_way, "{name}: {back}");
    }
}

#[test]
fn the_bytes_of_every_vector_mean_its_value() {
    for vector in canonical() {
        let packed: Plain = rmp_serde::from_slice(&vector.msgpack_hex.0).expect("MessagePack");
        assert_eq!(packed.0, vector.value, "{}", vector.name);
        if !vector.one_way {
            let mut json: Value = serde_json::from_str::<Shallow>(&vector.json)
                .map(|value| value.0)
                .expect("JSON");
            name_bytes(&mut json);
            assert_eq!(json, vector.value, "{}", vector.name);
        }
    }
}

#[test]
fn every_type_and_code_has_a_vector() {
    let (mut commands, mut servers, mut words) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for vector in canonical() {
        let field = |name: &str| vector.value[name].as_str().unwrap_or_default().to_owned();
        words.extend([field("code"), field("reason"), field("deleted")]);
        let kinds = if vector.kind == Kind::Command {
            &mut commands
        } else {
            &mut servers
        };
        kinds.insert(field("type"));
    }
    let all = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(commands, all(&Command::KINDS));
    assert_eq!(servers, all(&[&Reply::KINDS[..], &Push::KINDS[..]].concat()));
    for code in ErrorCode::ALL {
        assert!(words.contains(code.as_str()), "{code}");
    }
    for reason in LostReason::ALL {
        assert!(words.contains(reason.as_str()), "{reason}");
    }
    assert!(words.contains("max_age") && words.contains("purge"));
}

#[test]
fn every_publication_becomes_its_update() {
    let channel = Channel::new("c").expect("a channel");
    for vector in load::<Vector>("payloads.json") {
        let published = match (vector.published, vector.published_hex) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(Hex(bytes))) => bytes,
            _ => panic!("{}: either text or hexadecimal", vector.name),
        };
        let update = UpdateRef::new(&channel, PayloadRef::classify(&published));
        let (mut json, mut packed) = (Vec::new(), Vec::new());
        Codec::Json.encode_update(&update, &mut json);
        Codec::MessagePack.encode_update(&update, &mut packed);
        assert_eq!(text(json), vector.json, "{}", vector.name);
        assert_eq!(packed, vector.msgpack_hex.0, "{}", vector.name);
    }
}

#[test]
fn what_is_accepted_means_the_same_in_its_canonical_form() {
    for Accepted {
        name,
        json,
        msgpack_hex,
        commands,
    } in load("accepted.json")
    {
        let bodies = [
            json.map(|json| (Codec::Json, json.into_bytes())),
            msgpack_hex.map(|hex| (Codec::MessagePack, hex.0)),
        ];
        for (codec, body) in bodies.into_iter().flatten() {
            let read = codec.decode_commands(&body).into_iter();
            let read: Vec<_> = read
                .map(|message| {
                    Codec::Json.encode_command(&message.unwrap_or_else(|error| panic!("{name}: {error}")))
                })
                .map(text)
                .collect();
            assert_eq!(read, commands, "{name}");
        }
    }
}

#[test]
fn what_is_refused_names_its_code_id_and_channel() {
    for Refused {
        name,
        json,
        msgpack_hex,
        errors,
    } in load("refused.json")
    {
        let bodies = [
            json.map(|json| (Codec::Json, json.into_bytes())),
            msgpack_hex.map(|hex| (Codec::MessagePack, hex.0)),
        ];
        for (codec, body) in bodies.into_iter().flatten() {
            let read: Vec<_> = codec
                .decode_commands(&body)
                .into_iter()
                .map(Result::err)
                .collect();
            assert_eq!(read.len(), errors.len(), "{name}");
            for (error, expected) in read.into_iter().zip(&errors) {
                let seen = error.map(|error| {
                    assert!(!error.message.is_empty());
                    let mut seen = json!({ "code": error.code });
                    error.id.into_iter().for_each(|id| seen["id"] = id.into());
                    error
                        .channel
                        .into_iter()
                        .for_each(|channel| seen["channel"] = channel.into());
                    seen
                });
                assert_eq!(&seen, expected, "{name} in {codec:?}");
            }
        }
    }
}

/// `payload_b64` in JSON is `payload` with bytes in `value`.
fn name_bytes(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(base64)) = map.remove("payload_b64") {
                map.insert("payload".into(), json!({ "$bin": base64 }));
            }
            map.values_mut().for_each(name_bytes);
        }
        Value::Array(list) => list.iter_mut().for_each(name_bytes),
        _ => {}
    }
}

/// A value as `value` writes it, read from MessagePack by a reader that is not ours.
struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

/// The same, from JSON without its limit of depth.
struct Shallow(Value);

impl<'de> Deserialize<'de> for Shallow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let mut inner = serde_json::Deserializer::from_str(text.get());
        inner.disable_recursion_limit();
        Value::deserialize(&mut inner).map(Self).map_err(D::Error::custom)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Value, E> {
        Ok(json!({ "$bin": BASE64_STANDARD.encode(value) }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Plain(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((key, Plain(value))) = map.next_entry()? {
            object.insert(key, value);
        }
        Ok(object.into())
    }
}
