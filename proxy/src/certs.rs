//! A small certificate authority for people without one.
//!
//! [`authority`] makes and signs (for a [`validity`]), [`files`] writes (keys are never readable by others, not even
//! for a moment), [`show`] says what a certificate is, [`profiles`] makes a set for development
//! and tests, good and bad ones. It has no database: it issues, and forgets.

use std::{io, path::PathBuf};

pub mod authority;
pub mod files;
pub mod profiles;
pub mod show;
pub mod validity;

/// Why something could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The file is there already.
    #[error("{}: it exists; choose another name, or replace it with --force", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be written or read.
    #[error("{doing} {}: {source}; check the folder and its permissions", path.display())]
    File {
        /// `reading`, `writing`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else than expected.
    #[error("{}: {problem}; {fix}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// A certificate was asked for that cannot or should not be.
    #[error("{asked}: {problem}; {fix}")]
    Request {
        /// What was asked for.
        asked: String,
        /// Why it is not made.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// Making or signing failed.
    #[error("making {what}: {source}")]
    Make {
        /// `the certificate of web`.
        what: String,
        /// What the library says.
        source: rcgen::Error,
    },
}

#[cfg(test)]
mod tests;
