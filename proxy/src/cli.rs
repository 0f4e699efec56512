//! What people type.
//!
//! Nouns read, verbs change. Each command is a module with its arguments and a
//! `run(arguments) -> Result<Exit, Failure>`; `main` prints the failure and exits with its code.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::{ExitCode, Termination},
};

use clap::{Args, Parser, Subcommand};

use crate::{
    canary::{self, child::CanaryArgs},
    config::{ConfigErrors, Instance, default_runtime_dir},
    control,
    kernel::pins::{self, PinName},
};

pub mod bench;
pub mod certs;
pub mod check;
pub mod close;
pub mod connections;
pub mod detach;
pub mod doctor;
pub mod exec;
pub mod explain;
pub mod guard;
pub mod run;
pub mod sockets;
pub mod status;

const AFTER_HELP: &str = "\
Examples:
  sidetrack exec -- curl http://10.1.2.3:8080/
  sidetrack check --config /etc/sidetrack/sidetrack.toml
  sidetrack run --config /etc/sidetrack/sidetrack.toml
  sidetrack status

Exit codes:
   0  done
   1  failed
   2  wrong usage
  77  a privilege or a kernel feature is missing; the message names it
  78  the configuration is wrong
exec exits with the code of its command.";

/// eBPF socket redirector: mutual TLS between hosts for unchanged applications.
#[derive(Debug, Parser)]
#[command(name = "sidetrack", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Run(run::RunArgs),
    /// Run one command and its children, redirected, without a daemon.
    Exec(exec::ExecArgs),
    /// Put the rules in force before there is a daemon: for the boot.
    Guard(guard::GuardArgs),
    /// Validate a configuration and print every error of it.
    Check(check::CheckArgs),
    /// Show what is attached and effective in the kernel.
    Status(status::StatusArgs),
    /// Tell which rule decides for a connection, and why.
    Explain(explain::ExplainArgs),
    /// List the connections that are relayed now.
    Connections(connections::ConnectionsArgs),
    /// List the connections that go past the redirect, and why.
    Sockets(sockets::SocketsArgs),
    /// Close connections that go past the redirect: their applications connect again.
    Close(close::CloseArgs),
    /// Show what this kernel and host have and lack, and the fix.
    Doctor(doctor::DoctorArgs),
    /// Make and inspect certificates: a small CA for people without one.
    Certs(certs::CertsArgs),
    /// Remove all that is attached, and what a dead daemon left.
    Detach(detach::DetachArgs),
    /// Measure what interception and mutual TLS cost on this host.
    Bench(bench::BenchArgs),
    /// An end of a path that `bench` measures.
    #[command(hide = true)]
    BenchAgent(bench::BenchAgentArgs),
    /// The child of `exec`: enters the cgroup, drops privileges, becomes the command.
    #[command(hide = true)]
    ExecStage(exec::stage::ExecStageArgs),
    /// The child of the daemon that connects through the redirect.
    #[command(hide = true)]
    Canary(CanaryArgs),
}

/// Which daemon a command is about.
#[derive(Args, Clone, Debug)]
pub struct InstanceArgs {
    /// Name of the instance, as in daemon.instance.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = instance)]
    pub instance: Instance,
    /// Folder of its control socket, as in daemon.runtime_dir.
    #[arg(long, value_name = "DIR", default_value_os_t = default_runtime_dir())]
    pub runtime_dir: PathBuf,
}

/// What came of a question.
pub enum Answer {
    /// The daemon's answer.
    Said(serde_json::Value),
    /// No daemon of the instance runs, which is a failure for whoever needs one.
    NotRunning(Failure),
    /// Somebody has the control socket and says nothing.
    Silent(Failure),
}

impl InstanceArgs {
    /// Asks the daemon.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub fn ask(&self, question: control::Question) -> Result<serde_json::Value, Failure> {
        match self.ask_if_running(question)? {
            Answer::Said(answer) => Ok(answer),
            Answer::NotRunning(failure) | Answer::Silent(failure) => Err(failure),
        }
    }

    /// Asks the daemon, if there is one.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn ask_if_running(&self, question: control::Question) -> Result<Answer, Failure> {
        let path = control::socket_path(&self.runtime_dir, &self.instance);
        let error = match control::ask(&path, question) {
            Ok(answer) => return Ok(Answer::Said(answer)),
            Err(error) => error,
        };
        let failure = |fix| {
            let doing = format!("asking the daemon at {}", path.display());
            Failure::new(Exit::Failed, doing).because(&error).fix(fix)
        };
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let in_force = pins::is_in_force(&PinName::of(&self.instance));
                Ok(Answer::NotRunning(failure(if in_force {
                    "no daemon of this instance runs, but its rules are in force: each connection \
                     gets its rule's fail mode. Start one with `sidetrack run`, or remove the \
                     rules with `sidetrack detach`"
                } else {
                    "no daemon of this instance runs; start one with `sidetrack run`, or name \
                     another with --instance and --runtime-dir"
                })))
            }
            io::ErrorKind::PermissionDenied => {
                Err(failure("run this as the user that runs the daemon"))
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Answer::Silent(failure(
                "it does not answer: look at its state and its log, `sidetrack status` says what \
                 the kernel tells of it",
            ))),
            _ => Err(failure("look at the daemon's log")),
        }
    }
}

fn instance(text: &str) -> Result<Instance, crate::config::validate::BadInstance> {
    text.parse()
}

impl Cli {
    /// Does what was typed.
    ///
    /// # Errors
    /// The command's failure, with its exit code.
    pub fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Exec(args) => exec::run(args),
            Command::Guard(args) => guard::run(args),
            Command::Check(args) => check::run(args),
            Command::Status(args) => status::run(args),
            Command::Explain(args) => explain::run(args),
            Command::Connections(args) => connections::run(args),
            Command::Sockets(args) => sockets::run(args),
            Command::Close(args) => close::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Certs(args) => certs::run(&args)
                .map(|()| Exit::Done)
                .map_err(|error| Failure::new(Exit::Failed, "certs").because(error.as_ref())),
            Command::Detach(args) => detach::run(args),
            Command::Bench(args) => bench::run(args),
            Command::BenchAgent(args) => bench::agent(&args),
            Command::ExecStage(args) => exec::stage::become_command(args),
            Command::Canary(args) => canary::child::connect(&args),
        }
    }
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 77: a privilege or kernel feature is missing (`EX_NOPERM`).
    Missing,
    /// 78: the configuration is wrong (`EX_CONFIG`).
    Config,
    /// The code of the command that `exec` ran.
    Command(u8),
}

impl Exit {
    /// The code that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Missing => 77,
            Self::Config => 78,
            Self::Command(code) => code,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.code().into()
    }
}

/// Why a command failed: what was being done, the causes, and the fix.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    causes: Vec<String>,
    fix: Option<String>,
}

impl Failure {
    /// What was being done, and to what.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            causes: Vec::new(),
            fix: None,
        }
    }

    /// Adds an error and all its sources as causes.
    #[must_use]
    pub fn because(mut self, error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // thiserror's transparent variants say the same twice.
            if self.causes.last() != Some(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// What the reader should do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether there is nothing to say: the reader of our output went away.
    pub fn is_silent(&self) -> bool {
        self.what.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {cause}")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "\n  fix: {fix}")?;
        }
        Ok(())
    }
}

impl Error for Failure {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(
            Exit::Config,
            format!("the configuration is wrong\n{errors}"),
        )
    }
}

/// Writes to standard output. A reader that went away (`| head`) is no failure worth a word.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
        _ => Failure::new(Exit::Failed, "writing to standard output failed").because(&error),
    })
}

/// Writes a value as indented JSON to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::Failed, "making JSON failed").because(&error))?;
    print(&(text + "\n"))
}

/// What stands at a JSON pointer (RFC 6901) of a daemon's answer; null if it is of a version that
/// does not say it.
pub(crate) fn at<'a>(answer: &'a serde_json::Value, pointer: &str) -> &'a serde_json::Value {
    answer.pointer(pointer).unwrap_or(&serde_json::Value::Null)
}

/// Rows under headings, in columns as wide as their widest cell.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut headings.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests;
