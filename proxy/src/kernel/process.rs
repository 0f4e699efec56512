//! Processes, as /proc shows them.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::cgroup;

/// A process that has a socket open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) descriptor: i32,
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    /// By a signal or a debugger, or it has ended and nobody has waited for it.
    pub(crate) stopped: bool,
    /// When it began, in ticks since the machine did.
    pub(crate) began: u64,
}

/// All processes that this one can see.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Those of `pids` that have the socket with this inode open.
pub(crate) fn holders(inode: u32, pids: &[u32]) -> Vec<Holder> {
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

/// Who has which of these sockets open: every process with each, in one pass over all descriptors.
pub(crate) fn all_holders(inodes: &HashSet<u32>) -> HashMap<u32, Vec<u32>> {
    let mut found: HashMap<u32, Vec<u32>> = HashMap::new();
    if inodes.is_empty() {
        return found;
    }
    for pid in all() {
        // Gone meanwhile, or not ours to look at.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten() {
            let link = fs::read_link(descriptor.path()).ok();
            let Some(inode) = link.as_deref().and_then(inode_of) else {
                continue;
            };
            if inodes.contains(&inode) {
                let pids = found.entry(inode).or_default();
                if pids.last() != Some(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    found
}

fn inode_of(link: &Path) -> Option<u32> {
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

/// Whether it has the socket with this inode open still.
pub(crate) fn holds(holder: Holder, inode: u32) -> bool {
    let descriptor = format!("/proc/{}/fd/{}", holder.pid, holder.descriptor);
    fs::read_link(descriptor).is_ok_and(|link| link == link_of(inode))
}

fn link_of(inode: u32) -> PathBuf {
    PathBuf::from(format!("socket:[{inode}]"))
}

/// The cgroup of a process, as a path below the cgroup2 root.
pub(crate) fn cgroup(pid: u32) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mut lines = text.lines();
    let below = lines.find_map(|line| line.strip_prefix("0::"));
    Ok(below.ok_or(io::ErrorKind::NotFound)?.to_owned())
}

/// The same as a folder below `mount`.
pub(crate) fn cgroup_of(mount: &Path, pid: u32) -> io::Result<PathBuf> {
    cgroup(pid).map(|below| cgroup::folder(mount, &below))
}

pub(crate) fn executable(pid: u32) -> String {
    fs::read_link(format!("/proc/{pid}/exe"))
        .map_or_else(|_| "unknown".into(), |path| path.display().to_string())
}

/// The name that it gives itself, or its executable's; a kernel thread has none other.
pub(crate) fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "unknown".into(), |name| name.trim_end().to_owned())
}

/// Its real user id, by which the programs select; `None` if it has gone.
pub(crate) fn uid(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

/// Its real group id, by which the programs select; `None` if it has gone.
pub(crate) fn gid(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = text.lines().find_map(|line| line.strip_prefix("Gid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

/// `None` if it has gone.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(text: &str) -> Option<Stat> {
    // The name before it is the process's own choice, parentheses and spaces included.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let stopped = matches!(fields.next()?, "T" | "t" | "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some(Stat {
        parent,
        stopped,
        began,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_a_state_or_a_parent() {
        let rest = "71 71 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 997 1000 10";
        let stat = parse(&format!("71 (a) T 1 (b) S 42 {rest}")).unwrap();
        assert_eq!(
            stat,
            Stat {
                parent: 42,
                stopped: false,
                began: 997,
            }
        );
        let stopped = parse(&format!("71 (redsocks) T 1 {rest}")).unwrap();
        assert!(stopped.stopped);
        assert_eq!(parse("71 (redsocks"), None);
    }
}
