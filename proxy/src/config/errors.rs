//! What is wrong with a configuration file: all of it at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use serde::Serialize;

/// One error of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The key, like `outbound[1] "api".expect` (counted from 0); empty for the file itself.
    pub key: String,
    /// Line in the file, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The value as written, shortened; absent where a key is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why it is refused.
    pub reason: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

/// Every error of one configuration file, in the order of its lines. Never empty.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigErrors {
    /// The file.
    pub path: PathBuf,
    /// Its errors.
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        let plural = if count == 1 { "error" } else { "errors" };
        write!(f, "{}: {count} {plural}", self.path.display())?;
        self.errors
            .iter()
            .try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.reason)?;
        if !self.fix.is_empty() {
            write!(f, "\n    fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// Collects errors and warnings while a file is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    /// Lines of all keys that the file has.
    pub(super) lines: BTreeMap<String, usize>,
    /// Keys whose value was dropped because of its shape: what follows from that is no news.
    dropped: BTreeSet<String>,
    errors: Vec<ConfigError>,
    /// What is allowed but deserves a word.
    pub(super) warnings: Vec<String>,
}

impl Problems {
    /// A value that cannot be used.
    pub(super) fn bad(
        &mut self,
        key: &str,
        value: impl fmt::Debug,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(key, Some(shorten(&format!("{value:?}"))), reason, fix);
    }

    /// A key that is missing, or a table that is wrong as a whole.
    pub(super) fn missing(&mut self, key: &str, reason: impl Into<String>, fix: impl Into<String>) {
        self.add(key, None, reason, fix);
    }

    /// A value whose shape is wrong: it is reported here and not read any further.
    pub(super) fn dropped(
        &mut self,
        key: &str,
        value: Option<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(key, value.map(|value| shorten(&value)), reason, fix);
        self.ignore(key);
    }

    /// Says that `key` was left out because of what was reported of a part of it.
    pub(super) fn ignore(&mut self, key: &str) {
        self.dropped.insert(key.into());
    }

    /// Whether a part of the table `key` was left out.
    pub(super) fn ignored_within(&self, key: &str) -> bool {
        let within = |dropped: &String| {
            dropped
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        self.dropped.iter().any(within)
    }

    /// Something that works, but that `check` should mention.
    pub(super) fn warn(&mut self, key: &str, text: &str) {
        self.warnings.push(format!("{key}: {text}"));
    }

    /// Whether the file has this key, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// Whether nothing was reported yet.
    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// All errors, in the order of their lines.
    pub(super) fn into_errors(self, path: PathBuf) -> ConfigErrors {
        let mut errors = self.errors;
        errors.sort_by_key(|error| error.line);
        ConfigErrors { path, errors }
    }

    fn add(
        &mut self,
        key: &str,
        value: Option<String>,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        if ancestors(key).any(|key| self.dropped.contains(key)) {
            return;
        }
        let line = ancestors(key).find_map(|key| self.lines.get(key)).copied();
        self.errors.push(ConfigError {
            key: key.into(),
            line,
            value,
            reason: reason.into(),
            fix: fix.into(),
        });
    }
}

/// `a.b[0]`, `a.b`, `a`: a missing key is at the line of the table that lacks it.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| {
        key.rfind(['.', '[']).and_then(|end| key.get(..end))
    })
}

/// A value in a message is there to be recognised; more than this hides the message.
fn shorten(value: &str) -> String {
    const LONGEST: usize = 80;
    if value.chars().count() <= LONGEST {
        return value.into();
    }
    value.chars().take(LONGEST).chain("…".chars()).collect()
}
