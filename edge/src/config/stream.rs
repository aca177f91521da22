//! JetStream streams behind durable namespaces: `[stream.NAME]`, or the defaults where there is no such table.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tailwater_protocol::channel::Pattern;

use super::error::Mistakes;
use super::namespace::{Delivery, Namespace, Namespaces};
use super::settings::{Section, Settings};

/// A stream and its limits. Where it exists already, the edge compares before it changes anything.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Its name in JetStream.
    pub name: Arc<str>,
    /// Its subjects: as configured, else those of its namespaces with their prefixes; none includes another.
    pub subjects: Vec<Pattern>,
    /// Publications kept of one channel; `None`: no limit.
    pub max_messages_per_channel: Option<NonZeroU64>,
    /// How long publications are kept; `None`: no limit.
    pub max_age: Option<Duration>,
    /// Size of the stream in bytes; `None`: no limit.
    pub max_bytes: Option<NonZeroU64>,
    /// Where NATS keeps it.
    pub storage: StreamStorage,
    /// Servers that hold a copy, 1 to 5.
    pub replicas: u32,
    /// Whether publishers may set `Nats-TTL`.
    pub allow_message_ttl: bool,
    /// How long a repeated `Nats-Msg-Id` is recognised.
    pub duplicate_window: Duration,
    /// Whether the edge creates and updates it, or only verifies it.
    pub manage: bool,
    /// A lost last message of a quiet channel is noticed within this time.
    pub audit_interval: Duration,
}

/// Where NATS keeps a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStorage {
    /// On disk.
    File,
    /// In memory: reads of history scan under a write lock.
    Memory,
}

/// Reads every `[stream.NAME]`, adds those that namespaces name without a table, and judges them.
pub(super) fn read(
    settings: &Settings,
    namespaces: &Namespaces,
    mistakes: &mut Mistakes,
) -> Vec<StreamConfig> {
    let mut users: BTreeMap<String, Vec<&Namespace>> = BTreeMap::new();
    for namespace in namespaces.iter() {
        if let Delivery::Durable { stream } = &namespace.delivery {
            users.entry(stream.to_string()).or_default().push(namespace);
        }
    }
    for name in settings.names("stream") {
        let table = table(&name);
        users.entry(name.clone()).or_insert_with(|| {
            let message =
                format!("`[{table}]` serves no namespace: set `stream = \"{name}\"` in a durable one");
            mistakes.add(&settings.table_place(&table), message);
            Vec::new()
        });
    }
    check_first_tokens(settings, namespaces, mistakes);
    check_nesting(settings, namespaces, mistakes);
    let read = |(name, users): (String, Vec<_>)| {
        read_one(&name, &users, &mut settings.section(&table(&name), mistakes))
    };
    let streams: Vec<StreamConfig> = users.into_iter().map(read).collect();
    check_subjects(settings, &streams, mistakes);
    streams
}

fn table(name: &str) -> String {
    format!("stream.{name}")
}

fn read_one(name: &str, users: &[&Namespace], section: &mut Section<'_>) -> StreamConfig {
    let storage = match section.text("storage").as_deref() {
        Some("memory") => StreamStorage::Memory,
        _ => StreamStorage::File,
    };
    let seconds = |duration: Duration| (!duration.is_zero()).then_some(duration);
    let stream = StreamConfig {
        name: name.into(),
        subjects: read_subjects(users, section),
        max_messages_per_channel: NonZeroU64::new(section.integer("max_messages_per_channel")),
        max_age: seconds(section.duration("max_age_secs")),
        max_bytes: NonZeroU64::new(section.integer("max_bytes")),
        storage,
        replicas: section.small("replicas"),
        allow_message_ttl: section.boolean("allow_message_ttl"),
        duplicate_window: section.duration("duplicate_window_secs"),
        manage: section.boolean("manage"),
        audit_interval: section.duration("audit_interval_secs"),
    };
    if stream.max_age.is_some_and(|age| age < stream.audit_interval) {
        let age = section.path("max_age_secs");
        section.refuse(
            "audit_interval_secs",
            format!(
                "is longer than `{age}`: what expires before it is looked for is lost unseen; shorten it"
            ),
        );
    }
    if stream.max_age.is_some_and(|age| age < stream.duplicate_window) {
        let age = section.path("max_age_secs");
        section.refuse(
            "duplicate_window_secs",
            format!(
                "is longer than `{age}`, which NATS refuses: shorten the window or keep publications longer"
            ),
        );
    }
    stream
}

/// The configured subjects, which must hold those of all namespaces; else the latter.
fn read_subjects(users: &[&Namespace], section: &mut Section<'_>) -> Vec<Pattern> {
    let needed: Vec<Pattern> = users
        .iter()
        .flat_map(|namespace| subjects_of(namespace))
        .collect();
    let given = section.list("subjects", |text| {
        if text.starts_with(['_', '$']) {
            return Err(format!(
                "holds `{text}`, but subjects that begin with `_` or `$` are private: remove it"
            ));
        }
        if begins_with_wildcard(text) {
            return Err(format!("holds `{text}`, {CYCLE}"));
        }
        Pattern::new(text).map_err(|error| format!("holds `{text}`, which is no subject: {error}"))
    });
    if given.is_empty() {
        return widest(needed);
    }
    for subject in &needed {
        if !given.iter().any(|(pattern, _)| pattern.includes(subject)) {
            let subject = subject.as_str();
            section.refuse(
                "subjects",
                format!("lack `{subject}`, which a namespace of the stream has: add it"),
            );
        }
    }
    widest(given.into_iter().map(|(pattern, _)| pattern).collect())
}

/// The channels of a namespace as NATS has them.
pub(super) fn subjects_of(namespace: &Namespace) -> Vec<Pattern> {
    let subject = |pattern: &Pattern| match &namespace.subject_prefix {
        // Too long with its prefix: a mistake that is reported with the namespace.
        Some(prefix) => Pattern::new(&format!("{prefix}.{}", pattern.as_str())).ok(),
        None => Some(pattern.clone()),
    };
    namespace.channels.iter().filter_map(subject).collect()
}

/// Without those that another includes.
fn widest(mut patterns: Vec<Pattern>) -> Vec<Pattern> {
    patterns.sort();
    patterns.dedup();
    let is_widest = |pattern: &&Pattern| {
        !patterns
            .iter()
            .any(|other| other != *pattern && other.includes(pattern))
    };
    patterns.iter().filter(is_widest).cloned().collect()
}

/// Why no stream can have a subject that begins with a wildcard.
const CYCLE: &str = "which no stream can have: it takes in what the stream itself republishes (`_tw.live.…`) and the \
                     requests to JetStream (`$JS.…`)";

fn begins_with_wildcard(subject: &str) -> bool {
    subject.starts_with(['*', '>'])
}

/// The subjects of a durable namespace become those of a stream.
fn check_first_tokens(settings: &Settings, namespaces: &Namespaces, mistakes: &mut Mistakes) {
    for namespace in namespaces.iter() {
        let Delivery::Durable { .. } = &namespace.delivery else {
            continue;
        };
        let subjects = subjects_of(namespace);
        let wide = subjects
            .iter()
            .find(|subject| begins_with_wildcard(subject.as_str()));
        if let Some(subject) = wide {
            let mut section = settings.section(&format!("namespace.{}", namespace.name), mistakes);
            section.refuse(
                "channels",
                format!(
                    "hold `{}`, {CYCLE}: begin it with a word, give the namespace a `subject_prefix`, or leave \
                     `durable` out",
                    subject.as_str()
                ),
            );
        }
    }
}

/// A durable namespace inside another must share its stream: a subject can be in one stream alone.
fn check_nesting(settings: &Settings, namespaces: &Namespaces, mistakes: &mut Mistakes) {
    let durable = |namespace: &Arc<Namespace>| match &namespace.delivery {
        Delivery::Durable { stream } => Some((namespace.clone(), stream.clone())),
        Delivery::Live { .. } => None,
    };
    let durable: Vec<_> = namespaces.iter().filter_map(durable).collect();
    for (index, (one, stream)) in durable.iter().enumerate() {
        for (other, other_stream) in &durable[..index] {
            let subjects = subjects_of(other);
            let overlap = subjects_of(one)
                .iter()
                .any(|subject| subjects.iter().any(|other| other.overlaps(subject)));
            if overlap && stream != other_stream {
                let mut section = settings.section(&format!("namespace.{}", one.name), mistakes);
                let other = &other.name;
                section.refuse(
                    "stream",
                    format!(
                        "is {stream}, but the namespace overlaps the durable namespace `{other}`, which is in \
                         {other_stream}: give both the same stream"
                    ),
                );
            }
        }
    }
}

/// NATS takes no two streams with a subject in common, and no two subjects of one stream that overlap.
fn check_subjects(settings: &Settings, streams: &[StreamConfig], mistakes: &mut Mistakes) {
    let all: Vec<(&StreamConfig, &Pattern)> = streams
        .iter()
        .flat_map(|stream| stream.subjects.iter().map(move |subject| (stream, subject)))
        .collect();
    for (index, (stream, subject)) in all.iter().enumerate() {
        for (other_stream, other) in &all[..index] {
            if subject.overlaps(other) {
                let (subject, other) = (subject.as_str(), other.as_str());
                let other_name = &other_stream.name;
                let mut section = settings.section(&table(&stream.name), mistakes);
                section.refuse(
                    "subjects",
                    format!("`{subject}` and `{other}` of stream `{other_name}` overlap, which NATS refuses: narrow one"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_that_another_includes_are_left_out() {
        let patterns = ["a.>", "a.b", "b", "b"].map(|text| Pattern::new(text).expect("a pattern"));
        let widest = widest(patterns.to_vec());
        assert_eq!(
            widest.iter().map(Pattern::as_str).collect::<Vec<_>>(),
            ["a.>", "b"]
        );
    }
}
