//! Mistakes in a configuration: where each stands and what to do, all of them together.

use std::fmt;
use std::sync::Arc;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: something is missing, or a default is meant.
    Configuration,
    /// A file as a whole.
    File {
        /// The path as it was given.
        file: Arc<str>,
    },
    /// A place in a file; line and column count from 1, columns in characters.
    Line {
        /// The path as it was given.
        file: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// An environment variable, by its name.
    Environment(Arc<str>),
    /// A command-line flag, by its name with the dashes.
    Flag(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => out.write_str("configuration"),
            Self::File { file } => out.write_str(file),
            Self::Line { file, line, column } => write!(out, "{file}:{line}:{column}"),
            Self::Environment(name) => write!(out, "environment variable {name}"),
            Self::Flag(name) => write!(out, "flag {name}"),
        }
    }
}

/// One mistake: its place, what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// Where the mistake stands.
    pub place: Place,
    /// What is wrong and what to do, in one sentence or two. Never holds a secret.
    pub message: String,
}

/// Every mistake of a configuration, in the order of the file, then environment, then flags; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The mistakes, sorted by place; each once.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Collects mistakes while the rest is still read.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<ConfigError>);

impl Mistakes {
    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.0.push(ConfigError {
            place: place.clone(),
            message: message.into(),
        });
    }

    /// `value`, if there was no mistake.
    pub(super) fn result<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort();
        self.0.dedup();
        Err(ConfigErrors(self.0))
    }
}
