//! `sidetrack exec`: one command and its children, redirected.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::{Exit, Failure};
use crate::config::RecordFormat;

/// Arguments of `exec`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  sidetrack exec -- curl http://10.1.2.3:8080/\n  \
                  sidetrack exec --config mesh.toml --records /tmp/records -- ./service --port 80"
)]
pub struct ExecArgs {
    /// The configuration; without it everything is passed through and recorded.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where access records go: "stderr", "off", or a file.
    #[arg(long, value_name = "WHERE", default_value = "stderr", value_parser = destination)]
    pub records: RecordsTo,
    /// Form of the access records.
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = record_format)]
    pub format: RecordFormat,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub command: Vec<OsString>,
}

/// Where `exec` writes access records. Standard output belongs to the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordsTo {
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// This file.
    File(PathBuf),
}

/// Arguments of the hidden child of `exec`.
#[derive(Args, Clone, Debug)]
pub struct ExecStageArgs {
    /// Folder of the cgroup to enter.
    #[arg(long, value_name = "DIR")]
    pub cgroup: PathBuf,
    /// User to become.
    #[arg(long, requires_all = ["gid", "user"])]
    pub uid: Option<u32>,
    /// Group to become.
    #[arg(long, requires = "uid")]
    pub gid: Option<u32>,
    /// Name of that user, for its supplementary groups.
    #[arg(long, requires = "uid")]
    pub user: Option<String>,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub command: Vec<OsString>,
}

fn destination(text: &str) -> Result<RecordsTo, &'static str> {
    match text {
        "" => Err("name \"stderr\", \"off\", or a file"),
        "stderr" => Ok(RecordsTo::Stderr),
        "off" => Ok(RecordsTo::Off),
        path => Ok(RecordsTo::File(path.into())),
    }
}

fn record_format(text: &str) -> Result<RecordFormat, &'static str> {
    match text {
        "json" => Ok(RecordFormat::Json),
        "text" => Ok(RecordFormat::Text),
        _ => Err("write json or text"),
    }
}

/// Runs the command; the exit code is its own.
///
/// # Errors
/// See [`Exit`].
pub fn run(_args: ExecArgs) -> Result<Exit, Failure> {
    Err(Failure::not_built("exec"))
}

/// Becomes the command.
///
/// # Errors
/// See [`Exit`].
pub fn stage(_args: ExecStageArgs) -> Result<Exit, Failure> {
    Err(Failure::not_built("exec-stage"))
}
