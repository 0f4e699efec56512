//! `sidetrack detach`: removes all that is pinned or attached.

use clap::Args;

use super::{Exit, Failure, InstanceArgs};

/// Arguments of `detach`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  sidetrack detach --instance blue")]
pub struct DetachArgs {
    /// Which daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
}

/// Removes it.
///
/// # Errors
/// See [`Exit`].
pub fn run(_args: DetachArgs) -> Result<Exit, Failure> {
    Err(Failure::not_built("detach"))
}
