//! Resolving channels, against all small patterns there are.

use super::*;

impl Namespace {
    /// Live and closed: nobody may do anything.
    pub(crate) fn for_tests() -> Self {
        Self {
            name: "tests".into(),
            channels: vec![Pattern::new(">").expect("a pattern")],
            delivery: Delivery::Live {
                slow_consumer: SlowConsumer::DropOldest,
            },
            anonymous: false,
            allow_subscribe: Vec::new(),
            allow_publish: Vec::new(),
            allow_request: Vec::new(),
            deny: Vec::new(),
            wildcards: true,
            publish: false,
            request: false,
            request_timeout: Duration::ZERO,
            subscribe_hook: false,
            subject_prefix: None,
            max_delay: Duration::ZERO,
            compress: false,
            trace: false,
        }
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).expect("a pattern")
}

/// All patterns of up to three tokens over a small alphabet.
fn small_patterns() -> Vec<Pattern> {
    let mut texts: Vec<String> = ["a", "b", "*", ">"].map(str::to_owned).to_vec();
    let mut longest = texts.clone();
    for _ in 0..2 {
        let open = longest.iter().filter(|text| !text.ends_with('>'));
        longest = open
            .flat_map(|text| ["a", "b", "*", ">"].map(|token| format!("{text}.{token}")))
            .collect();
        texts.extend(longest.iter().cloned());
    }
    texts.iter().map(|text| pattern(text)).collect()
}

fn namespaces(groups: &[Vec<&Pattern>]) -> Namespaces {
    let namespace = |(index, patterns): (usize, &Vec<&Pattern>)| Namespace {
        name: format!("n{index}").into(),
        channels: patterns.iter().map(|pattern| (*pattern).clone()).collect(),
        anonymous: true,
        ..Namespace::for_tests()
    };
    Namespaces(groups.iter().enumerate().map(namespace).map(Arc::new).collect())
}

/// An exact channel goes where the smallest pattern is that matches it; a wildcard is accepted only where all of its
/// channels go to one namespace.
fn check(groups: &[Vec<&Pattern>], channels: &[Channel]) -> usize {
    let namespaces = namespaces(groups);
    let home = |channel: &Channel| {
        namespaces
            .resolve(channel)
            .ok()
            .map(|found| found.name.to_string())
    };
    let (wildcards, exact): (Vec<_>, Vec<_>) = channels.iter().partition(|channel| channel.is_wildcard());
    for channel in &exact {
        let all = groups
            .iter()
            .enumerate()
            .flat_map(|(index, group)| group.iter().map(move |one| (index, one)));
        let matching: Vec<_> = all
            .filter(|(_, pattern)| pattern.matches(channel.as_str()))
            .collect();
        let is_smallest = |(index, pattern): &&(usize, &&Pattern)| {
            matching
                .iter()
                .all(|(other, wider)| other == index || wider.includes(pattern))
        };
        let smallest = matching
            .iter()
            .find(is_smallest)
            .map(|(index, _)| format!("n{index}"));
        assert_eq!(home(channel), smallest, "{channel} of {groups:?}");
    }
    let mut accepted = 0;
    for wildcard in wildcards {
        let Some(name) = home(wildcard) else { continue };
        accepted += 1;
        for channel in exact.iter().filter(|channel| wildcard.matches(channel.as_str())) {
            assert_eq!(
                home(channel).as_ref(),
                Some(&name),
                "{channel} of {wildcard} of {groups:?}"
            );
        }
    }
    accepted
}

#[test]
fn overlapping_patterns_have_the_example_in_common() {
    let patterns = small_patterns();
    for one in &patterns {
        for other in patterns.iter().filter(|other| one.overlaps(other)) {
            let common = common_channel(one.as_str(), other.as_str());
            assert!(
                one.matches(&common) && other.matches(&common),
                "{common} of {one} and {other}"
            );
        }
    }
}

#[test]
fn a_wildcard_is_accepted_only_if_every_channel_in_it_belongs_to_that_namespace() {
    let patterns = small_patterns();
    let nested = |one: &Pattern, other: &Pattern| {
        one != other && (!one.overlaps(other) || one.includes(other) || other.includes(one))
    };
    let channels = patterns
        .iter()
        .filter_map(|pattern| Channel::new(pattern.as_str()).ok());
    let channels: Vec<Channel> = channels.collect();
    let mut accepted = 0;
    for one in &patterns {
        let beside: Vec<_> = patterns.iter().filter(|other| nested(one, other)).collect();
        for (index, two) in beside.iter().enumerate() {
            for three in beside[..index].iter().step_by(5) {
                // Patterns of one namespace may overlap as they like.
                accepted += check(&[vec![one], vec![two, three]], &channels);
                if nested(two, three) {
                    accepted += check(&[vec![one], vec![two], vec![three]], &channels);
                }
            }
        }
    }
    assert!(accepted > 1000, "only {accepted} wildcards were accepted");
}
