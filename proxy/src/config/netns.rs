//! Where network namespaces are found, to be served and to be selected by.

use std::{fmt, path::PathBuf};

use super::CgroupPattern;

/// An entry of `intercept.netns` beside `"host"`: where other network namespaces are found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetnsSource {
    /// The namespace that is at this path whenever one is.
    Path(PathBuf),
    /// That of a process.
    Pid(u32),
    /// Those of the processes in the cgroups that a pattern matches, and below them.
    Cgroup(CgroupPattern),
    /// Each from which somebody connected for whom a rule is.
    Selected,
}

impl fmt::Display for NetnsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Cgroup(path) => write!(f, "cgroup:{path}"),
            Self::Selected => f.write_str("selected"),
        }
    }
}

/// An entry of a selector's `netns`. What is named by its processes is none: a namespace that nobody
/// named before would get its name only after a process of the cgroup has connected in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetnsSelector {
    /// The daemon's own.
    Host,
    /// The one that is at this path whenever one is.
    Path(PathBuf),
}

impl fmt::Display for NetnsSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}
