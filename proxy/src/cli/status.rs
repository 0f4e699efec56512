//! `sidetrack status`: what is attached and effective.

use clap::Args;

use super::{Exit, Failure, InstanceArgs};

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  sidetrack status\n  sidetrack status --instance blue --json")]
pub struct StatusArgs {
    /// Which daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints it.
///
/// # Errors
/// See [`Exit`].
pub fn run(_args: StatusArgs) -> Result<Exit, Failure> {
    Err(Failure::not_built("status"))
}
