//! `sidetrack doctor`: what this kernel and host have and lack, and the fix.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, print, print_json};
use crate::{
    config::Config,
    kernel::{
        object,
        preflight::{Preflight, Verdict},
    },
};

/// Arguments of `doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  sidetrack doctor\n  \
                        sidetrack doctor --config sidetrack.toml --json")]
pub struct DoctorArgs {
    /// A configuration, to judge the limits that it sets.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `limits.connections` where no configuration is named.
const CONNECTIONS: usize = 16_384;

/// Prints every check.
///
/// # Errors
/// The configuration is wrong. What is missing is no failure of `doctor` itself: it is the
/// table, and [`Exit::Missing`].
pub fn run(args: DoctorArgs) -> Result<Exit, Failure> {
    let connections = match &args.config {
        Some(path) => Config::load(path)?.limits.connections,
        None => CONNECTIONS,
    };
    let preflight = Preflight::probe(object::EMBEDDED, connections);
    if args.json {
        print_json(&preflight)?;
    } else {
        print(&report(&preflight))?;
    }
    Ok(match preflight.is_missing_something() {
        true => Exit::Missing,
        false => Exit::Done,
    })
}

fn report(preflight: &Preflight) -> String {
    let width = preflight.checks.iter().map(|check| check.name.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for check in &preflight.checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Missing => "MISSING",
        };
        text += &format!("{verdict:<7}  {:<width$}  {}\n", check.name, check.seen);
        if let Some(fix) = &check.fix {
            text += &format!("{:<7}  {:<width$}  fix: {fix}\n", "", "");
        }
    }
    text
}
