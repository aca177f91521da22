//! Reads file, environment and flags into [`Settings`]; every unknown key and every value of the wrong kind is a
//! mistake with its place. What a text means beyond its kind is decided later.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Mistakes, Place};
use super::schema::{self, Key, Kind, OTHER_VARIABLES};
use super::settings::{Settings, Value, fold};
use super::suggest;

const PREFIX: &str = "TAILWATER_";

/// Variables that every program with OpenTelemetry reads, and the keys that they stand for.
const STANDARD: &[(&str, &[&str])] = &[
    ("OTEL_EXPORTER_OTLP_ENDPOINT", &["telemetry", "otlp_endpoint"]),
    ("OTEL_EXPORTER_OTLP_HEADERS", &["telemetry", "otlp_headers"]),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", &["telemetry", "otlp_ca_file"]),
    ("OTEL_SERVICE_NAME", &["telemetry", "service_name"]),
    ("OTEL_RESOURCE_ATTRIBUTES", &["telemetry", "resource_attributes"]),
];

/// Text of a configuration file and what is needed to name places in it.
pub(super) struct Document<'t> {
    file: Arc<str>,
    folder: PathBuf,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Document<'t> {
    /// `name` stands in messages; relative paths in the text are taken from `folder`.
    pub(super) fn new(name: &str, folder: &Path, text: &'t str) -> Self {
        let after_breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_breaks).collect();
        Self {
            file: name.into(),
            folder: folder.to_owned(),
            text,
            line_starts,
        }
    }

    /// Reads all keys. After a syntax error nothing else in the file is judged (`false`): where a bracket is missing,
    /// everything behind it would look wrong.
    pub(super) fn read(&self, settings: &mut Settings, mistakes: &mut Mistakes) -> bool {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            // The parser's own Display would print the line, and with it a secret.
            let place = self.place(error.span().unwrap_or_default());
            mistakes.add(&place, format!("not TOML: {}", error.message()));
        }
        if errors.is_empty() {
            self.read_table(&mut Vec::new(), document.get_ref(), settings, mistakes);
        }
        errors.is_empty()
    }

    fn read_table<'a>(
        &self,
        path: &mut Vec<&'a str>,
        table: &'a DeTable<'_>,
        settings: &mut Settings,
        mistakes: &mut Mistakes,
    ) {
        for (name, value) in table {
            let place = self.place(name.span());
            path.push(name.get_ref());
            if let Some(key) = schema::find(path) {
                let place = self.place(value.span());
                store(path, self.value(key, value), place, settings, mistakes);
            } else if !schema::is_table(path) {
                mistakes.add(&place, unknown(path));
            } else if let Err(wrong) = check_name(path, settings) {
                mistakes.add(&place, wrong);
            } else if let DeValue::Table(table) = value.get_ref() {
                if schema::is_named_table(path) {
                    settings.mention(path, &place);
                }
                self.read_table(path, table, settings, mistakes);
            } else {
                let path = path.join(".");
                mistakes.add(
                    &place,
                    format!("`{path}` is a table: write `[{path}]` and its keys below"),
                );
            }
            path.pop();
        }
    }

    fn value(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Result<Option<Value>, String> {
        match (&key.kind, value.get_ref()) {
            (Kind::Integer { .. }, DeValue::Integer(number)) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix());
                ranged(&key.kind, parsed.ok(), &number.to_string()).map(Some)
            }
            (Kind::Boolean, DeValue::Boolean(value)) => Ok(Some(Value::Boolean(*value))),
            (Kind::Text | Kind::Secret | Kind::Word(_), DeValue::String(text)) => from_text(key, text, None),
            (Kind::Path, DeValue::String(text)) if text.is_empty() => Ok(None),
            (Kind::Path, DeValue::String(text)) => {
                let path = self.folder.join(text.as_ref());
                Ok(Some(Value::Text(path.to_string_lossy().into_owned())))
            }
            (Kind::Texts, DeValue::String(text)) => Ok(Some(Value::Texts(vec![(
                text.to_string(),
                self.place(value.span()),
            )]))),
            (Kind::Texts, DeValue::Array(items)) => {
                let texts = items.iter().map(|item| match item.get_ref() {
                    DeValue::String(text) => Ok((text.to_string(), self.place(item.span()))),
                    other => Err(format!(
                        "must be a list of texts in quotes, but one is {}",
                        article(other)
                    )),
                });
                Ok(Some(Value::Texts(texts.collect::<Result<_, _>>()?)))
            }
            (kind @ (Kind::Integer { .. } | Kind::Boolean), DeValue::String(_)) => Err(format!(
                "must be {}, but is a string: write it without quotes and without unit",
                expected(kind)
            )),
            (kind, other) => Err(format!("must be {}, but is {}", expected(kind), article(other))),
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let mut at = span.start.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.line_starts.partition_point(|start| *start <= at);
        let start = self.line_starts[line - 1];
        let column = self.text[start..at].chars().count() + 1;
        Place::Line {
            file: self.file.clone(),
            line,
            column,
        }
    }
}

/// The text of a configuration file.
pub(super) fn read_file(path: &Path) -> Result<String, ConfigError> {
    let name = path.display();
    let message = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => return Ok(text),
        Ok(Err(error)) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("is not UTF-8 text (line {line}): save it as UTF-8")
        }
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no such file: check the path given with `--config`".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "may not be read by this user: check owner and mode".to_owned()
            }
            io::ErrorKind::IsADirectory => "is a folder: give the file in it".to_owned(),
            _ => format!("cannot be read: {error}"),
        },
    };
    Err(ConfigError {
        place: Place::File {
            file: name.to_string().into(),
        },
        message,
    })
}

/// Reads every variable that begins with `TAILWATER_`, and before them the standard ones of OpenTelemetry; the others are
/// not ours.
pub(super) fn read_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    settings: &mut Settings,
    mistakes: &mut Mistakes,
) {
    let environment: Vec<(String, String)> = environment.into_iter().collect();
    for (name, path) in STANDARD {
        let given = environment.iter().find(|(given, _)| given == name);
        if let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) {
            read_text(
                path,
                value,
                Place::Environment((*name).into()),
                settings,
                mistakes,
            );
        }
    }
    // Sorted, so that the same environment has the same effect; the short form first, so that it can be overridden.
    let variables: BTreeMap<String, String> = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    if let Some(level) = variables.get("TAILWATER_LOG") {
        read_text(
            &["log", "level"],
            level,
            Place::Environment("TAILWATER_LOG".into()),
            settings,
            mistakes,
        );
    }
    for (name, value) in &variables {
        if OTHER_VARIABLES.iter().any(|(other, _)| other == name) || is_service_link(name, value) {
            continue;
        }
        let place = Place::Environment(name.as_str().into());
        let lower = name[PREFIX.len()..].to_ascii_lowercase();
        let mut path: Vec<String> = lower.split("__").map(str::to_owned).collect();
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some((kind, name)) = schema::named_table(&parts) {
            // A stream that only variables name is written as NATS users write streams.
            let new = if kind == "stream" {
                path[name].to_ascii_uppercase()
            } else {
                path[name].clone()
            };
            path[name] = settings.find_name(kind, &new).unwrap_or(new);
        }
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        read_text(&path, value, place, settings, mistakes);
    }
}

/// Reads what was given on the command line: dotted key and value. The flag of `nats.url` is `--nats-url`.
pub(super) fn read_flags(flags: &[(&str, String)], settings: &mut Settings, mistakes: &mut Mistakes) {
    for (path, value) in flags {
        let place = Place::Flag(format!("--{}", path.replace(['.', '_'], "-")).into());
        read_text(
            &path.split('.').collect::<Vec<_>>(),
            value,
            place,
            settings,
            mistakes,
        );
    }
}

/// A key's default as a value.
pub(super) fn default_value(key: &Key) -> Option<Value> {
    let value = from_text(key, key.default?, Some(&Place::Configuration));
    value.unwrap_or_else(|wrong| unreachable!("the default of {} {wrong}", key.path))
}

fn read_text(path: &[&str], text: &str, place: Place, settings: &mut Settings, mistakes: &mut Mistakes) {
    let Some(key) = schema::find(path) else {
        mistakes.add(&place, unknown_outside(path, &place));
        return;
    };
    if let Err(wrong) = check_name(&path[..path.len() - 1], settings) {
        mistakes.add(&place, wrong);
        return;
    }
    let value = if text.contains(char::REPLACEMENT_CHARACTER) {
        Err("is not UTF-8 text".to_owned())
    } else {
        from_text(key, text, Some(&place))
    };
    store(path, value, place, settings, mistakes);
}

fn store(
    path: &[&str],
    value: Result<Option<Value>, String>,
    place: Place,
    settings: &mut Settings,
    mistakes: &mut Mistakes,
) {
    match value {
        Ok(Some(value)) => settings.set(path, Some(value), place),
        Ok(None) => settings.unset(path, &place),
        Err(wrong) => {
            mistakes.add(&place, format!("`{}` {wrong}", path.join(".")));
            settings.set(path, None, place);
        }
    }
}

/// A value from text. `outside`: the place, if it is not TOML, where numbers and lists are texts too. `None`: an
/// optional key was given as empty, which means that it is not given.
fn from_text(key: &Key, text: &str, outside: Option<&Place>) -> Result<Option<Value>, String> {
    if text.is_empty() && key.default.is_none() && !matches!(key.kind, Kind::Texts) {
        return Ok(None);
    }
    let value = match &key.kind {
        Kind::Integer { .. } => {
            let text = text.trim();
            let number = text.parse::<i128>();
            if number.is_err()
                && !text
                    .trim_start_matches('-')
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            {
                return Err(format!("is `{text}`: it must be {}", expected(&key.kind)));
            }
            ranged(&key.kind, number.ok(), text)?
        }
        Kind::Boolean => match text.trim() {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            other => return Err(format!("is `{other}`: it must be `true` or `false`")),
        },
        Kind::Text | Kind::Secret | Kind::Path => Value::Text(text.to_owned()),
        Kind::Texts => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let place = outside.unwrap_or(&Place::Configuration);
            Value::Texts(items.map(|item| (item.to_owned(), place.clone())).collect())
        }
        Kind::Word(words) if words.contains(&text) => Value::Text(text.to_owned()),
        Kind::Word(words) => {
            let hint = suggest::nearest_word(text, words).map(|word| format!("; did you mean `{word}`?"));
            return Err(format!(
                "is `{text}`: it must be {}{}",
                key.kind,
                hint.unwrap_or_default()
            ));
        }
    };
    Ok(Some(value))
}

/// A number within the range of its kind; `None` is one too long to be read.
fn ranged(kind: &Kind, number: Option<i128>, written: &str) -> Result<Value, String> {
    let Kind::Integer { least, most, .. } = kind else {
        unreachable!("asked only for integers")
    };
    let number = number.and_then(|number| u64::try_from(number).ok());
    match number.filter(|number| (least..=most).contains(&number)) {
        Some(number) => Ok(Value::Integer(number)),
        None => Err(format!(
            "is {written}: the range is {}",
            kind.to_string().trim_end()
        )),
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Integer { .. } => format!("a whole number, {}", kind.to_string().trim_end()),
        Kind::Text | Kind::Secret | Kind::Path => "text in quotes".to_owned(),
        Kind::Texts => "text in quotes or a list of them".to_owned(),
        Kind::Boolean | Kind::Word(_) => kind.to_string(),
    }
}

fn article(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn unknown(path: &[&str]) -> String {
    let hint = match suggest::nearest_key(path) {
        Some(known) if schema::is_table(&known.split('.').collect::<Vec<_>>()) => {
            format!("did you mean `[{known}]`?")
        }
        Some(known) => format!("did you mean `{known}`?"),
        None => "remove it; the README lists every key".to_owned(),
    };
    format!("unknown key `{}`: {hint}", path.join("."))
}

/// As [`unknown`], in the words of an environment variable or flag.
fn unknown_outside(path: &[&str], place: &Place) -> String {
    let Place::Environment(_) = place else {
        return unknown(path);
    };
    let known = suggest::nearest_key(path);
    let known = known.filter(|known| schema::find(&known.split('.').collect::<Vec<_>>()).is_some());
    let known = known.map(|known| known.replace('.', "__").to_ascii_uppercase());
    let other = OTHER_VARIABLES
        .iter()
        .filter_map(|(name, _)| name.strip_prefix(PREFIX));
    let other = suggest::nearest_word(&path.join("__"), &other.collect::<Vec<_>>());
    match known.or_else(|| other.map(str::to_owned)) {
        Some(known) => format!("names no key: did you mean `{PREFIX}{known}`?"),
        None => "names no key: remove it; the README lists every key, `__` stands between levels".to_owned(),
    }
}

/// Names of namespaces and streams must be such that an environment variable can mean them, and only them.
fn check_name(path: &[&str], settings: &Settings) -> Result<(), String> {
    let Some((kind, at)) = schema::named_table(path) else {
        return Ok(());
    };
    let name = path[at];
    // JetStream chose the names of streams; the others are ours, and such that case needs no thought.
    let stream = kind == "stream";
    let word = kind.rsplit('.').next().unwrap_or(kind);
    let allowed = |byte: u8| match byte {
        b'A'..=b'Z' => stream,
        byte => byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte),
    };
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) || (!stream && name.contains("__")) {
        let letters = if stream { "letters" } else { "lower-case letters" };
        return Err(format!(
            "`{name}` cannot name {} {word}: use 1 to 64 {letters}, digits, `-` and single `_`",
            if word.starts_with('i') { "an" } else { "a" }
        ));
    }
    match settings.find_name(kind, name) {
        Some(known) if known != name => {
            let folded = fold(name).to_ascii_uppercase();
            Err(format!(
                "{word} `{name}` and {word} `{known}` have the same environment variables \
                 ({PREFIX}{}__{folded}__…): rename one",
                kind.replace('.', "__").to_ascii_uppercase()
            ))
        }
        _ => Ok(()),
    }
}

/// Kubernetes gives every pod such variables for each Service beside it, also for one that is called `tailwater` or
/// `tailwater-…`: no mistake of anybody, and not for us.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let is_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let (port, protocol) = rest.split_once('_').unwrap_or((rest, ""));
        let protocol = protocol.split('_').next().unwrap_or_default();
        port.bytes().all(|byte| byte.is_ascii_digit()) && ["TCP", "UDP", "SCTP"].contains(&protocol)
    });
    let is_service = name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url);
    !name.contains("__") && (is_service || is_port)
}
