//! Running other programs: the command line is in every error, since a bare "exit status 1" helps
//! nobody.

use std::{
    env, fmt,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A privilege, program or kernel feature is missing: exit code 77.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or(xtask.clone(), Path::to_path_buf)
}

/// Cargo's target folder of the workspace.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that runs this program, in the workspace's root.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).arg(subcommand);
    command
}

/// Runs it with our own standard streams.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not start `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", show(command));
    }
    Ok(())
}

/// Runs it and returns its standard output; its standard error is part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", show(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}: {}",
            show(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it, hands each line of its standard output to `line`, and says whether it succeeded.
pub(crate) fn stream(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{}`", show(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for read in BufReader::new(stdout).lines() {
            line(&read.with_context(|| format!("reading the output of `{}`", show(command)))?);
        }
    }
    Ok(child.wait()?.success())
}

/// Runs a cargo build and returns where it put the executable of target `name`: guessed paths
/// break with every profile and target folder.
pub(crate) fn executable(build: &mut Command, name: &str) -> Result<PathBuf> {
    build.arg("--message-format=json-render-diagnostics");
    let mut found = None;
    let success = stream(build, |line| {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            return;
        };
        let is_ours = message.pointer("/target/name").and_then(|n| n.as_str()) == Some(name);
        if let Some(path) = message.get("executable").and_then(|e| e.as_str())
            && is_ours
        {
            found = Some(PathBuf::from(path));
        }
    })?;
    if !success {
        bail!(
            "`{}` failed; the compiler's messages are above",
            show(build)
        );
    }
    found.with_context(|| format!("`{}` built no executable `{name}`", show(build)))
}

/// Where `program` is. Debian keeps daemons out of an ordinary user's PATH, so both `sbin` are
/// looked in as well.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// The command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|arg| {
            let arg = arg.to_string_lossy();
            if arg.is_empty() || arg.contains([' ', '\'', '"', '$', '*', '\u{1f}']) {
                format!("{:?}", arg.replace('\u{1f}', " "))
            } else {
                arg.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let line = output(Command::new("sha256sum").arg(path))?;
    let sum = line.split_whitespace().next();
    sum.map(str::to_owned)
        .with_context(|| format!("`sha256sum {}` printed no sum", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named_in_the_error() {
        let error = exec(Command::new("false").args(["--some", "flag here"])).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`false --some \"flag here\"` failed"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_cannot_start_is_named_in_the_error() {
        let error = output(&mut Command::new("no-such-program")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("could not start `no-such-program`"),
            "{error}"
        );
    }
}
