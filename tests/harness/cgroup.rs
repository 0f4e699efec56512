//! cgroups of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::wait::within;

/// A cgroup that is removed with all below it, processes included, on drop.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

/// Where cgroup2 is mounted: by its type, since hybrid hosts have it elsewhere than others.
pub fn mount_point() -> PathBuf {
    mount_points()
        .into_iter()
        .next()
        .expect("no cgroup2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")
}

/// Every mount of cgroup2.
pub fn mount_points() -> Vec<PathBuf> {
    fs::read_to_string("/proc/self/mountinfo")
        .expect("read /proc/self/mountinfo")
        .lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            filesystem
                .starts_with("cgroup2 ")
                .then(|| mount.split(' ').nth(4).map(PathBuf::from))?
        })
        .collect()
}

impl Cgroup {
    /// A new cgroup below the root.
    pub fn create(name: &str) -> Self {
        Self::at(mount_point().join(name))
    }

    /// A new cgroup below this one.
    pub fn child(&self, name: &str) -> Self {
        Self::at(self.path.join(name))
    }

    fn at(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        Self { path }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name as a configuration writes it: the path below the cgroup2 root.
    pub fn name(&self) -> String {
        let below = self
            .path
            .strip_prefix(mount_point())
            .expect("is below the root");
        format!("/{}", below.display())
    }

    /// All cgroups below this one, deepest first.
    pub fn below(&self) -> Vec<PathBuf> {
        descendants(&self.path)
    }

    /// Ids of the processes in it, those below it included.
    pub fn processes(&self) -> Vec<i32> {
        self.below()
            .iter()
            .chain([&self.path])
            .filter_map(|path| fs::read_to_string(path.join("cgroup.procs")).ok())
            .flat_map(|ids| {
                ids.lines()
                    .filter_map(|id| id.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Only what a test put here is in here; a busy or absent cgroup is not worth a panic.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        let gone = within(Duration::from_secs(10), || {
            for path in descendants(&self.path) {
                let _ = fs::remove_dir(path);
            }
            let _ = fs::remove_dir(&self.path);
            (!self.path.exists()).then_some(())
        });
        if gone.is_none() {
            eprintln!("could not remove the cgroup {}", self.path.display());
        }
    }
}

/// Folders below `path`, deepest first.
pub fn descendants(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(|entry| {
            let mut all = descendants(&entry.path());
            all.push(entry.path());
            all
        })
        .collect()
}
