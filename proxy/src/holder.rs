//! Who holds a lock.

use std::{fmt, fs, fs::File, os::unix::fs::MetadataExt as _};

use nix::sys::stat::{major, minor};

/// Who holds a lock, as far as /proc tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process.
    Process(u32),
    /// A process of another pid namespace, or one that has let go of it since.
    Unknown,
}

impl Holder {
    /// The holder of the flock(2) lock on `file`.
    pub fn of(file: &File) -> Self {
        let (Ok(metadata), Ok(locks)) = (file.metadata(), fs::read_to_string("/proc/locks")) else {
            return Self::Unknown;
        };
        let device = metadata.dev();
        find(&locks, (major(device), minor(device), metadata.ino()))
    }
}

/// `1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF`: the process, then the file.
fn find(locks: &str, (major, minor, inode): (u64, u64, u64)) -> Holder {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let kind = words.next()?;
            let (pid, at) = (words.nth(2)?, words.next()?);
            (kind == "FLOCK" && at == file).then(|| pid.parse().ok())?
        })
        .find(|pid| *pid != 0)
        .map_or(Holder::Unknown, Holder::Process)
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => write!(f, "process {pid}"),
            Self::Unknown => f.write_str("a process that cannot be seen from here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_among_others() {
        let locks = "1: POSIX  ADVISORY  WRITE 700 00:1a:5678 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 701 00:1a:5679 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 703 00:1a:5678 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 702 00:1a:5678 0 EOF\n";
        assert_eq!(find(locks, (0, 0x1a, 5678)), Holder::Process(702));
        assert_eq!(find(locks, (0, 0x1a, 1)), Holder::Unknown);
    }
}
