//! Hooks: `[hook.connect]` and `[hook.subscribe]`, the services that are asked before a client may do something.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;

use super::error::Mistakes;
use super::namespace::Namespaces;
use super::nats::literal_subject;
use super::settings::{Section, Settings};
use super::stream::{StreamConfig, subjects_of};

/// The hooks that are configured.
#[derive(Clone, Debug, Default)]
pub struct HooksConfig {
    /// Asked about every new session.
    pub connect: Option<HookConfig>,
    /// Asked about subscriptions and history, in namespaces that say so.
    pub subscribe: Option<HookConfig>,
}

/// A service that decides, and how it is asked.
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// The NATS subject of the service, which no client can subscribe to.
    pub subject: Arc<str>,
    /// How long it may take.
    pub timeout: Duration,
    /// Questions that wait for it at a time.
    pub max_in_flight: usize,
    /// Headers of the client's handshake that it is shown.
    pub headers: Vec<HeaderName>,
    /// How long its answer holds for the same question; zero: not at all.
    pub cache: Duration,
    /// What happens while it does not answer.
    pub on_failure: OnFailure,
}

/// What happens while the service of a hook does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// What was asked about is refused as `unavailable`.
    Deny,
    /// It goes on as if there were no hook.
    Allow,
}

/// Reads both tables, and refuses subjects that a client could listen on.
pub(super) fn read(
    settings: &Settings,
    namespaces: &Namespaces,
    streams: &[StreamConfig],
    mistakes: &mut Mistakes,
) -> HooksConfig {
    let connect = read_one("hook.connect", settings, mistakes);
    let subscribe = read_one("hook.subscribe", settings, mistakes);
    for (table, hook) in [("hook.connect", &connect), ("hook.subscribe", &subscribe)] {
        if let Some(message) = hook.as_ref().and_then(|hook| reach(hook, namespaces, streams)) {
            settings.section(table, mistakes).refuse("subject", message);
        }
    }
    let mut asking = namespaces.iter().filter(|namespace| namespace.subscribe_hook);
    match (asking.next(), &subscribe) {
        (Some(namespace), None) => {
            let table = format!("namespace.{}", namespace.name);
            let hook = settings.section("hook.subscribe", mistakes);
            // A mistake there is reported already.
            if !hook.is_set("subject") {
                settings.section(&table, mistakes).refuse(
                    "subscribe_hook",
                    "is `true`, but there is no hook to ask: set `hook.subscribe.subject`",
                );
            }
        }
        (None, Some(_)) => settings.section("hook.subscribe", mistakes).refuse(
            "subject",
            "is set, but no namespace asks the hook: set `subscribe_hook = true` where it is wanted, or remove it",
        ),
        _ => {}
    }
    HooksConfig { connect, subscribe }
}

fn read_one(table: &str, settings: &Settings, mistakes: &mut Mistakes) -> Option<HookConfig> {
    const KEYS: &[&str] = &[
        "timeout_ms",
        "max_in_flight",
        "headers",
        "cache_secs",
        "on_failure",
    ];
    let mut section = settings.section(table, mistakes);
    let subject = section.parse_optional("subject", parse_subject);
    let headers = section.list("headers", parse_header);
    if !section.is_set("subject") {
        let lonely = KEYS.iter().find(|key| section.is_set(key));
        if let Some(key) = lonely {
            let needed = section.path("subject");
            section.refuse(key, format!("needs `{needed}` beside it"));
        }
    }
    Some(HookConfig {
        subject: subject?,
        timeout: section.duration("timeout_ms"),
        max_in_flight: section.size("max_in_flight"),
        headers: headers.into_iter().map(|(header, _)| header).collect(),
        cache: section.duration("cache_secs"),
        on_failure: on_failure(&section),
    })
}

fn on_failure(section: &Section<'_>) -> OnFailure {
    match section.text("on_failure").as_deref() {
        Some("allow") => OnFailure::Allow,
        _ => OnFailure::Deny,
    }
}

fn parse_subject(text: &str) -> Result<Arc<str>, String> {
    if text.starts_with('$') {
        return Err(format!(
            "is `{text}`: what begins with `$` belongs to NATS; use a subject such as `_hooks.connect`"
        ));
    }
    literal_subject(text).map(Arc::from)
}

fn parse_header(text: &str) -> Result<HeaderName, String> {
    text.parse()
        .map_err(|_| format!("holds `{text}`, which is no name of a header"))
}

/// Who else would read what the hook is asked, cookies and claims among it.
fn reach(hook: &HookConfig, namespaces: &Namespaces, streams: &[StreamConfig]) -> Option<String> {
    let subject = &hook.subject;
    // Of a stream too: what it stores is what durable namespaces show, and it would answer in place of the service.
    let stream = streams
        .iter()
        .find(|stream| stream.subjects.iter().any(|taken| taken.matches(subject)));
    if let Some(stream) = stream {
        return Some(format!(
            "is `{subject}`, which the stream `{}` stores and would answer: use a subject of its own, such as \
             `_hooks.connect`",
            stream.name
        ));
    }
    let namespace = namespaces.iter().find(|namespace| {
        let subjects = subjects_of(namespace);
        subjects.iter().any(|taken| taken.matches(subject)) && !subject.starts_with('_')
    })?;
    Some(format!(
        "is `{subject}`, a channel of the namespace `{}`: clients could read what the service is asked; use a subject \
         that begins with `_`, such as `_hooks.connect`",
        namespace.name
    ))
}
