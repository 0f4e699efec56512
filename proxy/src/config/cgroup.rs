//! Patterns of cgroup paths, which are matched level by level from the root.
//!
//! A pattern selects the cgroups that it matches with all below them. Level by level, so that of a
//! folder it is known whether anything below it could match: nothing else has to be looked at.

use std::fmt;

/// Levels that a pattern may have, so that progress in it fits a word.
pub(crate) const PARTS: usize = 31;

/// What makes a name a pattern.
pub(crate) const WILDCARDS: [char; 3] = ['*', '?', '['];

/// A path below the cgroup2 root, in which levels may be patterns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupPattern {
    text: String,
    parts: Vec<Part>,
}

/// What a pattern asks of one level.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// This name.
    Name(String),
    /// Any name, `*`.
    Any,
    /// A name like this, with `*`, `?` or `[…]` in it.
    Like(glob::Pattern),
    /// Any number of levels, none too, `**`.
    AnyDepth,
    /// Any number of slices of systemd, none too. Only root makes cgroups in them.
    Slices,
}

/// How far a path has come in a pattern: what matches is decided from the root downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bit n: the first n parts can be what the path has had so far.
    reached: u32,
}

/// What a pattern says of the cgroups below one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// It matches all of them.
    All,
    /// It could match some, and others not.
    Some,
    /// It matches none.
    None,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// One of its levels.
    #[error("{name:?} is no pattern: {reason}")]
    Level {
        /// As written.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// `**` at its end.
    #[error("a ** at the end says nothing: what is below a selected cgroup is selected with it")]
    Endless,
    /// More than [`PARTS`].
    #[error("the pattern has more than {PARTS} parts")]
    Long,
}

impl Part {
    /// One level, as it is written.
    pub(crate) fn parse(name: &str) -> Result<Self, BadPattern> {
        Ok(match name {
            "**" => Self::AnyDepth,
            "*" => Self::Any,
            _ if name.contains(WILDCARDS) => {
                Self::Like(glob::Pattern::new(name).map_err(|error| BadPattern::Level {
                    name: name.to_owned(),
                    reason: error.msg,
                })?)
            }
            _ => Self::Name(name.to_owned()),
        })
    }
}

impl CgroupPattern {
    /// A path from the root, in which each level may be a pattern.
    ///
    /// # Errors
    /// [`BadPattern`]
    pub fn parse(path: &str) -> Result<Self, BadPattern> {
        let mut parts = Vec::new();
        for name in names(path) {
            let part = Part::parse(name)?;
            // Twice is no more than once.
            if part != Part::AnyDepth || parts.last() != Some(&part) {
                parts.push(part);
            }
        }
        if parts.last() == Some(&Part::AnyDepth) {
            return Err(BadPattern::Endless);
        }
        Self::new(path, parts)
    }

    /// `parts` as one pattern, that `text` stands for.
    ///
    /// # Errors
    /// [`BadPattern::Long`]
    pub(crate) fn new(text: impl Into<String>, parts: Vec<Part>) -> Result<Self, BadPattern> {
        if parts.len() > PARTS {
            return Err(BadPattern::Long);
        }
        Ok(Self {
            text: text.into(),
            parts,
        })
    }

    /// The path, if it names one cgroup alone.
    pub fn literal(&self) -> Option<&str> {
        let named = |part: &Part| matches!(part, Part::Name(_));
        self.parts.iter().all(named).then_some(self.text.as_str())
    }

    /// Levels that a path that it matches has at least.
    pub(crate) fn levels(&self) -> usize {
        let many = |part: &&Part| matches!(part, Part::AnyDepth | Part::Slices);
        self.parts.len() - self.parts.iter().filter(many).count()
    }

    /// Progress of the root.
    pub fn root(&self) -> Progress {
        self.with_empty_parts(1)
    }

    /// Progress of the cgroup `name` in one with the progress `before`.
    pub fn child(&self, before: Progress, name: &str) -> Progress {
        let done = 1 << self.parts.len();
        if before.reached & done != 0 {
            return before;
        }
        let mut reached = 0;
        for (at, part) in self.parts.iter().enumerate() {
            if before.reached & (1 << at) == 0 {
                continue;
            }
            reached |= match part {
                Part::Name(wanted) => u32::from(wanted == name) << (at + 1),
                Part::Any => 1 << (at + 1),
                Part::Like(pattern) => u32::from(pattern.matches(name)) << (at + 1),
                Part::AnyDepth => 1 << at,
                Part::Slices => u32::from(name.ends_with(".slice")) << at,
            };
        }
        self.with_empty_parts(reached)
    }

    /// Progress of a path below the root.
    pub fn path(&self, path: &str) -> Progress {
        names(path).fold(self.root(), |progress, name| self.child(progress, name))
    }

    /// Whether the cgroup of this progress is selected: the pattern matches it or one above it.
    pub fn is_matched(&self, progress: Progress) -> bool {
        progress.reached & (1 << self.parts.len()) != 0
    }

    /// What it says of the cgroups below the one of this progress.
    pub fn below(&self, progress: Progress) -> Below {
        let is_last_any = || {
            matches!(self.parts.last(), Some(Part::Any))
                && progress.reached & (1 << (self.parts.len() - 1)) != 0
        };
        if progress.reached == 0 {
            Below::None
        } else if self.is_matched(progress) || is_last_any() {
            Below::All
        } else {
            Below::Some
        }
    }

    /// `**` and its like may be nothing.
    fn with_empty_parts(&self, mut reached: u32) -> Progress {
        for (at, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::AnyDepth | Part::Slices) && reached & (1 << at) != 0 {
                reached |= 1 << (at + 1);
            }
        }
        Progress { reached }
    }
}

impl fmt::Display for CgroupPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The names of a path, from the root downwards.
pub(crate) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
