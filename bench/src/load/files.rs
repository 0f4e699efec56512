//! How many files, and so sockets, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Trouble;

/// Raises the limit to what it may be raised to.
pub(crate) fn raise() -> Result<(), Trouble> {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, most)
        .map_err(|error| Trouble::new("raising the limit of open files", error))
}

/// Whether so many connections may be open at once, with some other files.
pub(crate) fn suffice(connections: u32) -> Result<(), Trouble> {
    raise()?;
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < u64::from(connections) + 64 => Err(Trouble::missing(
            format!("opening {connections} connections"),
            format!("a process may have {most} files open here"),
        )
        .fix(format!(
            "raise the hard limit: ulimit -Hn {}",
            connections + 1024
        ))),
        _ => Ok(()),
    }
}
