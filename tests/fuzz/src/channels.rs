//! Names of channels and the algebra of patterns: what is accepted is a NATS subject within the limits, and the operations
//! agree with each other on every subject.

use tailwater_broker::subject::SubjectPrefix;
use tailwater_protocol::channel::{Channel, Pattern};
use tailwater_protocol::limits::{MAX_CHANNEL_BYTES, MAX_CHANNEL_TOKENS};

/// Feeds it one input: two patterns and a subject, a line each.
pub(crate) fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.splitn(3, '\n');
    let [first, second, subject] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    check_name(first);
    let (Ok(first), Ok(second)) = (Pattern::new(first), Pattern::new(second)) else {
        return;
    };
    for (one, other) in [(&first, &second), (&second, &first)] {
        assert!(one.includes(one) && one.overlaps(one));
        assert_eq!(one.overlaps(other), other.overlaps(one));
        if one.includes(other) {
            assert!(one.overlaps(other));
        }
        if one.includes(other) && other.includes(one) {
            assert_eq!(one, other);
        }
        assert_eq!(one.matches(subject), matches(one.as_str(), subject));
        if other.matches(subject) && one.includes(other) {
            assert!(one.matches(subject));
        }
    }
    if first.matches(subject) && second.matches(subject) {
        assert!(first.overlaps(&second));
    }
    if let Ok(exact) = Pattern::new(subject)
        && !exact.is_wildcard()
    {
        assert_eq!(first.matches(subject), first.includes(&exact));
        assert_eq!(first.matches(subject), first.overlaps(&exact));
    }
}

fn check_name(text: &str) {
    match Channel::new(text) {
        Ok(channel) => {
            assert!(text.len() <= MAX_CHANNEL_BYTES && text.split('.').count() <= MAX_CHANNEL_TOKENS);
            assert!(!text.starts_with(['$', '_', '*', '>']));
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(channel.as_str(), text);
            assert_eq!(
                channel.pattern(),
                &Pattern::new(text).expect("a channel is a pattern")
            );
            assert_eq!(channel.is_wildcard(), text.contains(['*', '>']));
            let prefix = SubjectPrefix::new("prod.eu");
            let subject = prefix.subject(&channel);
            assert_eq!(prefix.channel(subject.as_str()), Some(text));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The same by other means.
fn matches(pattern: &str, subject: &str) -> bool {
    let (pattern, subject): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), subject.split('.').collect());
    let (fixed, is_open) = match pattern.split_last() {
        Some((&">", fixed)) => (fixed, true),
        _ => (&pattern[..], false),
    };
    let length = if is_open {
        subject.len() > fixed.len()
    } else {
        subject.len() == fixed.len()
    };
    length
        && fixed
            .iter()
            .zip(&subject)
            .all(|(token, other)| *token == "*" || token == other)
}
