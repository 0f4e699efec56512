//! Writing keys and certificates: whole or not at all, and never over another by accident.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::CertsError;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Its owner: mode 0600.
    Private,
    /// Everybody: mode 0644, as far as the umask allows.
    Public,
}

/// What happens to a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails.
    Keep,
    /// It is replaced in one step.
    Replace,
}

impl From<bool> for Existing {
    /// From a `--force` flag.
    fn from(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// Writes a file. A reader sees the old one or the new one, never a part; a new file has its
/// mode from the first moment, so that nobody can hold a key open from before.
///
/// # Errors
/// `Exists` if it is there and is to be kept, `File` if writing fails.
pub fn write(
    path: &Path,
    contents: &[u8],
    secrecy: Secrecy,
    existing: Existing,
) -> Result<(), CertsError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => CertsError::Exists { path: path.into() },
        _ => CertsError::File {
            doing: "writing",
            path: path.into(),
            source,
        },
    };
    let staged = Staged::create(path, secrecy).map_err(failed)?;
    staged.fill(contents).map_err(failed)?;
    match existing {
        Existing::Replace => fs::rename(&staged.path, path),
        // Unlike rename(2), link(2) refuses to replace.
        Existing::Keep => fs::hard_link(&staged.path, path),
    }
    .map_err(failed)
}

/// Makes sure that none of `paths` exists, before the first of a set is written.
///
/// # Errors
/// `Exists`, naming the first that does.
pub fn none_exists(paths: &[PathBuf]) -> Result<(), CertsError> {
    match paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(CertsError::Exists { path: path.clone() }),
        None => Ok(()),
    }
}

/// Makes a folder and those above it.
///
/// # Errors
/// If it cannot be made.
pub fn make_folder(path: &Path) -> Result<(), CertsError> {
    fs::create_dir_all(path).map_err(|source| CertsError::File {
        doing: "creating the folder",
        path: path.into(),
        source,
    })
}

/// Reads a file as text.
///
/// # Errors
/// If it cannot be read or is not text.
pub fn read_text(path: &Path) -> Result<String, CertsError> {
    fs::read_to_string(path).map_err(|source| CertsError::File {
        doing: "reading",
        path: path.into(),
        source,
    })
}

/// A file beside its place, removed unless it was moved there.
struct Staged {
    path: PathBuf,
    file: File,
}

impl Staged {
    fn create(target: &Path, secrecy: Secrecy) -> io::Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        let mut staged = std::ffi::OsString::from(".");
        staged.push(name);
        staged.push(format!(".{}", std::process::id()));
        let path = target.with_file_name(staged);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(match secrecy {
                Secrecy::Private => 0o600,
                Secrecy::Public => 0o644,
            })
            .open(&path)?;
        Ok(Self { path, file })
    }

    fn fill(&self, contents: &[u8]) -> io::Result<()> {
        (&self.file).write_all(contents)?;
        self.file.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}
