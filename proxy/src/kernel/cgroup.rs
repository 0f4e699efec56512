//! Cgroups: where they are, what their ids are, and the proxy's own.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
};

use super::KernelError;
use crate::config::Instance;

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

impl OwnCgroup {
    /// Makes a cgroup of this name below `parent`.
    pub fn create(parent: &Path, name: &str) -> Result<Self, KernelError> {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Ok(()) => {}
            // Left by a process of the same name that died. Taken over only if nobody is in it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(KernelError::new(
                    format!("making the cgroup {}", path.display()),
                    "it needs write access to the cgroup2 hierarchy; under systemd set Delegate=yes",
                    error,
                ));
            }
        }
        Ok(Self {
            path,
            came_from: None,
        })
    }

    /// Moves this process into it.
    pub fn enter(&mut self, from: &Path) -> Result<(), KernelError> {
        join(&self.path, process::id())?;
        self.came_from = Some(from.to_path_buf());
        Ok(())
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
        match fs::remove_dir(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                cgroup = %self.path.display(),
                %error,
                "could not remove the own cgroup; `rmdir` it when its processes are gone",
            ),
        }
    }
}
