//! What a run puts on this machine, found by its name whatever happened: at its end, on an
//! interrupt, and at the start of the next run after one that was killed.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{group, netns, process::finish};
use crate::Trouble;

/// Names begin with it, then comes the process id of their run.
const PREFIX: &str = "sidetrack-bench-";
/// The same of daemons' instances, whose names are short.
const INSTANCES: &str = "bench-";
/// Where daemons pin what shall outlive them.
const PINS: &str = "/sys/fs/bpf/sidetrack";

/// Where a run is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `PID-NUMBER`: a process may have several.
    key: String,
    cgroups: PathBuf,
    program: PathBuf,
    folder: PathBuf,
}

impl Place {
    /// A new one, with its folder.
    pub(super) fn new(cgroups: PathBuf, program: PathBuf) -> Result<Self, Trouble> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let key = format!("{}-{number}", process::id());
        let place = Self::of(key, cgroups, program);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&place.folder)
            .map_err(|error| {
                Trouble::new(
                    format!("making the folder {}", place.folder.display()),
                    error,
                )
                .fix("name another folder by TMPDIR")
            })?;
        Ok(place)
    }

    fn of(key: String, cgroups: PathBuf, program: PathBuf) -> Self {
        let folder = std::env::temp_dir().join(format!("{PREFIX}{key}"));
        Self {
            key,
            cgroups,
            program,
            folder,
        }
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn cgroups(&self) -> &Path {
        &self.cgroups
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Of its cgroup and its folder.
    pub(super) fn name(&self) -> String {
        format!("{PREFIX}{}", self.key)
    }

    /// What the names of its instances begin with.
    pub(super) fn instances(&self) -> String {
        format!("{INSTANCES}{}-", self.key)
    }

    /// Takes away all that bears its name: first what runs, then what that stood on.
    pub(super) fn remove(&self) {
        let cgroup = self.cgroups.join(self.name());
        if cgroup.exists() && !group::remove(&cgroup) {
            eprintln!("could not remove the cgroup {}", cgroup.display());
        }
        for instance in names(Path::new(PINS)) {
            if instance.starts_with(&self.instances()) {
                let _ = finish(&mut detach(&self.program, &instance, &self.folder));
            }
        }
        for name in netns::all() {
            if name.starts_with(&format!("{}-", self.name())) {
                netns::delete(&name);
            }
        }
        // Anybody may make a folder of this name where temporary files are.
        if fs::symlink_metadata(&self.folder)
            .is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw())
        {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Removes what a daemon that has ended leaves in force.
pub(crate) fn detach(program: &Path, instance: &str, runtime_dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["detach", "--instance", instance, "--runtime-dir"])
        .arg(runtime_dir);
    command
}

/// Removes what runs have left whose process is gone.
pub(super) fn remove_dead(cgroups: &Path, program: &Path) {
    let mut keys: Vec<String> = [
        (names(cgroups), PREFIX),
        (names(&std::env::temp_dir()), PREFIX),
        (netns::all(), PREFIX),
        (names(Path::new(PINS)), INSTANCES),
    ]
    .into_iter()
    .flat_map(|(names, prefix)| names.into_iter().filter_map(|name| key_of(&name, prefix)))
    .collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let pid = key.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            Place::of(key, cgroups.to_owned(), program.to_owned()).remove();
        }
    }
}

/// `PID-NUMBER` of something that a run has made.
fn key_of(name: &str, prefix: &str) -> Option<String> {
    let mut parts = name.strip_prefix(prefix)?.split('-');
    let pid: u32 = parts.next()?.parse().ok()?;
    let number: u32 = parts.next()?.parse().ok()?;
    Some(format!("{pid}-{number}"))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_made_is_told_by_its_name_from_what_others_made() {
        let of_a_run = ["sidetrack-bench-12-0", "sidetrack-bench-12-0-3-client"];
        for name in of_a_run {
            assert_eq!(key_of(name, PREFIX).as_deref(), Some("12-0"), "{name}");
        }
        let others = [
            "sidetrack-bench-",
            "sidetrack-bench-x-0",
            "bench-12-0-3-client",
            "sidetrack",
        ];
        for name in others {
            assert_eq!(key_of(name, PREFIX), None, "{name}");
        }
        assert_eq!(
            key_of("bench-12-0-3-client", INSTANCES).as_deref(),
            Some("12-0")
        );
    }
}
