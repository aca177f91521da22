//! Whether what a stream republishes reaches the edge under a name that tells the whole subject.

use std::sync::Arc;

use serde_json::{Value, json};

use super::LIVE_PREFIX;
use super::subjects::includes;

/// What a stream republishes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Republish {
    /// What is published on `a.b` comes on `PREFIX.a.b`.
    Prefix(Arc<str>),
    /// Nothing.
    Absent,
    /// Something else, with which durable channels cannot be served: why.
    Unfit(String),
}

/// As streams of ours republish.
pub(super) fn ours() -> Value {
    json!({"src": ">", "dest": format!("{LIVE_PREFIX}.>")})
}

/// Judges the `republish` of a stream that has the subjects `wanted`.
pub(super) fn judge<'a>(given: Option<&Value>, mut wanted: impl Iterator<Item = &'a str>) -> Republish {
    let Some(given) = given else {
        return Republish::Absent;
    };
    let text = |field: &str| given.get(field).and_then(Value::as_str).unwrap_or_default();
    let (source, destination) = (text("src"), text("dest"));
    // NATS takes an empty source for all.
    let source = if source.is_empty() { ">" } else { source };
    let whole = format!("it republishes `{source}` to `{destination}`");
    if given
        .get("headers_only")
        .and_then(Value::as_bool)
        .unwrap_or(false)
    {
        return Republish::Unfit(format!("{whole}, but headers only"));
    }
    if let Some(subject) = wanted.find(|subject| !includes(source, subject)) {
        return Republish::Unfit(format!("{whole}, which leaves out `{subject}`"));
    }
    let prefix = destination
        .strip_suffix(source)
        .and_then(|rest| rest.strip_suffix('.'));
    match prefix {
        Some(prefix) if is_literal(prefix) => Republish::Prefix(prefix.into()),
        _ => Republish::Unfit(format!(
            "{whole}, which does not keep the whole subject behind a prefix"
        )),
    }
}

/// Whether the tokens stand for themselves: no wildcards, no transforms.
fn is_literal(prefix: &str) -> bool {
    let plain = |token: &str| !token.is_empty() && !token.contains(['*', '>', '{', '}', '$', ' ']);
    prefix.split('.').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(source: &str, destination: &str) -> Republish {
        let given = json!({"src": source, "dest": destination});
        judge(Some(&given), ["a.>", "b"].into_iter())
    }

    #[test]
    fn a_destination_is_used_if_it_keeps_whole_subjects_behind_a_prefix() {
        for (source, destination, prefix) in [
            (">", "_tw.live.>", "_tw.live"),
            ("", "live.>", "live"),
            (">", "eu.live.>", "eu.live"),
        ] {
            assert_eq!(judged(source, destination), Republish::Prefix(prefix.into()));
        }
        let given = json!({"src": "a.>", "dest": "live.a.>"});
        assert_eq!(
            judge(Some(&given), ["a.>"].into_iter()),
            Republish::Prefix("live".into())
        );
        assert_eq!(judge(None, ["a.>"].into_iter()), Republish::Absent);
    }

    #[test]
    fn every_other_destination_is_refused_with_the_reason() {
        for (source, destination, why) in [
            ("a.>", "live.a.>", "leaves out `b`"),
            (">", ">", "whole subject"),
            (">", "live.*.>", "whole subject"),
            (">", "live.{{partition(3,1)}}.>", "whole subject"),
            (">", "live", "whole subject"),
        ] {
            let Republish::Unfit(reason) = judged(source, destination) else {
                panic!("{source} {destination}");
            };
            assert!(reason.contains(why), "{reason}");
        }
        let given = json!({"src": "a.>", "dest": "live.>"});
        assert!(matches!(
            judge(Some(&given), ["a.>"].into_iter()),
            Republish::Unfit(_)
        ));
        let given = json!({"src": ">", "dest": "live.>", "headers_only": true});
        assert!(matches!(
            judge(Some(&given), ["a.>"].into_iter()),
            Republish::Unfit(_)
        ));
    }
}
