//! Where access records go.

use super::Record;

/// A cheap handle to the one writer of access records.
#[derive(Clone, Debug)]
pub struct RecordSink;

impl RecordSink {
    /// Writes one record.
    pub fn write(&self, _record: &Record) {}
}
