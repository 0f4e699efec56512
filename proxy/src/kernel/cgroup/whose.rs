//! The cgroup of a task, from what the programs noted of it.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::kernel::process;

/// Finds cgroups that the kernel's table does not have yet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Finder {
    mount: Arc<Path>,
    /// One search at a time, for all who wait for it: what asks for them is in the hands of
    /// applications, and after a reload every connection asks at once.
    searching: Arc<tokio::sync::Mutex<()>>,
    waiting: Arc<Mutex<Vec<Wanted>>>,
    asked: Arc<Notify>,
}

/// A cgroup that somebody waits for.
#[derive(Debug)]
struct Wanted {
    id: u64,
    found: oneshot::Sender<Option<String>>,
}

impl Finder {
    /// For the hierarchy that is mounted at `mount`.
    pub fn new(mount: PathBuf) -> Self {
        Self {
            mount: mount.into(),
            searching: Arc::default(),
            waiting: Arc::default(),
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
        let of_process = move || {
            let path = process::cgroup(pid).ok();
            path.filter(|path| is(&super::folder(&mount, path), id))
        };
        if let Some(path) = tokio::task::spawn_blocking(of_process).await? {
            return Ok(path);
        }
        let look = |mount: &Path, ids: &HashSet<u64>| search_all(mount, ids);
        self.search(id, look)
            .await
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether the process `pid` is in the cgroup `id` now. Reads files.
    pub fn is_in(&self, id: u64, pid: u32) -> bool {
        process::cgroup(pid).is_ok_and(|path| is(&super::folder(&self.mount, &path), id))
    }

    /// Waits for a search that begins after this was called, and is for all who wait then.
    async fn search<L>(&self, id: u64, look: L) -> Option<String>
    where
        L: FnOnce(&Path, &HashSet<u64>) -> HashMap<u64, String> + Send + 'static,
    {
        let (found, mut answer) = oneshot::channel();
        self.waiting.lock().push(Wanted { id, found });
        // A connection that ends meanwhile does not take along the search that others wait for.
        let this = self.clone();
        let search = async move {
            let _one_at_a_time = this.searching.lock().await;
            let waiting = std::mem::take(&mut *this.waiting.lock());
            let ids: HashSet<u64> = waiting.iter().map(|wanted| wanted.id).collect();
            if ids.is_empty() {
                return;
            }
            let mount = Arc::clone(&this.mount);
            let Ok(paths) = tokio::task::spawn_blocking(move || look(&mount, &ids)).await else {
                return;
            };
            for Wanted { id, found } in waiting {
                let _ = found.send(paths.get(&id).cloned());
            }
        };
        let searching = tokio::spawn(search);
        tokio::select! {
            biased;
            path = &mut answer => path.ok().flatten(),
            // Somebody else's search may be it, and has answered by now.
            _ = searching => answer.await.ok().flatten(),
        }
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

/// The path, below the cgroup2 root, of the cgroup `id`: reads all folders of cgroups.
pub fn search(mount: &Path, id: u64) -> Option<String> {
    search_all(mount, &HashSet::from([id])).remove(&id)
}

/// The paths of those of `ids` that are there, by one walk over all folders of cgroups.
fn search_all(mount: &Path, ids: &HashSet<u64>) -> HashMap<u64, String> {
    let mut found = HashMap::with_capacity(ids.len());
    let mut folders = vec![mount.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if let Ok(id) = super::id(&folder)
            && ids.contains(&id)
        {
            found.insert(id, super::below(mount, &folder));
            if found.len() == ids.len() {
                break;
            }
        }
        folders.extend(super::children(&folder));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::MetadataExt as _,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// The kernel's number of a folder, and some folders below one.
    fn tree(names: &[&str]) -> (tempfile::TempDir, Vec<u64>) {
        let root = tempfile::tempdir().unwrap();
        let ids = names.iter().map(|name| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::metadata(folder).unwrap().ino()
        });
        let ids = ids.collect();
        (root, ids)
    }

    #[test]
    fn one_walk_finds_all_that_are_there() {
        let (root, mut ids) = tree(&["a/b/c", "a/d", "e"]);
        ids.push(u64::MAX);
        let found = search_all(root.path(), &ids.iter().copied().collect());
        let paths = ids.iter().map(|id| found.get(id).map(String::as_str));
        let paths: Vec<_> = paths.collect();
        assert_eq!(paths, [Some("/a/b/c"), Some("/a/d"), Some("/e"), None]);
    }

    #[tokio::test]
    async fn all_who_wait_for_a_cgroup_share_one_walk() {
        let (root, ids) = tree(&["a", "b"]);
        let finder = Finder::new(root.path().to_owned());
        let walks = Arc::new(AtomicUsize::new(0));
        // Nobody walks before all have asked.
        let busy = finder.searching.clone().lock_owned().await;
        let ask = |id: u64| {
            let (finder, walks) = (finder.clone(), Arc::clone(&walks));
            tokio::spawn(async move {
                let look = move |mount: &Path, ids: &HashSet<u64>| {
                    walks.fetch_add(1, Ordering::Relaxed);
                    search_all(mount, ids)
                };
                finder.search(id, look).await
            })
        };
        let asked: Vec<_> = (0..100).map(|n| ask(ids[n % 2])).collect();
        let gone = ask(u64::MAX);
        // One that is not interested any more does not keep the others from their answers.
        let given_up = ask(ids[0]);
        while finder.waiting.lock().len() < 102 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        drop(busy);
        for (n, one) in asked.into_iter().enumerate() {
            let path = one.await.unwrap();
            assert_eq!(path.as_deref(), Some(["/a", "/b"][n % 2]));
        }
        assert_eq!(gone.await.unwrap(), None);
        assert_eq!(walks.load(Ordering::Relaxed), 1);
    }
}
