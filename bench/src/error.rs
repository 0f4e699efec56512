//! What went wrong, for the person who started the benchmark.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

/// What was being done, why it failed, and what helps.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Trouble {
    doing: String,
    cause: String,
    fix: Option<String>,
    missing: bool,
}

impl Trouble {
    /// `doing` failed because of `cause`.
    pub fn new(doing: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self {
            doing: doing.into(),
            cause: cause.to_string(),
            fix: None,
            missing: false,
        }
    }

    /// The same where a privilege, a program or a feature of the kernel is missing.
    pub fn missing(doing: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self {
            missing: true,
            ..Self::new(doing, cause)
        }
    }

    /// What helps.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Whether something is missing on this host, rather than broken.
    pub fn is_missing(&self) -> bool {
        self.missing
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.cause)?;
        match &self.fix {
            Some(fix) => write!(f, "\n  fix: {fix}"),
            None => Ok(()),
        }
    }
}

impl Error for Trouble {}
