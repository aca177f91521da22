//! Placeholders in patterns: `users.{sub}.>` means the token's own subject, `{tenant}` its claim of that name.

use serde_json::{Map, Value};
use tailwater_protocol::channel::Pattern;

/// Why a text with placeholders is no pattern for a token. Nothing of it or of the token is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceholderError {
    /// A brace without its other one, or nothing between them.
    #[error("has a `{{` or `}}` that belongs to no placeholder such as `{{sub}}`")]
    Brace,
    /// The claim is missing, or what it holds could be more than one token of a subject, or none.
    #[error("names a claim that is missing, or is no single word or integer")]
    Claim,
    /// With the claims in their places it is none.
    #[error("is no pattern of channels")]
    Pattern,
}

/// The pattern that `text` means for a token with these claims.
///
/// A claim stands for itself alone: it must be an integer or a text of letters, digits, `_` and `-`, so that none can
/// bring a dot or a wildcard along.
pub(crate) fn fill(text: &str, claims: &Map<String, Value>) -> Result<Pattern, PlaceholderError> {
    fill_by(text, |name| word(claims.get(name)))
}

/// As [`fill`], with what `claim` gives for each name.
pub(crate) fn fill_by(
    text: &str,
    claim: impl Fn(&str) -> Option<String>,
) -> Result<Pattern, PlaceholderError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(brace);
        let inside = from.strip_prefix('{').ok_or(PlaceholderError::Brace)?;
        let (name, after) = inside.split_once('}').ok_or(PlaceholderError::Brace)?;
        if name.is_empty() || name.contains('{') {
            return Err(PlaceholderError::Brace);
        }
        filled.push_str(before);
        filled.push_str(&claim(name).ok_or(PlaceholderError::Claim)?);
        rest = after;
    }
    filled.push_str(rest);
    Pattern::new(&filled).map_err(|_| PlaceholderError::Pattern)
}

fn word(claim: Option<&Value>) -> Option<String> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    match claim? {
        Value::String(text) if !text.is_empty() && text.bytes().all(is_letter) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(text: &str) -> Result<String, PlaceholderError> {
        let claims = json!({
            "sub": "ann", "tenant": 42, "https://a.example/org": "acme-1", "low": -7,
            "dots": "a.b", "wild": "*", "tail": ">", "empty": "", "half": 1.5, "yes": true, "list": ["a"], "null": null,
            "non-ascii": "é", "space": "a b",
        });
        let Value::Object(claims) = claims else {
            unreachable!("an object")
        };
        fill(text, &claims).map(|pattern| pattern.to_string())
    }

    #[test]
    fn a_placeholder_is_the_claim_of_its_name() {
        assert_eq!(filled("users.{sub}.>").as_deref(), Ok("users.ann.>"));
        assert_eq!(filled("{tenant}.u-{sub}_{low}.*").as_deref(), Ok("42.u-ann_-7.*"));
        assert_eq!(
            filled("orgs.{https://a.example/org}").as_deref(),
            Ok("orgs.acme-1")
        );
        assert_eq!(filled("plain.>").as_deref(), Ok("plain.>"));
    }

    #[test]
    fn no_claim_can_widen_the_pattern_it_stands_in() {
        for claim in [
            "dots",
            "wild",
            "tail",
            "empty",
            "half",
            "yes",
            "list",
            "null",
            "absent",
            "non-ascii",
            "space",
        ] {
            let text = format!("users.{{{claim}}}");
            assert_eq!(filled(&text), Err(PlaceholderError::Claim), "{claim}");
        }
    }

    #[test]
    fn broken_braces_and_broken_patterns_are_told_apart() {
        for text in ["a.{sub", "a.sub}", "a.{}", "a.{{sub}}", "}{", "{"] {
            assert_eq!(filled(text), Err(PlaceholderError::Brace), "{text}");
        }
        let long = format!("{{sub}}.{}", "a".repeat(255));
        for text in ["", "a..{sub}", "{sub}.", "a.>.{sub}", &long] {
            assert_eq!(filled(text), Err(PlaceholderError::Pattern), "{text}");
        }
    }
}
