//! The cgroup of a task, from what the programs noted of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Mutex, Notify};

/// Finds cgroups that the kernel's table does not have yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Finder {
    mount: Arc<Path>,
    /// One search at a time: what asks for them is in the hands of applications.
    searching: Arc<Mutex<()>>,
    asked: Arc<Notify>,
}

impl Finder {
    /// For the hierarchy that is mounted at `mount`.
    pub fn new(mount: PathBuf) -> Self {
        Self {
            mount: mount.into(),
            searching: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// The path, below the cgroup2 root, of the cgroup `id` that the process `pid` was in when it
    /// connected. Reads files, and all folders of cgroups if the process is not there any more.
    ///
    /// # Errors
    /// `NotFound` if the cgroup is gone.
    pub async fn path(&self, id: u64, pid: u32) -> io::Result<String> {
        // Its next connection is to be decided in the kernel.
        self.asked.notify_one();
        let mount = Arc::clone(&self.mount);
        let of_process = move || cgroup_of(pid).filter(|path| is(&super::folder(&mount, path), id));
        if let Some(path) = tokio::task::spawn_blocking(of_process).await? {
            return Ok(path);
        }
        let _one_at_a_time = self.searching.lock().await;
        let mount = Arc::clone(&self.mount);
        tokio::task::spawn_blocking(move || search(&mount, id))
            .await?
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Resolves when a cgroup had to be found, which the kernel's table did not have.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}

/// The process may have ended and its number be another's, or it may have moved: the id decides.
fn is(folder: &Path, id: u64) -> bool {
    super::id(folder).is_ok_and(|found| found == id)
}

/// The cgroup of a process, as a path below the cgroup2 root.
pub fn cgroup_of(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.to_owned())
}

/// The path, below the cgroup2 root, of the cgroup `id`: reads all folders of cgroups.
pub fn search(mount: &Path, id: u64) -> Option<String> {
    let mut folders = vec![mount.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if is(&folder, id) {
            return Some(super::below(mount, &folder));
        }
        folders.extend(super::children(&folder));
    }
    None
}
