//! Tells at once when cgroups appear or go, by inotify: a unit's first connections need not wait
//! for the next look.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
};
use parking_lot::Mutex;

/// Folders that are watched.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    folders: Mutex<HashMap<WatchDescriptor, String>>,
    /// Whether the log has said that a folder cannot be watched.
    told: AtomicBool,
}

/// Where cgroups have appeared or gone.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    /// In these folders.
    In(BTreeSet<String>),
    /// More has changed than the kernel remembers.
    Anywhere,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The user has too many inotify instances (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?,
            folders: Mutex::default(),
            told: AtomicBool::new(false),
        })
    }

    /// Watches a folder, known as `path` from here on. A folder that cannot be watched is still
    /// looked at from time to time.
    pub fn add(&self, folder: &Path, path: &str) {
        // cgroup2 knows no renames.
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        // Held while the watch is made, so that its first event finds it here.
        let mut folders = self.folders.lock();
        match self.inotify.add_watch(folder, flags) {
            Ok(watch) => {
                folders.insert(watch, path.to_owned());
            }
            Err(Errno::ENOENT) => {}
            Err(error) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        cgroup = path,
                        %error,
                        "watching for new cgroups (compare fs.inotify.max_user_watches); they are \
                         looked for each second, and until then the proxy decides for them",
                    );
                }
            }
        }
    }

    /// Watches only those of its folders that `wanted` names.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.folders.lock().retain(|watch, path| {
            let keep = wanted(path);
            if !keep {
                // The kernel removes those of folders that are gone by itself.
                let _ = self.inotify.rm_watch(*watch);
            }
            keep
        });
    }

    /// What has changed since it was asked last; does not wait.
    pub fn changed(&self) -> Changed {
        let mut changed = BTreeSet::new();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Changed::In(changed),
                Err(Errno::EINTR) => continue,
                Err(_) => return Changed::Anywhere,
            };
            let mut folders = self.folders.lock();
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    return Changed::Anywhere;
                }
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    folders.remove(&event.wd);
                } else if let Some(path) = folders.get(&event.wd) {
                    changed.insert(path.clone());
                }
            }
        }
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_that_appears_or_goes_is_told_of_by_the_path_it_is_known_as() {
        let at = tempfile::tempdir().unwrap();
        let watch = Watch::new().unwrap();
        watch.add(at.path(), "/slice");
        assert_eq!(watch.changed(), Changed::In(BTreeSet::new()));
        let slice = || Changed::In(BTreeSet::from(["/slice".to_owned()]));
        fs::create_dir(at.path().join("web")).unwrap();
        assert_eq!(watch.changed(), slice());
        fs::remove_dir(at.path().join("web")).unwrap();
        assert_eq!(watch.changed(), slice());
        watch.retain(|folder| folder != "/slice");
        fs::create_dir(at.path().join("web")).unwrap();
        assert_eq!(watch.changed(), Changed::In(BTreeSet::new()));
    }

    #[test]
    fn a_folder_that_is_made_again_is_watched_again() {
        let at = tempfile::tempdir().unwrap();
        let slice = at.path().join("slice");
        let watch = Watch::new().unwrap();
        for _ in 0..3 {
            fs::create_dir(&slice).unwrap();
            watch.add(&slice, "/slice");
            fs::create_dir(slice.join("web")).unwrap();
            let told = Changed::In(BTreeSet::from(["/slice".to_owned()]));
            assert_eq!(watch.changed(), told);
            fs::remove_dir_all(&slice).unwrap();
        }
        watch.changed();
        assert!(
            watch.folders.lock().is_empty(),
            "those that are gone are forgotten"
        );
    }
}
