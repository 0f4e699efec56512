//! A host of the demo: a network namespace, and a cgroup for its applications.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::stage::{self, Stage};
use crate::cmd;

/// The end of the veth pair in each host.
pub(super) const DEVICE: &str = "veth0";

/// One of the two.
pub(super) struct Host<'a> {
    pub(super) stage: &'a Stage,
    /// `a` or `b`.
    pub(super) letter: &'static str,
    /// Name of the network namespace, and of the daemon's instance.
    pub(super) name: String,
    /// Where the applications live; what is outside is not redirected.
    pub(super) applications: String,
    /// For everything else.
    outside: String,
}

impl<'a> Host<'a> {
    fn new(stage: &'a Stage, letter: &'static str) -> Result<Self> {
        let name = stage.name(letter);
        {
            let _standing = stage::hold();
            cmd::output(Command::new("ip").args(["netns", "add", &name]))?;
        }
        let host = Self {
            applications: stage.cgroup(letter)?,
            outside: stage.cgroup(&format!("{letter}-outside"))?,
            stage,
            letter,
            name,
        };
        host.ip(&["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Two hosts on one wire: 10.77.0.1 and 10.77.0.2.
    pub(super) fn pair(stage: &'a Stage) -> Result<(Self, Self)> {
        let (a, b) = (Self::new(stage, "a")?, Self::new(stage, "b")?);
        a.ip(&[
            "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", &b.name,
        ])?;
        for (host, number) in [(&a, "1"), (&b, "2")] {
            host.ip(&[
                "addr",
                "add",
                &format!("10.77.0.{number}/24"),
                "dev",
                DEVICE,
            ])?;
            // Without duplicate address detection, which would take a second.
            host.ip(&[
                "addr",
                "add",
                &format!("fd77::{number}/64"),
                "dev",
                DEVICE,
                "nodad",
            ])?;
            host.ip(&["link", "set", DEVICE, "up"])?;
        }
        Ok((a, b))
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        let _standing = stage::hold();
        cmd::output(Command::new("ip").args(["-n", &self.name]).args(args)).map(|_| ())
    }

    /// An application on this host: in the cgroup that is redirected.
    pub(super) fn application(&self, program: impl AsRef<Path>) -> Command {
        self.command(&self.applications, program.as_ref())
    }

    /// A program on this host that is not redirected.
    pub(super) fn outsider(&self, program: impl AsRef<Path>) -> Command {
        self.command(&self.outside, program.as_ref())
    }

    /// curl on this host, among its applications.
    pub(super) fn curl(&self, arguments: &[&str]) -> Command {
        let mut command = self.application("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "10"])
            .args(arguments);
        command
    }

    fn command(&self, cgroup: &str, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            // In the cgroup before it is the program: no socket of it is made outside.
            .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(self.stage.cgroup_folder(cgroup).join("cgroup.procs"))
            // Not `ip netns exec`: that mounts a new /sys, which hides the cgroups.
            .arg("nsenter")
            .arg(format!("--net=/run/netns/{}", self.name))
            .arg("--")
            .arg(program)
            .current_dir(self.stage.folder())
            .stdin(Stdio::null());
        command
    }
}

/// A program that runs beside the demo; ended when this goes.
pub(super) struct Running {
    child: Child,
    what: String,
    /// Its standard error; its standard output has `.out` for `.err`.
    pub(super) log: PathBuf,
}

impl Running {
    /// Starts it; both its streams go to files in the stage's folder.
    pub(super) fn start(stage: &Stage, name: &str, command: &mut Command) -> Result<Self> {
        let log = stage.folder().join(format!("{name}.err"));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("creating {}", path.display()))
        };
        let _standing = stage::hold();
        let child = command
            .stdout(create(&log.with_extension("out"))?)
            .stderr(create(&log)?)
            .spawn()
            .with_context(|| format!("could not start `{}`", cmd::show(command)))?;
        Ok(Self {
            child,
            what: name.to_owned(),
            log,
        })
    }

    /// What it has written to standard error.
    pub(super) fn errors(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it has written to standard output.
    pub(super) fn output(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).unwrap_or_default()
    }

    /// Waits until `ready`; an error if it ends before, or takes more than 20 seconds.
    pub(super) fn wait_until(
        &mut self,
        what: &str,
        mut ready: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ready(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended ({status}) before {what}: {}",
                    self.what,
                    self.errors().trim()
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "{}: not {what} within 20 seconds: {}",
                    self.what,
                    self.errors().trim()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(&mut self, signal: Signal) {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return;
        };
        if matches!(self.child.try_wait(), Ok(None)) {
            // The child is not reaped yet, so the id is still its own.
            let _ = signal::kill(Pid::from_raw(pid), signal);
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop(Signal::SIGTERM);
    }
}

/// Runs it to its end.
pub(super) fn output_of(command: &mut Command) -> Result<Output> {
    command
        .output()
        .with_context(|| format!("could not start `{}`", cmd::show(command)))
}

/// Waits until `probe` gives something, for at most `patience`.
pub(super) fn poll<T>(patience: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = probe();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
