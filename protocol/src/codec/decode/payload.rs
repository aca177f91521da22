//! How a payload arrives. In JSON it is kept as it stands; in MessagePack it is written out as JSON text while it is
//! read, because that is what will be published. What JSON cannot say is refused.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::limits::MAX_JSON_DEPTH;
use crate::payload::{Payload, PayloadRef};

/// Base64 with or without its padding (RFC 4648 section 4).
pub(in crate::codec) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `payload` field.
pub(super) struct WirePayload(Payload);

/// The `payload_b64` field.
pub(super) struct WireBase64(Bytes);

/// Reads a field that is there, so that a payload of `null` is not taken for an absent one.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WirePayload>, D::Error> {
    WirePayload::deserialize(deserializer).map(Some)
}

/// The payload of a message, which has exactly one of the two fields.
pub(super) fn payload_field(
    payload: Option<WirePayload>,
    base64: Option<WireBase64>,
) -> Result<Payload, &'static str> {
    match (payload, base64) {
        (Some(WirePayload(payload)), None) => Ok(payload),
        (None, Some(WireBase64(bytes))) => Ok(Payload::Binary(bytes)),
        (Some(_), Some(_)) => Err("`payload` and `payload_b64` exclude each other: leave one of them out"),
        (None, None) => Err("missing: send `payload`, or bytes in base64 as `payload_b64`"),
    }
}

impl<'de> Deserialize<'de> for WireBase64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64
            .decode(text)
            .map(|bytes| Self(bytes.into()))
            .map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for WirePayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return deserializer.deserialize_any(TopLevel).map(Self);
        }
        let json = Box::<RawValue>::deserialize(deserializer)?;
        // It is JSON already: what is not classified as such is too deep.
        if !matches!(PayloadRef::classify(json.get().as_bytes()), PayloadRef::Json(_)) {
            return Err(de::Error::custom(TooDeep));
        }
        Ok(Self(Payload::Json(json)))
    }
}

struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a payload is nested at most {MAX_JSON_DEPTH} levels deep"
        )
    }
}

/// The value of `payload` in MessagePack: bytes, or anything that JSON can say.
struct TopLevel;

impl TopLevel {
    /// Writes the JSON text by `visit` and takes it as the payload.
    fn json<E: de::Error>(visit: impl FnOnce(JsonText<'_>) -> Result<(), E>) -> Result<Payload, E> {
        let mut out = Vec::new();
        visit(JsonText {
            out: &mut out,
            depth: 0,
        })?;
        let text = String::from_utf8(out).map_err(E::custom)?;
        RawValue::from_string(text).map(Payload::Json).map_err(E::custom)
    }
}

impl<'de> Visitor<'de> for TopLevel {
    type Value = Payload;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value that JSON has too, or binary data")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
        Ok(Payload::Binary(Bytes::copy_from_slice(bytes)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Payload, E> {
        Self::json(|text| text.visit_unit())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Payload, E> {
        Self::json(|text| text.visit_bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Payload, E> {
        Self::json(|text| text.visit_u64(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Payload, E> {
        Self::json(|text| text.visit_i64(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Payload, E> {
        Self::json(|text| text.visit_f64(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Payload, E> {
        Self::json(|text| text.visit_str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Payload, A::Error> {
        Self::json(|text| text.visit_seq(seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Payload, A::Error> {
        Self::json(|text| text.visit_map(map))
    }
}

const NESTED_BINARY: &str =
    "JSON has no binary data: send it as the whole `payload`, or as a string in base64";

/// Writes the value that it is given as JSON text. The depth is counted here, so that recursion is bounded.
struct JsonText<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
}

impl JsonText<'_> {
    fn write<E: de::Error>(self, value: &(impl serde::Serialize + ?Sized)) -> Result<(), E> {
        serde_json::to_writer(self.out, value).map_err(E::custom)
    }

    /// One level deeper.
    fn inner(&mut self) -> JsonText<'_> {
        JsonText {
            out: self.out,
            depth: self.depth + 1,
        }
    }

    fn open<E: de::Error>(&mut self, bracket: u8) -> Result<(), E> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(E::custom(TooDeep));
        }
        self.out.push(bracket);
        Ok(())
    }

    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }
}

impl<'de> DeserializeSeed<'de> for JsonText<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonText<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value that JSON has too")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.write(&())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.write(&value)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        if !value.is_finite() {
            return Err(E::custom(
                "JSON has neither NaN nor infinity: send null or a string instead",
            ));
        }
        self.write(&value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.write(value)
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<(), E> {
        Err(E::custom(NESTED_BINARY))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.open(b'[')?;
        let mut first = true;
        loop {
            // A comma is written before it is known whether an element follows, and taken back if none does.
            let end = self.out.len();
            self.comma(&mut first);
            if seq.next_element_seed(self.inner())?.is_none() {
                self.out.truncate(end);
                break;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.open(b'{')?;
        let mut first = true;
        loop {
            let end = self.out.len();
            self.comma(&mut first);
            if map.next_key_seed(KeyText(self.out))?.is_none() {
                self.out.truncate(end);
                break;
            }
            self.out.push(b':');
            map.next_value_seed(self.inner())?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Writes a key, which JSON wants to be a string.
struct KeyText<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for KeyText<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for KeyText<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key that is a string, as JSON has them")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        serde_json::to_writer(self.0, key).map_err(E::custom)
    }
}
