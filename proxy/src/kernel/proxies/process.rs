//! Processes, as /proc shows them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::kernel::cgroup;

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    pub(super) descriptor: i32,
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: u32,
    /// By a signal or a debugger, or it has ended and nobody has waited for it.
    pub(super) stopped: bool,
}

/// All processes that this one can see.
pub(super) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Those of `pids` that have the socket with this inode open.
pub(super) fn holders(inode: u32, pids: &[u32]) -> Vec<Holder> {
    let wanted = link_of(inode);
    pids.iter()
        .filter_map(|pid| {
            let descriptor = fs::read_dir(format!("/proc/{pid}/fd"))
                .ok()?
                .flatten()
                .filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == wanted))
                .find_map(|entry| entry.file_name().to_str()?.parse().ok())?;
            Some(Holder {
                pid: *pid,
                descriptor,
            })
        })
        .collect()
}

/// Whether it has the socket with this inode open still.
pub(super) fn holds(holder: Holder, inode: u32) -> bool {
    let descriptor = format!("/proc/{}/fd/{}", holder.pid, holder.descriptor);
    fs::read_link(descriptor).is_ok_and(|link| link == link_of(inode))
}

fn link_of(inode: u32) -> PathBuf {
    PathBuf::from(format!("socket:[{inode}]"))
}

/// The cgroup of a process: its folder below `mount`.
pub(super) fn cgroup_of(mount: &Path, pid: u32) -> io::Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let below = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or(io::ErrorKind::NotFound)?;
    Ok(cgroup::folder(mount, below))
}

pub(super) fn executable(pid: u32) -> String {
    fs::read_link(format!("/proc/{pid}/exe"))
        .map_or_else(|_| "unknown".into(), |path| path.display().to_string())
}

/// `None` if it has gone.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(text: &str) -> Option<Stat> {
    // The name before it is the process's own choice, parentheses and spaces included.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let stopped = matches!(fields.next()?, "T" | "t" | "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { parent, stopped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_a_state_or_a_parent() {
        let stat = parse("71 (a) T 1 (b) S 42 71 71 0 -1 4194304").unwrap();
        assert_eq!(
            stat,
            Stat {
                parent: 42,
                stopped: false
            }
        );
        assert!(parse("71 (redsocks) T 1 71").unwrap().stopped);
        assert_eq!(parse("71 (redsocks"), None);
    }
}
