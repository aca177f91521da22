//! Patterns with placeholders: `users.{sub}.>` is a pattern of its own for each token.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use tailwater_protocol::channel::Pattern;

use crate::identity::placeholder::{PlaceholderError, fill, fill_by};

/// A pattern in which `{sub}` stands for the claim of that name.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Arc<str>);

impl Template {
    /// Checks that it is a pattern once its placeholders are filled. Its error is the rest of a sentence that begins with
    /// the text.
    pub(crate) fn new(text: &str) -> Result<Self, PlaceholderError> {
        // A claim may take more room than this one character, which is judged when it is known.
        fill_by(text, |_| Some("x".to_owned()))?;
        Ok(Self(text.into()))
    }

    /// The text with its placeholders.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pattern for a token with these claims. Nothing if a claim is missing or is not what one token of a subject
    /// may be, so that a user called `*` gets nothing and not everything.
    pub(crate) fn of(&self, claims: &Map<String, Value>) -> Option<Pattern> {
        fill(&self.0, claims).ok()
    }

    /// As [`Self::of`], for what is denied: where a claim stands for nothing, all that it might stand for is denied.
    pub(crate) fn at_widest(&self, claims: &Map<String, Value>) -> Option<Pattern> {
        let widest = |token: &str| match fill(token, claims) {
            Err(PlaceholderError::Claim) => "*".to_owned(),
            Ok(filled) if token.contains('{') => filled.as_str().to_owned(),
            _ => token.to_owned(),
        };
        let tokens: Vec<String> = self.0.split('.').map(widest).collect();
        Pattern::new(&tokens.join(".")).ok()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(template: &str, claims: Value) -> Option<String> {
        let template = Template::new(template).unwrap();
        let pattern = template.of(claims.as_object().unwrap())?;
        Some(pattern.as_str().to_owned())
    }

    #[test]
    fn placeholders_stand_for_the_claims_of_the_token() {
        let claims = json!({"sub": "ann", "tenant": 7});
        assert_eq!(
            of("users.{sub}.>", claims.clone()).as_deref(),
            Some("users.ann.>")
        );
        assert_eq!(of("{tenant}.{sub}", claims.clone()).as_deref(), Some("7.ann"));
        assert_eq!(of("news.*", claims.clone()).as_deref(), Some("news.*"));
        assert_eq!(of("user-{sub}.>", claims).as_deref(), Some("user-ann.>"));
    }

    #[test]
    fn a_claim_that_is_not_one_plain_token_grants_nothing() {
        for sub in [
            json!("*"),
            json!(">"),
            json!("a.b"),
            json!(""),
            json!("a b"),
            json!("ä"),
            json!(1.5),
            json!(1.5e300),
            json!(null),
            json!(["ann"]),
            json!(true),
        ] {
            assert_eq!(of("users.{sub}", json!({"sub": sub})), None, "{sub}");
        }
        assert_eq!(of("users.{sub}", json!({})), None);
        assert_eq!(of("users.{sub}", json!({"sub": "a".repeat(300)})), None);
    }

    #[test]
    fn what_is_denied_is_denied_to_a_token_without_the_claim_at_its_widest() {
        let template = Template::new("users.{sub}.secret").unwrap();
        let pattern = |claims: Value| template.at_widest(claims.as_object().unwrap());
        assert_eq!(pattern(json!({})).unwrap().as_str(), "users.*.secret");
        assert_eq!(pattern(json!({"sub": "*"})).unwrap().as_str(), "users.*.secret");
        assert_eq!(
            pattern(json!({"sub": "ann"})).unwrap().as_str(),
            "users.ann.secret"
        );
    }

    #[test]
    fn texts_that_are_patterns_with_no_claims_are_refused() {
        for text in ["", "a..b", "{}", "{sub", "a.{s}b}.c", "{{sub}}", "a.>.b"] {
            assert!(Template::new(text).is_err(), "{text}");
        }
    }
}
