//! `sidetrack connections`: live relays.

use clap::Args;

use super::{Exit, Failure, InstanceArgs};

/// Arguments of `connections`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  sidetrack connections --json")]
pub struct ConnectionsArgs {
    /// Which daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints them.
///
/// # Errors
/// See [`Exit`].
pub fn run(_args: ConnectionsArgs) -> Result<Exit, Failure> {
    Err(Failure::not_built("connections"))
}
