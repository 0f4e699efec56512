//! The command: how it is started, what it is told, how it ended.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{self, Child, Command, ExitStatus},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, getpgrp, tcgetpgrp},
};

use super::signals::Signals;
use crate::cli::{Exit, Failure};

/// How the command ended.
pub(super) enum Ended {
    /// With this code.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

/// Starts the command in `cgroup` and waits for it; signals that are meant for it reach it.
pub(super) async fn run(
    command: &[OsString],
    cgroup: &Path,
    limit: Option<(u64, u64)>,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    if let Some(number) = signals.arrived() {
        return Ok(Ended::Killed(number));
    }
    let child = spawn(command, cgroup, limit)
        .map_err(|error| Failure::new(Exit::Failed, "starting the command").because(&error))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    // These may be from before there was a child, for which the terminal's came too early as well.
    while let Some(number) = signals.arrived() {
        send(pid, number);
    }
    let mut waiting = tokio::task::spawn_blocking(move || wait(child));
    let status = loop {
        tokio::select! {
            status = &mut waiting => break status,
            number = signals.next() => forward(pid, number),
        }
    };
    let status = status
        .map_err(io::Error::other)
        .and_then(|status| status)
        .map_err(|error| Failure::new(Exit::Failed, "waiting for the command").because(&error))?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(number)) => Ended::Killed(number),
        (None, None) => Ended::Exited(u8::MAX),
    })
}

fn wait(mut child: Child) -> io::Result<ExitStatus> {
    child.wait()
}

/// The child is this binary, which enters the cgroup, drops privileges and becomes the command:
/// the command must be in its cgroup before it makes its first socket.
///
/// It ends with the thread that starts it, which has to be the main one.
fn spawn(command: &[OsString], cgroup: &Path, limit: Option<(u64, u64)>) -> io::Result<Child> {
    let mut stage = Command::new("/proc/self/exe");
    stage.arg("exec-stage").arg("--cgroup").arg(cgroup);
    stage.arg("--proxy").arg(process::id().to_string());
    if let Some((soft, _)) = limit {
        stage.arg("--nofile").arg(soft.to_string());
    }
    if Uid::effective().is_root()
        && let (Some(uid), Some(gid), Some(user)) =
            (sudo("SUDO_UID"), sudo("SUDO_GID"), sudo("SUDO_USER"))
    {
        stage.args(["--uid", &uid, "--gid", &gid, "--user", &user]);
    }
    stage.arg("--").args(command).spawn()
}

fn sudo(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A signal from the terminal has reached the command too: it is in the same process group.
fn forward(pid: Pid, number: i32) {
    let from_keys = matches!(number, libc::SIGINT | libc::SIGQUIT);
    let in_foreground = tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp());
    if from_keys && in_foreground {
        return;
    }
    send(pid, number);
}

fn send(pid: Pid, number: i32) {
    if let Ok(signal) = Signal::try_from(number) {
        // It fails if the command has just ended, which is then what is waited for.
        let _ = kill(pid, signal);
    }
}
