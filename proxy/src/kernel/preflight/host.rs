//! What /proc says, read.

use std::{fmt, fs, io, path::PathBuf};

use super::NoCgroup2;

/// Major and minor number of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// The kernel that runs; `None` if it does not say so in the usual form.
    pub fn running() -> Option<Self> {
        Self::parse(&super::read("/proc/sys/kernel/osrelease"))
    }

    /// `6.1.0-13-amd64` is 6.1.
    pub fn parse(release: &str) -> Option<Self> {
        let mut parts = release.trim().split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self(major, minor))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Where cgroup2 is mounted: found by its type, since hybrid set-ups have it in other places
/// than /sys/fs/cgroup. A mount of the whole tree is preferred to a bind mount of a part.
///
/// # Errors
/// There is none, or /proc cannot be read.
pub fn cgroup2_mount() -> Result<PathBuf, NoCgroup2> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(NoCgroup2::Mountinfo)?;
    find_cgroup2(&text).ok_or(NoCgroup2::NotMounted)
}

/// Where a bpf file system is mounted: at its usual place, else wherever there is one.
///
/// # Errors
/// There is none, or /proc cannot be read.
pub fn bpffs_mount() -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    find_bpffs(&text).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Where namespaces of any kind are mounted that this process sees.
pub fn namespace_mounts() -> Vec<PathBuf> {
    mounts(&super::read("/proc/self/mountinfo"))
        .filter(|mount| mount.kind == "nsfs")
        .map(|mount| mount.at)
        .collect()
}

pub(super) fn find_bpffs(mountinfo: &str) -> Option<PathBuf> {
    mounts(mountinfo)
        .filter(|mount| mount.kind == "bpf" && mount.root == "/")
        .min_by_key(|mount| mount.at != *"/sys/fs/bpf")
        .map(|mount| mount.at)
}

pub(super) fn find_cgroup2(mountinfo: &str) -> Option<PathBuf> {
    mounts(mountinfo)
        .filter(|mount| mount.kind == "cgroup2")
        .min_by_key(|mount| mount.root != "/")
        .map(|mount| mount.at)
}

/// One line of mountinfo.
pub(super) struct Mount<'a> {
    /// What of the file system is mounted; `/` is all of it.
    pub(super) root: &'a str,
    /// Where.
    pub(super) at: PathBuf,
    /// Type of the file system.
    pub(super) kind: &'a str,
    /// Options of the file system itself.
    pub(super) options: &'a str,
}

/// proc_pid_mountinfo(5): optional fields end with a lone dash.
pub(super) fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mut after = after.split(' ');
        Some(Mount {
            root: before.next()?,
            at: unescape(before.next()?),
            kind: after.next()?,
            options: after.nth(1).unwrap_or_default(),
        })
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(path: &str) -> PathBuf {
    let mut parts = path.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                text.push(char::from(code));
                text.push_str(rest);
            }
            _ => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text.into()
}

/// The mask that /proc/self/status calls CapEff.
pub(super) fn effective_capabilities(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Only the first user namespace maps all ids onto themselves. Unreadable counts as first:
/// the kernel then says no itself.
pub(super) fn is_first_user_namespace(uid_map: &str) -> bool {
    let fields: Vec<&str> = uid_map.split_whitespace().collect();
    matches!(fields.as_slice(), [] | ["0", "0", "4294967295"])
}
