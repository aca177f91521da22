//! Messages with places that are filled for each publication. The places are found once, so that filling them is copying.

use memchr::memmem;

/// A message with places for the channel and the payload.
#[derive(Debug)]
pub(super) struct MessageTemplate(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Vec<u8>),
    Channel,
    Payload,
    PayloadString,
}

impl MessageTemplate {
    /// Finds the places: `{channel}`, `{payload}` and `{payload_string}`.
    pub(super) fn new(mut text: &[u8]) -> Self {
        let mut parts = Vec::new();
        while let Some((at, place, part)) = first_place(text) {
            parts.push(Part::Text(text[..at].to_vec()));
            parts.push(part);
            text = &text[at + place.len()..];
        }
        parts.push(Part::Text(text.to_vec()));
        Self(parts)
    }

    /// Appends the message of one publication.
    ///
    /// # Errors
    /// If a payload that is to stand in a JSON string is no UTF-8.
    pub(super) fn fill(&self, channel: &str, payload: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Channel => out.extend_from_slice(channel.as_bytes()),
                Part::Payload => out.extend_from_slice(payload),
                Part::PayloadString => serde_json::to_writer(&mut *out, std::str::from_utf8(payload)?)?,
            }
        }
        Ok(())
    }
}

/// The place that comes first: where it is, how it is written and what it stands for.
fn first_place(text: &[u8]) -> Option<(usize, &'static str, Part)> {
    let places = [
        ("{channel}", Part::Channel),
        ("{payload}", Part::Payload),
        ("{payload_string}", Part::PayloadString),
    ];
    let found = places
        .into_iter()
        .filter_map(|(place, part)| Some((memmem::find(text, place.as_bytes())?, place, part)));
    found.min_by_key(|(at, _, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_and_the_rest_is_left() {
        let template =
            MessageTemplate::new(br#"{"c":"{channel}","d":{payload},"s":{payload_string}}{channel"#);
        let mut out = b"before ".to_vec();
        template.fill("l.a", br#"{"n":"1"}"#, &mut out).unwrap();
        let expected = br#"before {"c":"l.a","d":{"n":"1"},"s":"{\"n\":\"1\"}"}{channel"#;
        assert_eq!(
            out.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }

    #[test]
    fn what_a_payload_holds_is_no_place() {
        let mut out = Vec::new();
        MessageTemplate::new(b"{payload}")
            .fill("c", b"{channel}", &mut out)
            .unwrap();
        assert_eq!(out, b"{channel}");
    }
}
