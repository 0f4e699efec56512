//! Cgroups: where they are, what their ids are, and the proxy's own.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::KernelError;
use crate::config::Instance;

pub mod known;
pub mod matching;
pub mod watch;
pub mod whose;

/// How long processes that are about to end may hold up the removal of their cgroup.
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(10);

/// A cgroup that this process made; removed when dropped.
#[derive(Debug)]
pub struct OwnCgroup {
    path: PathBuf,
    /// Where this process was before and returns to, so that the cgroup can be removed.
    came_from: Option<PathBuf>,
}

/// Name of the cgroup that a daemon makes for itself.
pub fn own_name(instance: &Instance) -> String {
    format!("sidetrack-{instance}")
}

/// Name of the cgroup that a daemon makes for its canaries.
pub fn canary_name(instance: &Instance) -> String {
    format!("sidetrack-canary-{instance}")
}

/// Name of the cgroup that the `exec` of process `pid` makes for itself and its command.
pub fn exec_name(pid: u32) -> String {
    format!("sidetrack-exec-{pid}")
}

/// Id of a cgroup as the programs see it: the inode of its folder.
pub fn id(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.ino())
}

/// The folder of a path below the cgroup2 root, as configurations write it (`/a/b`).
pub fn folder(mount: &Path, below: &str) -> PathBuf {
    mount.join(below.trim_start_matches('/'))
}

/// The cgroup of this process, as a folder.
pub fn current(mount: &Path) -> Result<PathBuf, KernelError> {
    let text = fs::read_to_string("/proc/self/cgroup").map_err(|error| {
        KernelError::new("reading /proc/self/cgroup", "is /proc mounted?", error)
    })?;
    let below = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| {
            KernelError::new(
                "finding this process's cgroup",
                "the kernel has no cgroup2 hierarchy; mount one (`mount -t cgroup2 none /sys/fs/cgroup`)",
                io::Error::from(io::ErrorKind::NotFound),
            )
        })?;
    Ok(folder(mount, below))
}

/// Why a process does not get a cgroup of its own.
#[derive(Debug, thiserror::Error)]
pub enum OwnCgroupError {
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Others are in it: what the programs let pass for this process they would for those too.
    #[error("the cgroup {} exists and processes {pids:?} are in it", path.display())]
    Occupied {
        /// Its folder.
        path: PathBuf,
        /// Who is in it or below it.
        pids: Vec<u32>,
    },
}

impl OwnCgroup {
    /// Makes a cgroup of this name below `parent`, or takes over one in which nobody is: a
    /// process of the same name that was killed leaves it behind.
    ///
    /// # Errors
    /// [`OwnCgroupError`]
    pub fn create(parent: &Path, name: &str) -> Result<Self, OwnCgroupError> {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let pids = processes(&path);
                if !pids.is_empty() {
                    return Err(OwnCgroupError::Occupied { path, pids });
                }
            }
            Err(error) => {
                return Err(KernelError::new(
                    format!("making the cgroup {}", path.display()),
                    "it needs write access to the cgroup2 hierarchy; under systemd set Delegate=yes",
                    error,
                )
                .into());
            }
        }
        Ok(Self {
            path,
            came_from: None,
        })
    }

    /// Moves this process into it.
    ///
    /// # Errors
    /// [`OwnCgroupError`]; of two that enter at once, at least one finds the other in it.
    pub fn enter(&mut self, from: &Path) -> Result<(), OwnCgroupError> {
        join(&self.path, process::id())?;
        self.came_from = Some(from.to_path_buf());
        let mut pids = processes(&self.path);
        pids.retain(|pid| *pid != process::id());
        if pids.is_empty() {
            Ok(())
        } else {
            let path = self.path.clone();
            Err(OwnCgroupError::Occupied { path, pids })
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id.
    pub fn id(&self) -> Result<u64, KernelError> {
        id(&self.path).map_err(|error| {
            KernelError::new(
                format!("reading the id of {}", self.path.display()),
                "the cgroup was removed by somebody else",
                error,
            )
        })
    }
}

/// Moves a process into a cgroup. Sockets that it makes from then on belong to it; those that it
/// has keep the cgroup that they were made in.
pub fn join(cgroup: &Path, pid: u32) -> Result<(), KernelError> {
    fs::write(cgroup.join("cgroup.procs"), pid.to_string()).map_err(|error| {
        KernelError::new(
            format!("moving process {pid} into the cgroup {}", cgroup.display()),
            "it needs write access to the cgroup2 hierarchy and a cgroup without domain controllers \
             in its subtree",
            error,
        )
    })
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        if let Some(from) = &self.came_from
            && let Err(error) = join(from, process::id())
        {
            tracing::warn!(%error, "could not leave the own cgroup");
        }
        match remove(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                cgroup = %self.path.display(),
                processes = ?processes(&self.path),
                %error,
                "could not remove the own cgroup: these processes still run, without redirection; \
                 `rmdir` it when they are gone",
            ),
        }
    }
}

/// Removes every cgroup of this name below `root` in which no process is. Whether none is left.
pub fn remove_named(root: &Path, name: &str) -> bool {
    children(root).into_iter().fold(true, |gone, child| {
        let gone_here = match child.file_name().is_some_and(|found| found == name) {
            true => processes(&child).is_empty() && remove_tree(&child).is_ok(),
            false => remove_named(&child, name),
        };
        gone && gone_here
    })
}

/// Removes a cgroup and those below it, waiting for processes that are about to end.
fn remove(path: &Path) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match remove_tree(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                wait_for_change(path, until)?;
            }
            removed => return removed,
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for child in children(path) {
        remove_tree(&child)?;
    }
    fs::remove_dir(path)
}

/// Waits until `cgroup.events` says something else than "populated 1", for which poll(2) wakes.
fn wait_for_change(path: &Path, until: Instant) -> io::Result<()> {
    let mut events = File::open(path.join("cgroup.events"))?;
    let mut text = String::new();
    // The kernel tells of changes since this reading.
    events.read_to_string(&mut text)?;
    let populated = text.lines().any(|line| line == "populated 1");
    let left = until.saturating_duration_since(Instant::now());
    // With nobody in it, only a cgroup that somebody makes below it stands in the way.
    let wait = if populated { left } else { left.min(RETRY) };
    let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
    poll(
        &mut fds,
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO),
    )?;
    Ok(())
}

/// All cgroups, by id, as paths below `mount`.
pub fn by_id(mount: &Path) -> HashMap<u64, String> {
    let mut found = HashMap::new();
    let mut folders = vec![mount.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if let Ok(id) = id(&folder) {
            found.insert(id, below(mount, &folder));
        }
        folders.extend(children(&folder));
    }
    found
}

/// Whether a cgroup is `top` or below it; both are paths below the cgroup2 root.
pub fn is_within(path: &str, top: &str) -> bool {
    path.strip_prefix(top.trim_end_matches('/'))
        .is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// The path of a cgroup's folder below the cgroup2 root, as configurations write it.
pub fn below(mount: &Path, folder: &Path) -> String {
    let below = folder.strip_prefix(mount).unwrap_or(folder);
    Path::new("/").join(below).to_string_lossy().into_owned()
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Ids of the processes in a cgroup and below it; 0 for those of another pid namespace.
pub fn processes(path: &Path) -> Vec<u32> {
    let mut pids = members(path);
    pids.extend(processes_below(path));
    pids
}

/// Ids of the processes in cgroups below this one.
pub(super) fn processes_below(path: &Path) -> Vec<u32> {
    children(path)
        .iter()
        .flat_map(|child| processes(child))
        .collect()
}

/// Whether the processes in it are held by the freezer, as `systemctl freeze` does.
pub(super) fn is_frozen(path: &Path) -> bool {
    fs::read_to_string(path.join("cgroup.events"))
        .is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
}

/// Ids of the processes in a cgroup itself.
pub(super) fn members(path: &Path) -> Vec<u32> {
    fs::read_to_string(path.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}
