//! `sidetrack sockets`: connections past the redirect.

use clap::Args;
use serde_json::Value;

use super::{Exit, Failure, InstanceArgs, at, print, print_json, table};
use crate::control::Question;

/// Arguments of `sockets`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  sidetrack sockets --json")]
pub struct SocketsArgs {
    /// Which daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
    /// Only those in this network namespace: `host` for the daemon's own, else its cookie or what
    /// `sidetrack status` shows.
    #[arg(long)]
    pub netns: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints them.
///
/// # Errors
/// [`Exit::Failed`] if there is no daemon, or the kernel does not tell.
pub fn run(args: SocketsArgs) -> Result<Exit, Failure> {
    let sockets = args.of.ask(Question::Sockets { netns: args.netns })?;
    known(&sockets, "listing connections past the redirect")?;
    if args.json {
        print_json(&sockets)?;
    } else {
        print(&report(&sockets, "no connection is past the redirect\n"))?;
    }
    Ok(Exit::Done)
}

/// The daemon's answer, if it is none of an error.
pub(super) fn known(answer: &Value, doing: &str) -> Result<(), Failure> {
    match at(answer, "/error").as_str() {
        Some(error) => Err(Failure::new(Exit::Failed, format!("{doing}: {error}"))),
        None => Ok(()),
    }
}

/// As a table; `none` if there is nothing.
pub(super) fn report(sockets: &Value, none: &str) -> String {
    let rows: Vec<Vec<String>> = sockets.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return none.to_owned();
    }
    let headings = [
        "PROTOCOL",
        "SOURCE",
        "DESTINATION",
        "NETNS",
        "RULE",
        "PROCESS",
        "CGROUP",
        "WHY",
    ];
    table(&headings, &rows)
}

fn row(socket: &Value) -> Vec<String> {
    let text = |pointer: &str| at(socket, pointer).as_str().unwrap_or("-").to_owned();
    let process = match at(socket, "/holders/0/pid") {
        Value::Null => "-".into(),
        pid => format!("{} ({pid})", text("/holders/0/command")),
    };
    let cgroup = match at(socket, "/holders/0/cgroup") {
        Value::Null => text("/born"),
        _ => text("/holders/0/cgroup"),
    };
    vec![
        text("/protocol"),
        text("/source"),
        text("/destination"),
        at(socket, "/namespace")
            .as_str()
            .unwrap_or("host")
            .to_owned(),
        text("/rule"),
        process,
        cgroup,
        text("/explanation"),
    ]
}
