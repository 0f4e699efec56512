//! `sidetrack run`: the daemon.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  sidetrack run --config /etc/sidetrack/sidetrack.toml")]
pub struct RunArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs until SIGTERM.
///
/// # Errors
/// See [`Exit`].
pub fn run(_args: RunArgs) -> Result<Exit, Failure> {
    Err(Failure::not_built("run"))
}
