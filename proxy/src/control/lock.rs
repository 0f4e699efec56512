//! One daemon for each instance name.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};

use crate::{config::Instance, holder::Holder};

/// Held for as long as the daemon of an instance lives; the kernel lets go of it whatever kills
/// the process. Its file is removed when dropped, so that a stop leaves nothing.
#[derive(Debug)]
pub struct InstanceLock {
    file: Flock<File>,
    path: PathBuf,
}

/// Why an instance cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It runs already.
    #[error("the instance {instance:?} is in use by {holder} (it holds {})", path.display())]
    Held {
        /// Its name.
        instance: String,
        /// Who.
        holder: Holder,
        /// The lock's file.
        path: PathBuf,
    },
    /// The folder is another user's, who could answer in the daemon's place.
    #[error(
        "{} belongs to user {owner}; set daemon.runtime_dir to a folder of your own", dir.display()
    )]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The file cannot be made.
    #[error("making {}: {source}", path.display())]
    Unwritable {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl InstanceLock {
    /// Takes the lock of `instance`.
    ///
    /// # Errors
    /// [`LockError`]
    pub fn take(runtime_dir: &Path, instance: &Instance) -> Result<Self, LockError> {
        let path = runtime_dir.join(format!("{instance}.lock"));
        let unwritable = |source| LockError::Unwritable {
            path: path.clone(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(runtime_dir)
            .map_err(unwritable)?;
        let owner = fs::metadata(runtime_dir).map_err(unwritable)?.uid();
        if owner != 0 && owner != geteuid().as_raw() {
            return Err(LockError::Foreign {
                dir: runtime_dir.into(),
                owner,
            });
        }
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(unwritable)?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((file, Errno::EWOULDBLOCK)) => {
                    return Err(LockError::Held {
                        instance: instance.to_string(),
                        holder: Holder::of(&file),
                        path,
                    });
                }
                Err((_, errno)) => return Err(unwritable(errno.into())),
            };
            // Whoever held it may have removed the file between the opening and the locking: a
            // lock on a file that nobody else can find excludes nobody.
            if !is_at(&file, &path).map_err(unwritable)? {
                continue;
            }
            // Who holds it, for whoever looks into the file.
            file.set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{}", process::id()))
                .map_err(unwritable)?;
            return Ok(Self { file, path });
        }
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // Still locked: whoever opened the file before sees that it is gone, and makes a new one.
        if let Ok(true) = is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` leads to this very file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let own = file.metadata()?;
    Ok((own.dev(), own.ino()) == (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_one_daemon_and_the_message_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance("blue".into());
        let first = InstanceLock::take(dir.path(), &instance).unwrap();
        let second = InstanceLock::take(dir.path(), &instance)
            .unwrap_err()
            .to_string();
        assert!(
            second.contains("blue") && second.contains(&process::id().to_string()),
            "{second}"
        );
        drop(first);
        InstanceLock::take(dir.path(), &instance).unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_lock_that_was_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let lock = InstanceLock::take(dir.path(), &Instance("blue".into())).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(lock);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_meanwhile_is_not_taken_for_the_instances() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance("blue".into());
        let first = InstanceLock::take(dir.path(), &instance).unwrap();
        let path = first.path.clone();
        // What a second daemon has opened when the first removes it.
        let stale = File::open(&path).unwrap();
        drop(first);
        assert!(!is_at(&stale, &path).unwrap());
        let third = InstanceLock::take(dir.path(), &instance).unwrap();
        assert!(!is_at(&stale, &path).unwrap() && is_at(&third.file, &path).unwrap());
    }

    #[test]
    fn of_many_that_take_and_let_go_at_once_one_holds_it_at_a_time() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance("blue".into());
        let (holding, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while taken.load(Ordering::Relaxed) < 500 {
                        let Ok(lock) = InstanceLock::take(dir.path(), &instance) else {
                            continue;
                        };
                        assert_eq!(holding.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::Relaxed);
                        holding.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_daemon_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("blue.lock"), "4194305").unwrap();
        InstanceLock::take(dir.path(), &Instance("blue".into())).unwrap();
    }
}
