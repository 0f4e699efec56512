//! Why pins cannot be had.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::holder::Holder;

/// Why pins cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// No bpf file system.
    #[error("finding a bpf file system: {0}; mount one: `mount -t bpf bpf /sys/fs/bpf`")]
    NoBpffs(io::Error),
    /// Another process has them.
    #[error(
        "{} is in use by {holder}; its programs and rules are in force; stop it, or choose \
         another daemon.instance",
        folder.display()
    )]
    Held {
        /// The instance's folder.
        folder: PathBuf,
        /// Who.
        holder: Holder,
    },
    /// A file cannot be made, read or removed.
    #[error(
        "{doing} {}: {source}; it needs root and a writable bpf file system",
        path.display()
    )]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl PinError {
    pub(super) fn file(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            doing,
            path: path.into(),
            source,
        }
    }
}
