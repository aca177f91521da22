//! Fills the templates of a dialect.

/// `template` with `{channel}` and `{number}` replaced by the client's.
pub(crate) fn fill(template: &[u8], channel: &str, number: usize) -> Vec<u8> {
    let number = number.to_string();
    let mut filled = Vec::with_capacity(template.len() + channel.len());
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'{', rest) {
        filled.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let places = [("{channel}", channel), ("{number}", number.as_str())];
        let place = places.iter().find(|(name, _)| rest.starts_with(name.as_bytes()));
        // Any other brace is one of the message.
        let (name, value) = place.copied().unwrap_or(("{", "{"));
        filled.extend_from_slice(value.as_bytes());
        rest = &rest[name.len()..];
    }
    filled.extend_from_slice(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let template = br#"{"channel":"{channel}","id":{number},"x":{}}"#;
        let filled = br#"{"channel":"a.b","id":7,"x":{}}"#;
        assert_eq!(fill(template, "a.b", 7), filled);
        assert_eq!(fill(b"SUB {channel} {number}", "{number}", 1), b"SUB {number} 1");
        assert_eq!(fill(b"", "a", 1), b"");
    }
}
