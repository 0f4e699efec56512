//! Cgroups: where processes are born, and what they used by the kernel's own accounting.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{Trouble, measured::Usage};

/// How long processes that were killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup, which goes with the tree that it is in.
#[derive(Clone, Debug)]
pub struct Group {
    folder: PathBuf,
    /// The path below the root.
    name: String,
}

impl Group {
    pub(super) fn at(root: &Path, name: String) -> Result<Self, Trouble> {
        let folder = root.join(name.trim_start_matches('/'));
        fs::create_dir(&folder).map_err(|error| {
            Trouble::new(format!("making the cgroup {}", folder.display()), error)
                .fix("run as root, where the cgroup2 hierarchy can be written")
        })?;
        Ok(Self { folder, name })
    }

    /// A new one below it.
    pub(super) fn child(&self, name: &str) -> Result<Self, Trouble> {
        let below = format!("{}/{name}", self.name);
        let root = self.folder.ancestors().nth(self.name.matches('/').count());
        Self::at(root.unwrap_or(Path::new("/")), below)
    }

    /// As a configuration writes it: the path below the root of cgroup2.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// CPU time of all that has ever run in it and below.
    ///
    /// # Errors
    /// The kernel does not say it.
    pub fn cpu(&self) -> Result<Duration, Trouble> {
        let path = self.folder.join("cpu.stat");
        let doing = format!("reading {}", path.display());
        let text = fs::read_to_string(path).map_err(|error| Trouble::new(&doing, error))?;
        cpu_of(&text).ok_or_else(|| Trouble::new(doing, "it has no usage_usec"))
    }

    /// CPU time, and the memory of the processes that are in it and below now.
    ///
    /// # Errors
    /// The kernel does not say it.
    pub fn usage(&self) -> Result<Usage, Trouble> {
        let mut memory = 0;
        for process in self.processes() {
            let path = format!("/proc/{process}/smaps_rollup");
            // One that has just ended has no memory.
            if let Ok(text) = fs::read_to_string(path) {
                memory += memory_of(&text).unwrap_or(0);
            }
        }
        Ok(Usage {
            cpu: self.cpu()?,
            memory,
        })
    }

    fn processes(&self) -> Vec<u32> {
        let mut folders = below(&self.folder);
        folders.push(self.folder.clone());
        let lists = folders
            .iter()
            .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
        lists
            .flat_map(|list| {
                list.lines()
                    .filter_map(|id| id.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Microseconds of `cpu.stat`. The kernel counts them in every cgroup, with the controller or without.
fn cpu_of(text: &str) -> Option<Duration> {
    let micros = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?;
    micros.trim().parse().ok().map(Duration::from_micros)
}

/// Bytes of the proportional set size: what is shared is divided among those who share it. Without
/// what is mapped from files, whose share changes with what others run.
fn memory_of(text: &str) -> Option<u64> {
    let kilobytes = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let files = kilobytes("Pss_File:").unwrap_or(0);
    Some(kilobytes("Pss:")?.saturating_sub(files) * 1024)
}

/// A cgroup that is removed with all that is in it, processes included, on drop.
pub(crate) struct Tree(pub(crate) Group);

impl Drop for Tree {
    fn drop(&mut self) {
        remove(&self.0.folder);
    }
}

/// Kills what is in a cgroup and below, and removes it; tells whether it is gone.
pub(crate) fn remove(folder: &Path) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let _ = fs::write(folder.join("cgroup.kill"), "1");
    loop {
        for path in below(folder) {
            let _ = fs::remove_dir(path);
        }
        let _ = fs::remove_dir(folder);
        if !folder.exists() || Instant::now() >= deadline {
            return !folder.exists();
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Folders below one, deepest first.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(|entry| {
            let mut all = below(&entry.path());
            all.push(entry.path());
            all
        })
        .collect()
}

/// Where cgroup2 is mounted: on hosts that have version 1 too, not where others have it.
///
/// # Errors
/// It is not mounted.
pub(crate) fn root() -> Result<PathBuf, Trouble> {
    let doing = "looking for cgroup2";
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| Trouble::missing(doing, error).fix("mount /proc"))?;
    mount_of(&mounts).ok_or_else(|| {
        Trouble::missing(doing, "it is not mounted").fix("mount -t cgroup2 none /sys/fs/cgroup")
    })
}

fn mount_of(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A bind mount of one cgroup is not the root.
        (filesystem.starts_with("cgroup2 ") && root == "/").then(|| point.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_and_memory_are_read_from_the_kernels_words() {
        let stat = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n";
        assert_eq!(cpu_of(stat), Some(Duration::from_millis(1500)));
        assert_eq!(cpu_of("user_usec 1\n"), None);
        let rollup = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:    812 kB\nPss_Dirty: 5 kB\nPss_File: 12 kB\n";
        assert_eq!(memory_of(rollup), Some(800 * 1024));
        assert_eq!(memory_of("Rss: 9000 kB\n"), None);
    }

    #[test]
    fn the_cgroup2_mount_is_found_beside_version_1_and_past_bind_mounts() {
        let mounts = "30 29 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 29 0:38 /pod /mnt/pod rw - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_of(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_of(""), None);
    }
}
