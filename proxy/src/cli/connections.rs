//! `sidetrack connections`: live relays.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::Value;

use super::{Exit, Failure, InstanceArgs, at, print, print_json, table};
use crate::control::Question;

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
/// [`Exit::Failed`] if there is no daemon.
pub fn run(args: ConnectionsArgs) -> Result<Exit, Failure> {
    let connections = args.of.ask(Question::Connections)?;
    if args.json {
        print_json(&connections)?;
        return Ok(Exit::Done);
    }
    let connections = connections.as_array().cloned().unwrap_or_default();
    if connections.is_empty() {
        print("no connections\n")?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = connections.iter().map(row).collect();
    let headings = [
        "DIRECTION",
        "AGE",
        "SOURCE",
        "DESTINATION",
        "RULE",
        "CARRIED",
        "IDENTITY",
        "PEER",
    ];
    print(&table(&headings, &rows))?;
    Ok(Exit::Done)
}

fn row(connection: &Value) -> Vec<String> {
    let text = |key: &str| {
        at(connection, &format!("/{key}"))
            .as_str()
            .unwrap_or("-")
            .to_owned()
    };
    let since = Duration::from_secs(at(connection, "/since").as_u64().unwrap_or_default());
    let age = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH + since)
        .unwrap_or_default();
    vec![
        text("direction"),
        humantime::format_duration(Duration::from_secs(age.as_secs())).to_string(),
        text("source"),
        text("destination"),
        text("rule"),
        text("carriage"),
        text("identity"),
        text("peer_identity"),
    ]
}
