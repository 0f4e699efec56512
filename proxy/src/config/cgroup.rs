//! Patterns of cgroup paths, which are matched level by level from the root.
//!
//! A pattern selects the cgroups that it matches with all below them. Level by level, so that of a
//! folder it is known whether anything below it could match: nothing else has to be looked at.

use std::{fmt, sync::Arc};

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
    /// Any number of levels, none too, in which container runtimes of root make cgroups: what is
    /// within a service, a scope or a container may be anybody's.
    Runtimes,
    /// The cgroup of a container whose id begins so.
    ContainerId(String),
    /// The cgroup of a container with a name like this.
    ContainerName(Box<Part>),
}

/// Whether a pattern selects a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selects {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It depends on the name of a container, which is not known.
    Perhaps,
}

/// Knows containers by their names.
pub trait Names {
    /// The names of the container of this id; `None` if nobody can tell.
    fn names(&self, id: &str) -> Option<Arc<[String]>>;
}

/// How far a path has come in a pattern: what matches is decided from the root downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bit n: the first n parts can be what the path has had so far.
    reached: u32,
    /// The same, if a container has the name that is asked for.
    perhaps: u32,
}

/// Knows no container.
pub struct NoNames;

impl Names for NoNames {
    fn names(&self, _: &str) -> Option<Arc<[String]>> {
        None
    }
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
    /// More than `PARTS`.
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
        self.parts
            .iter()
            .filter(|part| !part.may_be_nothing())
            .count()
    }

    /// Progress of the root.
    pub fn root(&self) -> Progress {
        Progress {
            reached: self.with_empty_parts(1),
            perhaps: 0,
        }
    }

    /// Progress of the cgroup `name` in one with the progress `before`.
    pub fn child(&self, before: Progress, name: &str, containers: &impl Names) -> Progress {
        if before.reached & self.done() != 0 {
            return before;
        }
        let (mut reached, mut perhaps) = (0, before.perhaps & self.done());
        for (at, part) in self.parts.iter().enumerate() {
            let so_far = 1 << at;
            if (before.reached | before.perhaps) & so_far == 0 {
                continue;
            }
            let (next, fits) = match part {
                Part::AnyDepth => (so_far, Selects::Yes),
                Part::Slices => (so_far, name.ends_with(".slice").into()),
                Part::Runtimes => (so_far, is_runtimes(name).into()),
                _ => (so_far << 1, part.fits(name, containers)),
            };
            match fits {
                Selects::No => {}
                Selects::Yes if before.reached & so_far != 0 => reached |= next,
                Selects::Yes | Selects::Perhaps => perhaps |= next,
            }
        }
        Progress {
            reached: self.with_empty_parts(reached),
            perhaps: self.with_empty_parts(perhaps),
        }
    }

    /// Progress of a path below the root.
    pub fn path(&self, path: &str, containers: &impl Names) -> Progress {
        names(path).fold(self.root(), |progress, name| {
            self.child(progress, name, containers)
        })
    }

    /// Whether the cgroup of this progress is selected: the pattern matches it or one above it.
    pub fn selects(&self, progress: Progress) -> Selects {
        if progress.reached & self.done() != 0 {
            Selects::Yes
        } else if progress.perhaps & self.done() != 0 {
            Selects::Perhaps
        } else {
            Selects::No
        }
    }

    /// What it says of the cgroups below the one of this progress.
    pub fn below(&self, progress: Progress) -> Below {
        let is_last_any = || {
            matches!(self.parts.last(), Some(Part::Any))
                && progress.reached & (self.done() >> 1) != 0
        };
        if progress.reached | progress.perhaps == 0 {
            Below::None
        } else if self.selects(progress) == Selects::Yes || is_last_any() {
            Below::All
        } else {
            Below::Some
        }
    }

    fn done(&self) -> u32 {
        1 << self.parts.len()
    }

    /// `**` and its like may be nothing.
    fn with_empty_parts(&self, mut reached: u32) -> u32 {
        for (at, part) in self.parts.iter().enumerate() {
            if part.may_be_nothing() && reached & (1 << at) != 0 {
                reached |= 1 << (at + 1);
            }
        }
        reached
    }
}

impl Part {
    fn may_be_nothing(&self) -> bool {
        matches!(self, Self::AnyDepth | Self::Slices | Self::Runtimes)
    }

    /// Whether it is this one name.
    fn fits(&self, name: &str, containers: &impl Names) -> Selects {
        match self {
            Self::Name(wanted) => (wanted == name).into(),
            Self::Any => Selects::Yes,
            Self::Like(pattern) => pattern.matches(name).into(),
            Self::AnyDepth | Self::Slices | Self::Runtimes => Selects::No,
            Self::ContainerId(wanted) => container(name)
                .is_some_and(|id| id.starts_with(wanted.as_str()))
                .into(),
            Self::ContainerName(wanted) => match container(name).map(|id| containers.names(id)) {
                None => Selects::No,
                Some(None) => Selects::Perhaps,
                Some(Some(names)) => {
                    let mut names = names.iter();
                    names
                        .any(|name| wanted.fits(name, containers) == Selects::Yes)
                        .into()
                }
            },
        }
    }
}

impl From<bool> for Selects {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The id of the container whose cgroup has this name: `ID`, `docker-ID.scope`, `libpod-ID.scope`,
/// `cri-containerd-ID.scope`, `crio-ID.scope`, and without `.scope` in runtimes that make cgroups
/// themselves. What watches over one (`libpod-conmon-ID.scope`) is not it.
fn container(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (runtime, id) = name.rsplit_once('-').unwrap_or(("", name));
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_id = id.len() == 64 && id.bytes().all(is_hex);
    (is_id && !runtime.ends_with("conmon")).then_some(id)
}

fn is_runtimes(name: &str) -> bool {
    !name.ends_with(".service") && !name.ends_with(".scope") && container(name).is_none()
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
