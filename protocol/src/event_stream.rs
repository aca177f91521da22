//! Server-sent events as a server writes them (HTML standard, section 9.2): each message of the protocol is one event
//! without a name, in one line of data. Their ids, which clients send back, are read here too.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::position::{Epoch, Offset, Position};

/// Room for most events that are made one at a time.
const USUAL_BYTES: usize = 256;

/// The most places that an id holds.
const MAX_PLACES: usize = 65_536;

/// A whole event around the message that `write` appends to what it is given; `place` becomes its id.
pub(crate) fn event(place: Option<(&Epoch, Offset)>, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(USUAL_BYTES);
    push_event(&mut out, place, write);
    out.into()
}

/// As [`event`], appended to `out`.
pub(crate) fn push_event(
    out: &mut Vec<u8>,
    place: Option<(&Epoch, Offset)>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    if let Some((epoch, offset)) = place {
        out.extend_from_slice(b"id: ");
        push_place(out, epoch, offset);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    let start = out.len();
    write(out);
    // A payload is embedded as it was published. Outside of its strings, where JSON has no line ends, they are space.
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\n\n");
}

/// The last event of a stream: the close code that a WebSocket would have had, and why.
pub fn close(code: u16, reason: &str) -> Bytes {
    event(None, |out| {
        let reason = serde_json::to_string(reason).unwrap_or_default();
        out.extend_from_slice(format!(r#"{{"type":"close","code":{code},"reason":{reason}}}"#).as_bytes());
    })
}

/// A line that clients ignore.
pub fn comment(text: &str) -> Bytes {
    format!(":{text}\n\n").into()
}

/// How long a client that loses the stream waits before it comes back, in milliseconds.
pub fn retry(millis: u32) -> Bytes {
    format!("retry: {millis}\n\n").into()
}

/// An event of nothing but an id: clients keep it, and their listeners see nothing.
pub fn id(places: &Places) -> Bytes {
    format!("id: {places}\n\n").into()
}

/// The messages in a run of whole events, as JSON.
pub fn messages(events: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = events.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.strip_prefix(b"data: "))
}

/// Where a client stands in each of its channels, in their order; nothing where it stands nowhere. As text, the `cursor`
/// of a poll and the id of an event: places between commas, each an epoch and an offset with a dot between, the epoch left
/// out where it is that of the place before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(pub Vec<Option<Position>>);

/// A text is no [`Places`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is what this server gave, unchanged")]
pub struct PlacesError;

impl fmt::Display for Places {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for (index, place) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            let Some(Position { epoch, offset }) = place else {
                continue;
            };
            if last != Some(epoch) {
                formatter.write_str(&escaped(epoch.as_str()))?;
                last = Some(epoch);
            }
            write!(formatter, ".{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Places {
    type Err = PlacesError;

    fn from_str(text: &str) -> Result<Self, PlacesError> {
        let mut last: Option<Epoch> = None;
        let mut places = Vec::new();
        for place in text.split(',') {
            if places.len() == MAX_PLACES {
                return Err(PlacesError);
            }
            if place.is_empty() {
                places.push(None);
                continue;
            }
            let (epoch, offset) = place.rsplit_once('.').ok_or(PlacesError)?;
            if !epoch.is_empty() {
                let epoch = unescaped(epoch).ok_or(PlacesError)?;
                last = Some(Epoch::new(&epoch).map_err(|_| PlacesError)?);
            }
            let epoch = last.clone().ok_or(PlacesError)?;
            let Position { offset, .. } = format!("-.{offset}").parse().map_err(|_| PlacesError)?;
            places.push(Some(Position { offset, epoch }));
        }
        Ok(Self(places))
    }
}

/// The id of one place.
fn push_place(out: &mut Vec<u8>, epoch: &Epoch, offset: Offset) {
    out.extend_from_slice(escaped(epoch.as_str()).as_bytes());
    out.extend_from_slice(format!(".{offset}").as_bytes());
}

/// An epoch may be any visible text; a comma in it would end the place.
fn escaped(epoch: &str) -> std::borrow::Cow<'_, str> {
    if epoch.contains([',', '%']) {
        epoch.replace('%', "%25").replace(',', "%2C").into()
    } else {
        epoch.into()
    }
}

fn unescaped(epoch: &str) -> Option<String> {
    let text = epoch.replace("%2C", ",");
    let rest = text.replace("%25", "");
    (!rest.contains('%')).then(|| text.replace("%25", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: &str, offset: u64) -> Option<Position> {
        Some(Position {
            epoch: Epoch::new(epoch).unwrap(),
            offset: Offset::new(offset).unwrap(),
        })
    }

    #[test]
    fn places_are_read_as_they_were_written() {
        for (places, text) in [
            (vec![at("17-0", 5)], "17-0.5"),
            (vec![None], ""),
            (vec![None, at("17-0", 5), None], ",17-0.5,"),
            (
                vec![at("17-0", 5), at("17-0", 9), at("18-0", 1)],
                "17-0.5,.9,18-0.1",
            ),
            (vec![at("a.b,c%2C", 0), at("%", 1)], "a.b%2Cc%252C.0,%25.1"),
        ] {
            let places = Places(places);
            assert_eq!(places.to_string(), text);
            assert_eq!(text.parse(), Ok(places));
        }
    }

    #[test]
    fn what_the_server_never_gave_is_no_cursor() {
        for text in [
            "x",
            ".5",
            "17-0.",
            "17-0.-1",
            "17-0.+1",
            "17-0.9007199254740992",
            "17 0.1",
            "a%41.1",
            "17-0.1;2",
            "\u{e9}.1",
        ] {
            assert_eq!(text.parse::<Places>(), Err(PlacesError), "{text}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_embedded() {
        let epoch = Epoch::new("17-0").unwrap();
        let event = event(Some((&epoch, Offset::new(3).unwrap())), |out| {
            out.extend_from_slice(b"{\"payload\":{\r\n\t\"a\": 1\n}}");
        });
        assert_eq!(&event[..], b"id: 17-0.3\ndata: {\"payload\":{  \t\"a\": 1 }}\n\n");
        let read: Vec<_> = messages(&event).collect();
        assert_eq!(read, [b"{\"payload\":{  \t\"a\": 1 }}"]);
    }

    #[test]
    fn the_last_event_is_json_whatever_the_reason() {
        let event = close(4401, "a \"token\"\nexpired");
        let [message] = messages(&event).collect::<Vec<_>>()[..] else {
            panic!("{event:?}")
        };
        let message: serde_json::Value = serde_json::from_slice(message).unwrap();
        assert_eq!(message["reason"], "a \"token\"\nexpired");
    }
}
