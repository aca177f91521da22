//! The algebra of channels and patterns.

use std::hint::black_box;

use tailwater_protocol::channel::{Channel, Pattern};

use super::BATCH;
use crate::case::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("channel/check a name", BATCH, || {
            || {
                for _ in 0..BATCH {
                    black_box(Channel::new(black_box("deployments.eu.42.state"))).ok();
                }
            }
        }),
        over_pairs("channel/matches", |pattern, other| {
            pattern.matches(other.as_str())
        }),
        over_pairs("channel/includes", Pattern::includes),
        over_pairs("channel/overlaps", Pattern::overlaps),
    ]
}

/// One operation is one pair of patterns, of every sort.
fn over_pairs(name: &'static str, judge: fn(&Pattern, &Pattern) -> bool) -> Case {
    let texts = [
        ("deployments.eu.42.state", "deployments.eu.42.state"),
        ("deployments.*.42.*", "deployments.eu.42.state"),
        ("deployments.>", "deployments.eu.42.state"),
        ("deployments.us.>", "deployments.eu.42.state"),
    ];
    Case::new(name, BATCH, move || {
        let parse = |text| Pattern::new(text).expect("a pattern");
        let pairs = texts.map(|(pattern, other)| (parse(pattern), parse(other)));
        move || {
            for (pattern, other) in pairs.iter().cycle().take(BATCH) {
                black_box(judge(black_box(pattern), black_box(other)));
            }
        }
    })
}
