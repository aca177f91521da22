//! Values with their places, after all sources were read and before they become a [`Config`](super::Config).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Mistakes, Place};
use super::schema::{self, Key};
use super::source;

/// A value of the kind that the schema asks for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Integer(u64),
    Boolean(bool),
    Text(String),
    Texts(Vec<(String, Place)>),
}

/// What was given for one key; without a value if that was a mistake, which is then already reported.
#[derive(Debug)]
struct Entry {
    value: Option<Value>,
    place: Place,
}

/// Everything that was given, by dotted path.
#[derive(Debug, Default)]
pub(super) struct Settings {
    entries: BTreeMap<String, Entry>,
    /// Where each named table (`namespace.NAME`, `stream.NAME`, …) was first mentioned.
    tables: BTreeMap<(&'static str, String), Place>,
}

impl Settings {
    /// Takes what a source says; a later source replaces an earlier one.
    pub(super) fn set(&mut self, path: &[&str], value: Option<Value>, place: Place) {
        self.mention(path, &place);
        self.entries.insert(path.join("."), Entry { value, place });
    }

    /// Forgets what an earlier source said: an optional key was given as empty text.
    pub(super) fn unset(&mut self, path: &[&str], place: &Place) {
        self.mention(path, place);
        self.entries.remove(&path.join("."));
    }

    /// Notes that a named table exists, even if it is empty.
    pub(super) fn mention(&mut self, path: &[&str], place: &Place) {
        if let Some((kind, name)) = schema::named_table(path) {
            self.tables
                .entry((kind, path[name].to_owned()))
                .or_insert_with(|| place.clone());
        }
    }

    /// The names of the tables of this kind.
    pub(super) fn names(&self, kind: &str) -> Vec<String> {
        self.tables
            .keys()
            .filter(|(table, _)| *table == kind)
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// The named table that an environment variable means: case does not count, and `_` stands for `-` too.
    pub(super) fn find_name(&self, kind: &str, name: &str) -> Option<String> {
        let folded = fold(name);
        self.names(kind).into_iter().find(|known| fold(known) == folded)
    }

    /// The keys of one table, by their last part; `table` is empty for the top.
    pub(super) fn section<'a>(&'a self, table: &str, mistakes: &'a mut Mistakes) -> Section<'a> {
        let prefix = if table.is_empty() {
            String::new()
        } else {
            format!("{table}.")
        };
        Section {
            settings: self,
            mistakes,
            prefix,
        }
    }

    /// Where the named table of this path was first mentioned.
    pub(super) fn table_place(&self, path: &str) -> Place {
        let parts: Vec<&str> = path.split('.').collect();
        let table = schema::named_table(&parts).map(|(kind, name)| (kind, parts[name].to_owned()));
        let place = table.and_then(|table| self.tables.get(&table));
        place.cloned().unwrap_or(Place::Configuration)
    }
}

/// How two names compare where an environment variable has to spell them.
pub(super) fn fold(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// One table, read key by key. A key that was not given, or given wrongly, has its default.
pub(super) struct Section<'a> {
    settings: &'a Settings,
    mistakes: &'a mut Mistakes,
    prefix: String,
}

impl Section<'_> {
    /// Whether a source gave this key, even if wrongly.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.settings.entries.contains_key(&self.path(key))
    }

    /// Whether a source gave this key wrongly, which is already reported.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        self.settings
            .entries
            .get(&self.path(key))
            .is_some_and(|entry| entry.value.is_none())
    }

    /// Where the key was given; else its table, if that has a place.
    pub(super) fn place(&self, key: &str) -> Place {
        let path = self.path(key);
        match self.settings.entries.get(&path) {
            Some(entry) => entry.place.clone(),
            None => self.settings.table_place(&path),
        }
    }

    /// The dotted path of a key of this table.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Reports a mistake at a key: the message follows the key's name.
    pub(super) fn refuse(&mut self, key: &str, message: impl AsRef<str>) {
        let place = self.place(key);
        self.refuse_at(&place, key, message);
    }

    /// As [`Section::refuse`], at one item of a list.
    pub(super) fn refuse_at(&mut self, place: &Place, key: &str, message: impl AsRef<str>) {
        let message = format!("`{}` {}", self.path(key), message.as_ref());
        self.mistakes.add(place, message);
    }

    pub(super) fn integer(&self, key: &str) -> u64 {
        match self.value(key) {
            Some(Value::Integer(number)) => number,
            _ => unreachable!("{key} is an integer with a default in schema::KEYS"),
        }
    }

    /// A size in memory.
    pub(super) fn size(&self, key: &str) -> usize {
        usize::try_from(self.integer(key)).unwrap_or(usize::MAX)
    }

    /// A number that the schema keeps below 2^32.
    pub(super) fn small(&self, key: &str) -> u32 {
        u32::try_from(self.integer(key)).unwrap_or(u32::MAX)
    }

    /// A time in the unit that the key ends with.
    pub(super) fn duration(&self, key: &str) -> Duration {
        let number = self.integer(key);
        if key.ends_with("_ms") {
            Duration::from_millis(number)
        } else {
            Duration::from_secs(number)
        }
    }

    pub(super) fn boolean(&self, key: &str) -> bool {
        match self.value(key) {
            Some(Value::Boolean(value)) => value,
            _ => unreachable!("{key} is a boolean with a default in schema::KEYS"),
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => unreachable!("{key} is a text in schema::KEYS"),
        }
    }

    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// A text with a default, as what `parse` makes of it. Its error is the rest of a sentence that begins with the key.
    pub(super) fn parse<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        if let Some(value) = self.parse_optional(key, &parse) {
            return value;
        }
        let default = self.key(key).default.unwrap_or_default();
        parse(default).unwrap_or_else(|error| unreachable!("the default of {key} {error}"))
    }

    /// A text, as what `parse` makes of it, if there is one and it can be parsed.
    pub(super) fn parse_optional<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&self.text(key)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(key, error);
                None
            }
        }
    }

    /// The items of a list that can be parsed, each with its place.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(T, Place)> {
        let items = match self.value(key) {
            Some(Value::Texts(items)) => items,
            None => Vec::new(),
            _ => unreachable!("{key} is a list in schema::KEYS"),
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (item, place) in items {
            match parse(&item) {
                Ok(value) => parsed.push((value, place)),
                Err(error) => self.refuse_at(&place, key, error),
            }
        }
        parsed
    }

    fn value(&self, key: &str) -> Option<Value> {
        let entry = self.settings.entries.get(&self.path(key));
        entry
            .and_then(|entry| entry.value.clone())
            .or_else(|| source::default_value(self.key(key)))
    }

    fn key(&self, key: &str) -> &'static Key {
        let path = self.path(key);
        let parts: Vec<&str> = path.split('.').collect();
        schema::find(&parts).unwrap_or_else(|| unreachable!("{path} stands in schema::KEYS"))
    }
}

/// The value of this name.
///
/// # Errors
/// The rest of a sentence that begins with the key.
pub(super) fn one_of<T, const N: usize>(
    text: &str,
    what: &str,
    all: [(&'static str, T); N],
) -> Result<T, String> {
    let names = all.each_ref().map(|(name, _)| *name);
    let found = all.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| value).ok_or_else(|| {
        let hint = super::suggest::nearest_word(text, &names).map(|name| format!("; did you mean `{name}`?"));
        format!(
            "holds `{text}`, which is not {what}: use {}{}",
            names.join(", "),
            hint.unwrap_or_default()
        )
    })
}
