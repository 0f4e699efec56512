//! `sidetrack close`: ends connections past the redirect.

use clap::Args;

use super::{
    Exit, Failure, InstanceArgs, at, print, print_json,
    sockets::{known, report},
};
use crate::{control::Question, uncovered::close::Which};

/// Arguments of `close`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  sidetrack close --uncovered --dry-run\n  sidetrack close --uncovered --rule api"
)]
pub struct CloseArgs {
    /// Which daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
    /// Those that `sidetrack sockets` lists, but for those that may have been accepted and those
    /// that no process has open. Their applications see ECONNABORTED.
    #[arg(long, required = true)]
    pub uncovered: bool,
    /// Only those past this rule.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// Only those that this process has open.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Only those in this network namespace: `host` for the daemon's own, else its cookie or what
    /// `sidetrack status` shows.
    #[arg(long)]
    pub netns: Option<String>,
    /// Close none; print those that would be.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Closes them and prints which.
///
/// # Errors
/// [`Exit::Failed`] if there is no daemon, or the kernel does not close them.
pub fn run(args: CloseArgs) -> Result<Exit, Failure> {
    let doing = "closing connections past the redirect";
    let outcome = args.of.ask(Question::Close(Which {
        rule: args.rule,
        pid: args.pid,
        netns: args.netns,
        dry_run: args.dry_run,
    }))?;
    if args.json {
        print_json(&outcome)?;
    } else {
        let none = "no such connection is past the redirect\n";
        print(&report(at(&outcome, "/closed"), none))?;
        if let Some(left @ 1..) = at(&outcome, "/left").as_u64() {
            print(&format!(
                "{left} more are past the redirect and were left: `sidetrack sockets` lists them\n"
            ))?;
        }
    }
    known(&outcome, doing)?;
    Ok(Exit::Done)
}
