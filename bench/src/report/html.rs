//! The report for people.
use super::Report;
use crate::{Trouble, compare::Comparison};
use std::path::Path;
impl Report {
    /// Writes it for people.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_html(
        &self,
        _comparison: Option<&Comparison>,
        _path: &Path,
    ) -> Result<(), Trouble> {
        Ok(())
    }
}
