//! The daemon's own log, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{Log, RecordFormat};

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.filter`; a checked configuration never gets here.
    #[error("log.filter is not a filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in this process did it first.
    #[error("the log was already set up in this process")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log, once for the process.
///
/// Under systemd the journal knows the time already, so a line begins with its level only;
/// `$JOURNAL_STREAM` tells. Colours are for terminals.
///
/// # Errors
/// See [`TelemetryError`].
pub fn start(log: &Log) -> Result<(), TelemetryError> {
    let filter: EnvFilter = log.filter.parse()?;
    let stderr = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer: Option<Box<dyn Layer<Registry> + Send + Sync>> = match (log.format, journal) {
        (RecordFormat::Off, _) => None,
        (RecordFormat::Json, _) => Some(stderr.json().flatten_event(true).boxed()),
        (RecordFormat::Text, true) => Some(stderr.with_ansi(false).without_time().boxed()),
        (RecordFormat::Text, false) => Some(stderr.with_ansi(io::stderr().is_terminal()).boxed()),
    };
    Registry::default()
        .with(layer.map(|layer| layer.with_filter(filter)))
        .try_init()?;
    Ok(())
}
