//! What tests may not leave behind: network namespaces, cgroups and pins of ours.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::preflight::cgroup2_root;

/// The kernel frees cgroups and namespaces a moment after their last process is gone.
const GRACE: Duration = Duration::from_secs(5);

/// The names that were there at one time.
pub(crate) struct Snapshot(BTreeSet<PathBuf>);

impl Snapshot {
    pub(crate) fn take() -> Result<Self> {
        let mut found = BTreeSet::new();
        for root in [
            PathBuf::from("/run/netns"),
            cgroup2_root()?,
            PathBuf::from("/sys/fs/bpf"),
        ] {
            collect(&root, false, &mut found)
                .with_context(|| format!("listing what is in {}", root.display()))?;
        }
        Ok(Self(found))
    }

    /// What is there now and was not then.
    pub(crate) fn left_behind(&self) -> Result<Vec<String>> {
        let deadline = Instant::now() + GRACE;
        loop {
            let now = Self::take()?;
            let left: Vec<String> = now
                .0
                .difference(&self.0)
                .map(|path| path.display().to_string())
                .collect();
            if left.is_empty() || Instant::now() >= deadline {
                return Ok(left);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Adds what bears our name, and all in it.
fn collect(folder: &Path, within_ours: bool, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        // Never made, or gone since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // systemd and others make cgroups at any time; ours bear our names.
        let ours = within_ours || is_ours(&entry.file_name().to_string_lossy());
        if ours {
            found.insert(entry.path());
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), ours, found)?;
        }
    }
    Ok(())
}

/// Names that tests, demos and daemons give. The process id in the first two tells whose it is:
/// what belongs to a process that still runs is not left behind.
fn is_ours(name: &str) -> bool {
    for prefix in ["sdt", "st-"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            let owner = rest
                .split(|c: char| !c.is_ascii_digit())
                .find(|digits| !digits.is_empty());
            return owner.is_none_or(|pid| !Path::new("/proc").join(pid).exists());
        }
    }
    name.starts_with("sidetrack")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bears_our_name_is_counted() {
        let folder = std::env::temp_dir().join(format!("xtask-leftovers-{}", std::process::id()));
        fs::create_dir_all(folder.join("user.slice")).unwrap();
        fs::create_dir_all(folder.join("st-test/a")).unwrap();
        let mut found = BTreeSet::new();
        collect(&folder, false, &mut found).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            found,
            BTreeSet::from([folder.join("st-test"), folder.join("st-test/a")])
        );
    }
}
