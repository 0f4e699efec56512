//! One daemon for each instance name.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
};

use nix::fcntl::{Flock, FlockArg};

use crate::config::Instance;

/// Held for as long as the daemon of an instance lives; the kernel lets go of it whatever kills
/// the process.
#[derive(Debug)]
pub struct InstanceLock {
    _file: Flock<File>,
}

/// Why an instance cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It runs already.
    #[error("the instance {instance:?} is in use by process {holder} (it holds {})", path.display())]
    Held {
        /// Its name.
        instance: String,
        /// Who says to hold it.
        holder: String,
        /// The lock's file.
        path: PathBuf,
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
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unwritable)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // Who holds it, for the message of the next one who tries.
                let written = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| write!(file, "{}", process::id()));
                written.map_err(unwritable)?;
                Ok(Self { _file: file })
            }
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                Err(LockError::Held {
                    instance: instance.to_string(),
                    holder,
                    path,
                })
            }
            Err((_, errno)) => Err(unwritable(errno.into())),
        }
    }
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
}
