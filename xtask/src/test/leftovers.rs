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
        let ours = match whose(&entry.file_name().to_string_lossy()) {
            Whose::Running => continue,
            Whose::Ours => true,
            Whose::Others => within_ours,
        };
        if ours {
            found.insert(entry.path());
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), ours, found)?;
        }
    }
    Ok(())
}

/// Whose a name is.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// Of a run beside this one, with all in it: it will clean up itself.
    Running,
    /// Of a test, a demo or a daemon that has ended.
    Ours,
    /// Of somebody else, or of one of ours that it is in.
    Others,
}

/// The process id in the names of tests and demos tells whose they are.
fn whose(name: &str) -> Whose {
    for prefix in ["sdt", "st-"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            let owner = rest
                .split(|c: char| !c.is_ascii_digit())
                .find(|digits| !digits.is_empty());
            let runs = owner.is_some_and(|pid| Path::new("/proc").join(pid).exists());
            return if runs { Whose::Running } else { Whose::Ours };
        }
    }
    if name.starts_with("sidetrack") {
        Whose::Ours
    } else {
        Whose::Others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bears_our_name_is_counted() {
        let folder = std::env::temp_dir().join(format!("xtask-leftovers-{}", std::process::id()));
        fs::create_dir_all(folder.join("user.slice")).unwrap();
        fs::create_dir_all(folder.join("st-test/a")).unwrap();
        let running = format!("sdt{}-1/sidetrack-a", std::process::id());
        fs::create_dir_all(folder.join(running)).unwrap();
        let mut found = BTreeSet::new();
        collect(&folder, false, &mut found).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            found,
            BTreeSet::from([folder.join("st-test"), folder.join("st-test/a")])
        );
    }
}
