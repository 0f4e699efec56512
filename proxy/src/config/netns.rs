//! Where network namespaces beside the daemon's own are found.

use std::{fmt, path::PathBuf};

use super::CgroupPattern;

/// An entry of `intercept.netns` beside `"host"`: where other network namespaces are found.
#[derive(Clone, Debug, PartialEq, Eq)]
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
