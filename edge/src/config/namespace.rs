//! Namespaces: which channels exist, and what applies to each. No namespace, no channel.
//!
//! Read here: `[namespace.NAME]` and what namespaces mean to each other. What a durable one needs of its stream is left
//! to `stream`; how a channel becomes a subject, to the broker.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tailwater_protocol::channel::{Channel, Pattern};

use super::error::{Mistakes, Place};
use super::nats::literal_subject;
use super::settings::{Section, Settings};
use super::template::Template;

/// A rule for the channels that match one of its patterns.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The channels it consists of, at least one pattern.
    pub channels: Vec<Pattern>,
    /// Live or durable, and what only that kind has.
    pub delivery: Delivery,
    /// Whether clients may use it without a token, and with any.
    pub anonymous: bool,
    /// What every client with a token may subscribe to.
    pub allow_subscribe: Vec<Template>,
    /// On what every client with a token may publish, if clients may at all.
    pub allow_publish: Vec<Template>,
    /// On what every client with a token may send requests, if clients may at all.
    pub allow_request: Vec<Template>,
    /// What no client may use, whatever else allows it.
    pub deny: Vec<Template>,
    /// Whether clients may subscribe to patterns.
    pub wildcards: bool,
    /// Whether clients may publish.
    pub publish: bool,
    /// Whether clients may send requests to the services behind its channels.
    pub request: bool,
    /// How long a service may take to answer; a client may ask for less.
    pub request_timeout: Duration,
    /// Whether the hook for subscriptions is asked.
    pub subscribe_hook: bool,
    /// The channel `a.b` is the NATS subject `PREFIX.a.b`; without a prefix it is `a.b`. Subjects without wildcards,
    /// which begin neither with `$` nor with `_`.
    pub subject_prefix: Option<Arc<str>>,
    /// How long a publication may wait so that several go out together; zero: not at all.
    pub max_delay: Duration,
    /// Whether publications are compressed for clients that offer `permessage-deflate`.
    pub compress: bool,
    /// Whether updates say where they stand in their publisher's trace.
    pub trace: bool,
}

/// What a namespace promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// At most once; every loss at the edge is announced.
    Live {
        /// What happens to a client whose outbox is full.
        slow_consumer: SlowConsumer,
    },
    /// Ordered, without gaps, resumable, from a JetStream stream.
    Durable {
        /// The stream, one of [`Config::streams`](super::Config::streams).
        stream: Arc<str>,
    },
}

/// What happens to a client whose outbox is full, on a live channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowConsumer {
    /// The oldest publications are dropped, and the client is told how many.
    DropOldest,
    /// Of each subject only the newest publication waits.
    Latest,
    /// The client is closed.
    Disconnect,
}

/// All namespaces of a configuration. Patterns of two namespaces are never equal, and overlap only where one includes
/// the other; so of those that match a channel one is always the most specific.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(Vec<Arc<Namespace>>);

impl Namespaces {
    /// The namespaces, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.0.iter()
    }

    /// Whether there is anything to do here for a client without a token.
    pub fn any_anonymous(&self) -> bool {
        self.0.iter().any(|namespace| namespace.anonymous)
    }

    /// Whether any of them compresses.
    pub fn any_compresses(&self) -> bool {
        self.0.iter().any(|namespace| namespace.compress)
    }

    /// Whether clients may send requests in any of them.
    pub fn any_takes_requests(&self) -> bool {
        self.0.iter().any(|namespace| namespace.request)
    }

    /// The namespace to which a channel belongs. An exact channel belongs to the most specific one that matches it; one
    /// with wildcards must lie inside a namespace that allows them and touch no more specific one.
    ///
    /// # Errors
    /// [`ResolveError`]: a sentence that a client may read.
    pub fn resolve(&self, channel: &Channel) -> Result<&Arc<Namespace>, ResolveError> {
        // Of an exact channel, "includes" is "matches": one rule serves both.
        let asked = channel.pattern();
        let including = self.patterns().filter(|(_, pattern)| pattern.includes(asked));
        let most_specific = including.reduce(|best, next| if best.1.includes(next.1) { next } else { best });
        // What overlaps without including lies inside the most specific one, or nothing includes the channel at all.
        let touched = self.patterns().find(|(namespace, pattern)| {
            let is_other = most_specific.is_none_or(|(found, _)| found.name != namespace.name);
            is_other && pattern.overlaps(asked) && !pattern.includes(asked)
        });
        let touched = touched.map(|(namespace, _)| namespace.name.clone());
        match (most_specific, touched) {
            (None, None) => Err(ResolveError::NoSuchChannel),
            (None, Some(namespace)) => Err(Refusal::Beyond { namespace }.into()),
            (Some((found, _)), _) if channel.is_wildcard() && !found.wildcards => Err(Refusal::Wildcards {
                namespace: found.name.clone(),
            }
            .into()),
            (Some(_), Some(namespace)) => Err(Refusal::Overlap { namespace }.into()),
            (Some((found, _)), None) => Ok(found),
        }
    }

    fn patterns(&self) -> impl Iterator<Item = (&Arc<Namespace>, &Pattern)> {
        self.0
            .iter()
            .flat_map(|namespace| namespace.channels.iter().map(move |pattern| (namespace, pattern)))
    }
}

/// Why a channel belongs to no namespace; `Display` is a sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No namespace has it: `no_such_channel`.
    #[error("there is no such channel here")]
    NoSuchChannel,
    /// It exists, but not like this: `forbidden`.
    #[error(transparent)]
    Forbidden(#[from] Refusal),
}

/// Why a pattern is refused although some of its channels exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The namespace does not allow wildcards.
    #[error("namespace `{namespace}` does not allow wildcards: subscribe to channels by their whole name")]
    Wildcards {
        /// The namespace that the pattern lies in.
        namespace: Arc<str>,
    },
    /// Some of its channels belong to a more specific namespace.
    #[error(
        "the pattern overlaps namespace `{namespace}`: subscribe to a narrower pattern, and to that namespace apart"
    )]
    Overlap {
        /// The more specific namespace.
        namespace: Arc<str>,
    },
    /// Some of its channels belong to no namespace.
    #[error("the pattern reaches beyond namespace `{namespace}`: subscribe to a narrower pattern")]
    Beyond {
        /// A namespace that holds a part of it.
        namespace: Arc<str>,
    },
}

/// A namespace as it was read, with what is needed to judge it beside others.
struct Draft {
    namespace: Namespace,
    /// Each pattern with its place.
    patterns: Vec<(Pattern, Place)>,
    /// The patterns as NATS subjects.
    subjects: Vec<Pattern>,
}

/// Reads every `[namespace.NAME]` and judges them together.
pub(super) fn read(settings: &Settings, file: &Place, mistakes: &mut Mistakes) -> Namespaces {
    let names = settings.names("namespace");
    if names.is_empty() {
        mistakes.add(
            file,
            "there is no namespace, and so no channel: add a table such as `[namespace.news]` with \
             `channels = [\"news.>\"]`",
        );
    }
    let read = |name: &String| {
        read_one(
            name,
            &mut settings.section(&format!("namespace.{name}"), mistakes),
        )
    };
    let drafts: Vec<Draft> = names.iter().map(read).collect();
    for (index, one) in drafts.iter().enumerate() {
        for other in &drafts[..index] {
            check_pair(other, one, mistakes);
        }
    }
    Namespaces(
        drafts
            .into_iter()
            .map(|draft| Arc::new(draft.namespace))
            .collect(),
    )
}

fn read_one(name: &str, section: &mut Section<'_>) -> Draft {
    let patterns = section.list("channels", parse_channels);
    if section.list("channels", |_| Ok(())).is_empty() && !section.is_wrong("channels") {
        let set = if section.is_set("channels") {
            "is empty"
        } else {
            "is missing"
        };
        section.refuse(
            "channels",
            format!("{set}: say which channels belong to it, such as [\"{name}.>\"]"),
        );
    }
    let prefix = section.parse("subject_prefix", parse_prefix);
    let mut subjects = Vec::new();
    for (pattern, place) in &patterns {
        let subject = match &prefix {
            Some(prefix) => Pattern::new(&format!("{prefix}.{pattern}", pattern = pattern.as_str())),
            None => Ok(pattern.clone()),
        };
        match subject {
            Ok(subject) => subjects.push(subject),
            Err(error) => section.refuse_at(
                place,
                "channels",
                format!(
                    "holds `{}`, which with its subject prefix is no subject: {error}",
                    pattern.as_str()
                ),
            ),
        }
    }
    let namespace = Namespace {
        name: name.into(),
        channels: patterns.iter().map(|(pattern, _)| pattern.clone()).collect(),
        delivery: read_delivery(name, section),
        anonymous: section.boolean("anonymous"),
        allow_subscribe: read_templates("allow_subscribe", section),
        allow_publish: read_templates("allow_publish", section),
        allow_request: read_templates("allow_request", section),
        deny: read_templates("deny", section),
        wildcards: section.boolean("wildcards"),
        publish: section.boolean("publish"),
        request: section.boolean("request"),
        request_timeout: section.duration("request_timeout_ms"),
        subscribe_hook: section.boolean("subscribe_hook"),
        subject_prefix: prefix,
        max_delay: section.duration("max_delay_ms"),
        compress: section.boolean("compress"),
        trace: section.boolean("trace"),
    };
    Draft {
        namespace,
        patterns,
        subjects,
    }
}

fn read_delivery(name: &str, section: &mut Section<'_>) -> Delivery {
    let slow_consumer = match section.text("slow_consumer").as_deref() {
        Some("latest") => SlowConsumer::Latest,
        Some("disconnect") => SlowConsumer::Disconnect,
        _ => SlowConsumer::DropOldest,
    };
    let stream = section.parse_optional("stream", |text| match literal_subject(text) {
        Ok(stream) if !stream.contains('.') => Ok(stream),
        _ => Err(format!(
            "is `{text}`: the name of a stream has letters, digits, `_` and `-`"
        )),
    });
    if !section.boolean("durable") {
        if section.is_set("stream") && !section.is_set("durable") {
            section.refuse(
                "stream",
                "is for durable namespaces: remove it, or set `durable = true`",
            );
        }
        return Delivery::Live { slow_consumer };
    }
    if section.is_set("slow_consumer") {
        section.refuse(
            "slow_consumer",
            "is for live namespaces: remove it, a durable namespace lets slow clients catch up and loses nothing",
        );
    }
    let stream = stream.unwrap_or_else(|| name.to_ascii_uppercase());
    Delivery::Durable {
        stream: stream.into(),
    }
}

fn read_templates(key: &str, section: &mut Section<'_>) -> Vec<Template> {
    let parse = |text: &str| Template::new(text).map_err(|error| format!("holds `{text}`, which {error}"));
    let read = section.list(key, parse);
    read.into_iter().map(|(template, _)| template).collect()
}

fn parse_channels(text: &str) -> Result<Pattern, String> {
    if text.starts_with(['$', '_']) {
        return Err(format!(
            "holds `{text}`, but no channel begins with `$` or `_`: remove it"
        ));
    }
    Pattern::new(text).map_err(|error| format!("holds `{text}`, which is no channel or pattern: {error}"))
}

fn parse_prefix(text: &str) -> Result<Option<Arc<str>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with(['$', '_']) {
        return Err(format!(
            "is `{text}`: it must not begin with `$` or `_`, where NATS and replies have their subjects"
        ));
    }
    literal_subject(text).map(|prefix| Some(prefix.into()))
}

/// Reports patterns of two namespaces that leave open to which of them a channel belongs, and subject prefixes that
/// give two channels one subject: who may read the one would read the other.
fn check_pair(one: &Draft, other: &Draft, mistakes: &mut Mistakes) {
    let (name, other_name) = (&one.namespace.name, &other.namespace.name);
    for (pattern, _) in &one.patterns {
        for (other_pattern, place) in &other.patterns {
            let (text, other_text) = (pattern.as_str(), other_pattern.as_str());
            let included = (pattern.includes(other_pattern), other_pattern.includes(pattern));
            if included == (true, true) {
                mistakes.add(
                    place,
                    format!("`{other_text}` stands in namespace `{name}` and in namespace `{other_name}`: remove one"),
                );
            } else if included == (false, false) && pattern.overlaps(other_pattern) {
                mistakes.add(
                    place,
                    format!(
                        "`{other_text}` of namespace `{other_name}` and `{text}` of namespace `{name}` overlap, and \
                         neither includes the other (`{}` is in both): narrow one of them",
                        common_channel(text, other_text)
                    ),
                );
            }
        }
    }
    if one.namespace.subject_prefix == other.namespace.subject_prefix {
        return;
    }
    for subject in &one.subjects {
        for (other_subject, (_, place)) in other.subjects.iter().zip(&other.patterns) {
            if subject.overlaps(other_subject) {
                let common = common_channel(subject.as_str(), other_subject.as_str());
                mistakes.add(
                    place,
                    format!(
                        "the NATS subject `{common}` would be the channel `{}` of namespace `{name}` and the channel \
                         `{}` of namespace `{other_name}`: narrow the channels or change a `subject_prefix`",
                        channel_of(&common, one),
                        channel_of(&common, other),
                    ),
                );
            }
        }
    }
}

fn channel_of<'s>(subject: &'s str, draft: &Draft) -> &'s str {
    let prefix = draft.namespace.subject_prefix.as_deref().unwrap_or_default();
    subject
        .strip_prefix(prefix)
        .map_or(subject, |rest| rest.trim_start_matches('.'))
}

/// A channel that two overlapping patterns both match.
fn common_channel(one: &str, other: &str) -> String {
    let (mut one, mut other) = (one.split('.').peekable(), other.split('.').peekable());
    let mut tokens = Vec::new();
    loop {
        let token = match (one.peek().copied(), other.peek().copied()) {
            (None | Some(">"), None | Some(">")) => {
                // A final `>` stands for one token at least.
                if one.peek().is_some() && other.peek().is_some() {
                    tokens.push("x");
                }
                return tokens.join(".");
            }
            (None | Some("*" | ">"), None | Some("*" | ">")) => "x",
            (None | Some("*" | ">"), Some(token)) | (Some(token), _) => token,
        };
        tokens.push(token);
        one.next_if(|token| *token != ">");
        other.next_if(|token| *token != ">");
    }
}
