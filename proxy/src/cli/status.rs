//! `sidetrack status`: what is attached and effective.

use clap::Args;
use serde::Deserialize as _;
use serde_json::Value;

use super::{Answer, Exit, Failure, InstanceArgs, at, print, print_json};
use crate::{
    control::Question,
    kernel::{
        effective::{
            Hook,
            left::{self, LeftInForce},
            others,
        },
        pins::{self, PinError, PinName},
    },
};

mod report;

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
/// [`Exit::Failed`] if there is no daemon and nothing of it. What is not effective is the table's,
/// and [`Exit::Failed`] too.
pub fn run(args: StatusArgs) -> Result<Exit, Failure> {
    let mut status = match args.of.ask_if_running(Question::Status)? {
        Answer::Said(status) => status,
        Answer::NotRunning(failure) => left_in_force(&args.of, failure)?,
        Answer::Silent(failure) => past_the_daemon(&args.of, failure)?,
    };
    name_programs(&mut status);
    if args.json {
        print_json(&status)?;
    } else {
        print(&report::of(&status))?;
    }
    Ok(match at(&status, "/effective").as_bool() {
        Some(true) => Exit::Done,
        _ => Exit::Failed,
    })
}

/// What the pins of the instance say, if it has any.
fn left_in_force(of: &InstanceArgs, not_running: Failure) -> Result<Value, Failure> {
    let name = PinName::of(&of.instance);
    match left::look(&name) {
        Ok(None) => Err(not_running),
        Ok(Some(found)) => json(&found),
        Err(error @ PinError::Held { .. }) => Err(not_running
            .because(&error)
            .fix("name the folder of that daemon's control socket with --runtime-dir")),
        Err(error) => Err(not_running.because(&error)),
    }
}

/// What the pins say of a daemon that does not.
fn past_the_daemon(of: &InstanceArgs, silent: Failure) -> Result<Value, Failure> {
    let name = PinName::of(&of.instance);
    let Some(holder) = pins::holder(&name) else {
        return Err(silent);
    };
    let found = left::look_past(&name, holder);
    json(&found.map_err(|error| silent.because(&error))?)
}

fn json(found: &LeftInForce) -> Result<Value, Failure> {
    serde_json::to_value(found)
        .map_err(|error| Failure::new(Exit::Failed, "making JSON failed").because(&error))
}

/// Whose each program is: a daemon without CAP_SYS_ADMIN cannot tell. What follows for ours is put
/// under `warnings`.
fn name_programs(status: &mut Value) {
    let Some(found) = status.get("hooks") else {
        return;
    };
    // A daemon of another version may say it otherwise, and is then shown as it says it.
    let Ok(mut hooks) = Vec::<Hook>::deserialize(found) else {
        return;
    };
    others::name(&mut hooks);
    let warnings = others::after_ours(&hooks);
    if let Some(status) = status.as_object_mut()
        && let Ok(hooks) = serde_json::to_value(hooks)
    {
        status.insert("hooks".into(), hooks);
        status.insert("warnings".into(), warnings.into());
    }
}
