//! The daemon of one host, run from an example's configuration.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    example,
    host::{Host, Running, output_of, poll},
};
use crate::cmd;

/// Where examples have the files of `cargo xtask certs`, seen from their folder.
const CERTIFICATES: &str = "../../../certs/dev";

/// A running daemon.
pub(super) struct Daemon<'a> {
    host: &'a Host<'a>,
    running: Running,
    runtime_dir: PathBuf,
}

impl<'a> Daemon<'a> {
    /// Starts it with `file` of the example `name`, for the host's applications, and waits until it is
    /// ready.
    pub(super) fn start(host: &'a Host<'a>, name: &str, file: &str) -> Result<Self> {
        Self::with(
            host,
            name,
            file,
            &[("cgroup", format!("{:?}", host.applications))],
        )
    }

    /// The same with these values in place of those of the example, as TOML.
    pub(super) fn with(
        host: &'a Host<'a>,
        name: &str,
        file: &str,
        values: &[(&str, String)],
    ) -> Result<Self> {
        let stage = host.stage;
        let runtime_dir = stage.folder().join(format!("run-{}", host.letter));
        fs::create_dir(&runtime_dir)
            .with_context(|| format!("creating {}", runtime_dir.display()))?;
        let from = example(name).join(file);
        let text =
            fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
        let own = [
            ("instance", format!("{:?}", host.name)),
            ("runtime_dir", format!("{runtime_dir:?}")),
        ];
        let text = text.replace(CERTIFICATES, &stage.certificates_folder().to_string_lossy());
        let text = adapt(&text, &[&own, values].concat())
            .with_context(|| format!("adapting {}", from.display()))?;
        let config = stage.folder().join(file);
        fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;

        let mut command = host.outsider(stage.binary());
        command.args(["run", "--config"]).arg(&config);
        let running = Running::start(stage, &format!("sidetrack-{}", host.letter), &mut command)?;
        let mut daemon = Self {
            host,
            running,
            runtime_dir,
        };
        let mut status = daemon.ask("status");
        daemon.running.wait_until("ready", |_| {
            output_of(&mut status).is_ok_and(|output| output.status.success())
        })?;
        Ok(daemon)
    }

    /// What a reading command of the daemon prints.
    pub(super) fn says(&self, command: &str) -> Result<String> {
        cmd::output(&mut self.ask(command))
    }

    /// The same with arguments.
    pub(super) fn says_with(&self, command: &[&str]) -> Result<String> {
        let mut ask = self.ask(command.first().copied().unwrap_or_default());
        ask.args(command.get(1..).unwrap_or_default());
        cmd::output(&mut ask)
    }

    fn ask(&self, command: &str) -> Command {
        let mut ask = self.host.outsider(self.host.stage.binary());
        ask.args([command, "--instance", &self.host.name, "--runtime-dir"])
            .arg(&self.runtime_dir);
        ask
    }

    /// The first access record that `is_it`; records come when connections end.
    pub(super) fn record(&self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        poll(Duration::from_secs(5), || {
            let output = self.running.output();
            let records = output
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            records.into_iter().find(&is_it)
        })
        .with_context(|| {
            let log = self.running.log.with_extension("out");
            format!("no such access record in {}", log.display())
        })
    }
}

/// The example with this demo's values: its lines `key = …` are replaced, each exactly once.
fn adapt(example: &str, values: &[(&str, String)]) -> Result<String> {
    let mut lines: Vec<String> = example.lines().map(str::to_owned).collect();
    for (key, value) in values {
        let mut places = lines
            .iter_mut()
            .filter(|line| line.split_once(" = ").is_some_and(|(name, _)| name == *key));
        let (Some(line), None) = (places.next(), places.next()) else {
            bail!("it must have exactly one line `{key} = …`");
        };
        *line = format!("{key} = {value}");
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_of_the_mesh_example_can_be_adapted() {
        for file in ["client.toml", "server.toml"] {
            let text = fs::read_to_string(example("mesh").join(file)).unwrap();
            let values = [
                ("instance", "\"st-demo-1-a\"".to_owned()),
                ("runtime_dir", "\"/tmp/x\"".to_owned()),
                ("cgroup", "\"/c\"".to_owned()),
            ];
            let adapted = adapt(&text, &values).unwrap();
            assert!(
                adapted.contains("\ninstance = \"st-demo-1-a\"\n"),
                "{adapted}"
            );
        }
    }

    #[test]
    fn a_key_that_is_missing_or_there_twice_is_an_error() {
        assert!(adapt("a = 1\n", &[("b", "2".to_owned())]).is_err());
        assert!(adapt("a = 1\na = 2\n", &[("a", "2".to_owned())]).is_err());
    }
}
