//! What subjects with wildcards mean to each other. Subjects of an existing stream may hold characters that no channel
//! may, so this works on their text.

/// Whether every subject that `inner` matches is matched by `outer` too.
pub(crate) fn includes(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(_), Some(">")) => return false,
            (Some("*"), Some(_)) => {}
            (Some(token), Some(other)) if token == other => {}
            _ => return false,
        }
    }
}

/// Whether some subject is matched by both.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(token), Some(other)) if token == other => {}
            _ => return false,
        }
    }
}

/// Without those that another one includes, in their order: NATS takes no two subjects of a stream that overlap.
pub(super) fn widest(subjects: Vec<String>) -> Vec<String> {
    let mut widest: Vec<String> = Vec::new();
    for subject in subjects {
        if !widest.iter().any(|other| includes(other, &subject)) {
            widest.retain(|other| !includes(&subject, other));
            widest.push(subject);
        }
    }
    widest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_includes_what_it_matches_and_no_more() {
        for (outer, inner) in [
            (">", "a.b"),
            ("a.>", "a.*"),
            ("a.*", "a.b"),
            ("a.>", "a.b.>"),
            ("a", "a"),
        ] {
            assert!(includes(outer, inner), "{outer} {inner}");
            assert!(overlap(outer, inner), "{outer} {inner}");
        }
        for (outer, inner) in [
            ("a.>", "a"),
            ("a.*", "a.>"),
            ("a.b", "a.*"),
            ("a", "a.b"),
            ("a.b", "a"),
        ] {
            assert!(!includes(outer, inner), "{outer} {inner}");
        }
        assert!(overlap("a.*.c", "a.b.>") && !includes("a.*.c", "a.b.>"));
        assert!(!overlap("a.>", "a") && !overlap("a.b", "a.c"));
    }

    #[test]
    fn of_nested_subjects_the_widest_stay() {
        let all = ["a.b", "c", "a.>", "a.c", "c"].map(str::to_owned);
        assert_eq!(widest(all.to_vec()), ["c", "a.>"]);
    }
}
