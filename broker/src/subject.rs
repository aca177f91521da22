//! The one place where a channel becomes a NATS subject and back.
//!
//! A namespace may put a prefix before its channels: `prod` makes the channel `deployments.42` the
//! subject `prod.deployments.42`. Nothing else is ever done to a name.

use std::fmt;
use std::sync::Arc;

use tailwater_protocol::channel::Channel;

/// A NATS subject that a channel stands for; may hold wildcards.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The subject as NATS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subject {
    /// `subject` behind the tokens of a prefix, such as `_tw.live`.
    pub(crate) fn behind(prefix: &str, subject: &Self) -> Self {
        Self(Arc::from(format!("{prefix}.{subject}")))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a namespace puts before its channels in NATS: whole tokens, without the dot behind them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubjectPrefix(Option<Arc<str>>);

impl SubjectPrefix {
    /// A prefix of literal tokens such as `prod` or `prod.eu`; empty means none. The configuration has
    /// checked the tokens.
    pub fn new(tokens: &str) -> Self {
        Self((!tokens.is_empty()).then(|| Arc::from(tokens)))
    }

    /// The subject of `channel`.
    pub fn subject(&self, channel: &Channel) -> Subject {
        match &self.0 {
            None => Subject(Arc::from(channel.as_str())),
            Some(prefix) => Subject(Arc::from(format!("{prefix}.{channel}"))),
        }
    }

    /// The channel that a concrete `subject` stands for, or nothing if it lies outside the prefix.
    pub fn channel<'a>(&self, subject: &'a str) -> Option<&'a str> {
        match &self.0 {
            None => Some(subject),
            Some(prefix) => subject.strip_prefix(prefix.as_ref())?.strip_prefix('.'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_put_before_the_channel_and_taken_off_again() {
        let channel = Channel::new("deployments.42").unwrap();
        for prefix in ["", "prod", "prod.eu"] {
            let prefix = SubjectPrefix::new(prefix);
            let subject = prefix.subject(&channel);
            assert_eq!(prefix.channel(subject.as_str()), Some("deployments.42"));
        }
        assert_eq!(
            SubjectPrefix::new("prod").subject(&channel).as_str(),
            "prod.deployments.42"
        );
    }

    #[test]
    fn a_subject_outside_the_prefix_is_no_channel() {
        let prefix = SubjectPrefix::new("prod");
        assert_eq!(prefix.channel("production.x"), None);
        assert_eq!(prefix.channel("prod"), None);
        assert_eq!(prefix.channel("dev.prod.x"), None);
    }
}
