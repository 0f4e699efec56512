//! What a demo puts on this machine, and how it goes away again: at the end, on an error, a panic,
//! Ctrl-C or SIGTERM, and after SIGKILL at the start of the next demo.
//!
//! Everything bears the demo's process id, so that it is found by name whatever happened: network
//! namespaces `st-demo-PID-*`, one cgroup `st-demo-PID`, one folder `sidetrack-demo-PID`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use signal_hook::{consts, iterator::Signals};

use crate::{cmd, test::preflight::cgroup2_root};

mod props;

use props::{PREFIX, Props, dead_demos};

/// Held while something is made, and for ever by an interrupt's clean-up, so that nothing is made
/// behind its back.
static STANDING: Mutex<()> = Mutex::new(());

/// Waits for ever once an interrupt cleans up.
pub(super) fn hold() -> MutexGuard<'static, ()> {
    STANDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of one demo.
pub(super) struct Stage {
    props: Props,
    struck: bool,
}

impl Stage {
    /// Cleans up after demos that were killed, and makes this one's place.
    pub(super) fn open(binary: PathBuf) -> Result<Self> {
        let cgroups = cgroup2_root()?;
        for pid in dead_demos(&cgroups)? {
            println!("Removing what demo {pid} left: it failed or was killed.");
            Props {
                pid,
                cgroups: cgroups.clone(),
                binary: binary.clone(),
            }
            .remove(true)?;
        }
        let props = Props {
            pid: process::id(),
            cgroups,
            binary,
        };
        let stage = Self {
            props: props.clone(),
            struck: false,
        };
        strike_on_signals(props)?;
        let _standing = hold();
        for folder in [stage.props.folder(), stage.props.cgroup()] {
            fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        Ok(stage)
    }

    /// The daemon's binary.
    pub(super) fn binary(&self) -> &Path {
        &self.props.binary
    }

    /// For configuration, keys, logs and captures.
    pub(super) fn folder(&self) -> PathBuf {
        self.props.folder()
    }

    /// For what `cargo xtask certs` makes.
    pub(super) fn certificates_folder(&self) -> PathBuf {
        self.folder().join("certs")
    }

    /// Makes the files of `cargo xtask certs`, for this demo alone.
    pub(super) fn certificates(&self) -> Result<()> {
        let mut command = Command::new(self.binary());
        command.args(["certs", "dev", "--profiles"]);
        command.arg(cmd::root().join("certs/profiles.toml"));
        command.arg("--dir").arg(self.certificates_folder());
        cmd::output(&mut command).map(drop)
    }

    /// The name of something of this demo.
    pub(super) fn name(&self, part: &str) -> String {
        format!("{PREFIX}{}-{part}", self.props.pid)
    }

    /// Makes a cgroup; returns its path below the cgroup2 root.
    pub(super) fn cgroup(&self, part: &str) -> Result<String> {
        let _standing = hold();
        let folder = self.props.cgroup().join(part);
        fs::create_dir(&folder)
            .with_context(|| format!("creating the cgroup {}", folder.display()))?;
        Ok(format!("/{PREFIX}{}/{part}", self.props.pid))
    }

    /// The folder of a cgroup in the file system.
    pub(super) fn cgroup_folder(&self, cgroup: &str) -> PathBuf {
        self.props.cgroups.join(cgroup.trim_start_matches('/'))
    }

    /// Takes everything away.
    pub(super) fn strike(mut self) -> Result<()> {
        self.struck = true;
        let _standing = hold();
        self.props.remove(true)
    }

    /// Takes everything away but the folder, which is returned.
    pub(super) fn strike_but_logs(mut self) -> Result<PathBuf> {
        self.struck = true;
        let _standing = hold();
        self.props.remove(false)?;
        Ok(self.props.folder())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.struck {
            return;
        }
        let _standing = hold();
        if let Err(error) = self.props.remove(true) {
            eprintln!("clean-up: {error:#}; the next `cargo xtask demo` tries again");
        }
    }
}

fn strike_on_signals(props: Props) -> Result<()> {
    let mut signals = Signals::new([consts::SIGINT, consts::SIGTERM, consts::SIGHUP])
        .context("waiting for signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _for_ever = hold();
            eprintln!("\nInterrupted: removing the demo's hosts.");
            if let Err(error) = props.remove(true) {
                eprintln!("clean-up: {error:#}; the next `cargo xtask demo` tries again");
            }
            process::exit(128 + signal);
        }
    });
    Ok(())
}
