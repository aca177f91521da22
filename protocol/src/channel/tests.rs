//! Examples of the grammar, and the algebra against brute force over a small alphabet.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

#[test]
fn the_grammar_is_that_of_nats_subjects_with_plain_tokens() {
    for good in [
        "a",
        "deployments.42",
        "A-b_C.9",
        "a.*.b",
        "a.>",
        "*",
        ">",
        "*.>",
        "_INBOX.x",
    ] {
        assert!(Pattern::new(good).is_ok(), "{good}");
    }
    assert_eq!(Pattern::new(""), Err(ChannelError::Empty));
    assert_eq!(Pattern::new(".a"), Err(ChannelError::EmptyToken { at: 0 }));
    assert_eq!(Pattern::new("a..b"), Err(ChannelError::EmptyToken { at: 2 }));
    assert_eq!(Pattern::new("a."), Err(ChannelError::EmptyToken { at: 2 }));
    assert_eq!(
        Pattern::new("a b"),
        Err(ChannelError::BadCharacter {
            character: ' ',
            at: 1
        })
    );
    assert_eq!(
        Pattern::new("a.é"),
        Err(ChannelError::BadCharacter {
            character: 'é',
            at: 2
        })
    );
    assert_eq!(
        Pattern::new("a.$b"),
        Err(ChannelError::BadCharacter {
            character: '$',
            at: 2
        })
    );
    assert_eq!(
        Pattern::new("a.b*"),
        Err(ChannelError::PartialWildcard { wildcard: '*', at: 3 })
    );
    assert_eq!(Pattern::new("a.>.b"), Err(ChannelError::TailNotLast { at: 2 }));
}

#[test]
fn the_limits_are_inclusive() {
    assert!(Pattern::new(&"a".repeat(255)).is_ok());
    assert_eq!(
        Pattern::new(&"a".repeat(256)),
        Err(ChannelError::TooLong { bytes: 256 })
    );
    assert!(Pattern::new(&vec!["a"; 16].join(".")).is_ok());
    assert_eq!(
        Pattern::new(&vec!["a"; 17].join(".")),
        Err(ChannelError::TooManyTokens { at: 32 })
    );
}

#[test]
fn a_channel_cannot_reach_inboxes_or_system_subjects() {
    assert_eq!(
        Channel::new("$SYS.REQ"),
        Err(ChannelError::Reserved { character: '$' })
    );
    assert_eq!(
        Channel::new("_INBOX.>"),
        Err(ChannelError::Reserved { character: '_' })
    );
    assert_eq!(
        Channel::new("*.a"),
        Err(ChannelError::WildcardFirst { wildcard: '*' })
    );
    assert_eq!(
        Channel::new(">"),
        Err(ChannelError::WildcardFirst { wildcard: '>' })
    );
    assert!(Channel::try_from(pattern("*")).is_err());
    for good in ["a.*", "a.>", "9", "-", "a._b"] {
        assert!(Channel::new(good).is_ok(), "{good}");
    }
}

#[test]
fn a_map_of_channels_is_looked_up_by_text() {
    let map = HashMap::from([
        (Channel::new("a.b").unwrap(), 1),
        (Channel::new("a.*").unwrap(), 2),
    ]);
    assert_eq!(map.get("a.b"), Some(&1));
    assert_eq!(map.get("a.*"), Some(&2));
    assert_eq!(map.get("a"), None);
}

#[test]
fn a_tail_stands_for_one_or_more_tokens() {
    assert!(pattern("a.>").matches("a.b"));
    assert!(pattern("a.>").matches("a.b.c"));
    assert!(!pattern("a.>").matches("a"));
    assert!(!pattern("a.*").matches("a.b.c"));
    assert!(!pattern("a").includes(&pattern("a.>")));
    assert!(pattern("a.>").includes(&pattern("a.*.>")));
    assert!(!pattern("a.*").includes(&pattern("a.>")));
    assert!(pattern("a.*").overlaps(&pattern("*.b")));
    assert!(!pattern("a.*.>").overlaps(&pattern("a.*")));
}

#[test]
fn names_travel_as_plain_strings() {
    let channel: Channel = serde_json::from_str("\"a.*\"").unwrap();
    assert_eq!(serde_json::to_string(&channel).unwrap(), "\"a.*\"");
    let error = serde_json::from_str::<Channel>("5").unwrap_err().to_string();
    assert!(error.contains("expected a channel"), "{error}");
    assert!(serde_json::from_str::<Channel>("\"*\"").is_err());
    assert!(serde_json::from_str::<Pattern>("\"*\"").is_ok());
}

/// Every subject of one to five tokens over an alphabet of three. Patterns below hold at most four tokens over two
/// letters, so a third letter and a fifth token stand for all that they do not name.
fn universe() -> Vec<String> {
    let mut all = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..5 {
        longest = longest
            .iter()
            .flat_map(|head| {
                ["a", "b", "z"].map(|token| {
                    [head, token]
                        .into_iter()
                        .filter(|part| !part.is_empty())
                        .collect::<Vec<_>>()
                        .join(".")
                })
            })
            .collect();
        all.extend(longest.iter().cloned());
    }
    all
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let tokens = prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 0..4);
    (tokens, any::<bool>()).prop_filter_map("not empty", |(mut tokens, tail)| {
        if tail {
            tokens.push(">");
        }
        Pattern::new(&tokens.join(".")).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_algebra_agrees_with_brute_force(one in any_pattern(), two in any_pattern()) {
        let universe = universe();
        let in_both = universe.iter().any(|subject| one.matches(subject) && two.matches(subject));
        let all_in_one = universe.iter().all(|subject| one.matches(subject) || !two.matches(subject));
        prop_assert_eq!(one.overlaps(&two), in_both);
        prop_assert_eq!(two.overlaps(&one), in_both);
        prop_assert_eq!(one.includes(&two), all_in_one);
    }

    #[test]
    fn any_text_is_checked_without_panic(text in ".{0,40}", odd in "[a*>.$_ é]{0,12}") {
        for text in [text, odd] {
            let (pattern, channel) = (Pattern::new(&text), Channel::new(&text));
            prop_assert!(pattern.is_ok() || channel.is_err());
            if let Ok(pattern) = pattern {
                prop_assert_eq!(pattern.as_str(), text.as_str());
                prop_assert!(pattern.includes(&pattern) && pattern.overlaps(&pattern));
            }
        }
    }
}
