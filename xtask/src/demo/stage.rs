//! What a demo puts on this machine, and how it goes away again: at the end, on an error, a panic,
//! Ctrl-C or SIGTERM, and after SIGKILL at the start of the next demo.
//!
//! Everything bears the demo's process id, so that it is found by name whatever happened: network
//! namespaces `st-demo-PID-*`, one cgroup `st-demo-PID`, one folder `sidetrack-demo-PID`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{sys::signal::Signal, unistd::Pid};
use signal_hook::{consts, iterator::Signals};

use crate::{cmd, test::preflight::cgroup2_root};

const PREFIX: &str = "st-demo-";
const FOLDER: &str = "sidetrack-demo-";
/// For daemons to drain and detach.
const TERM: Duration = Duration::from_secs(8);
/// For the kernel to take a killed process away.
const KILL: Duration = Duration::from_secs(3);

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
            println!("Removing what the killed demo {pid} left.");
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

/// Process ids of demos that left something and no longer run.
fn dead_demos(cgroups: &Path) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for (folder, prefix) in [
        (Path::new("/run/netns"), PREFIX),
        (cgroups, PREFIX),
        (&env::temp_dir(), FOLDER),
    ] {
        for name in names(folder)? {
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if let Ok(pid) = digits.parse::<u32>() {
                pids.push(pid);
            }
        }
    }
    pids.sort_unstable();
    pids.dedup();
    // The id may have gone to another program meanwhile.
    pids.retain(|pid| {
        *pid != process::id()
            && !fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm.trim() == "xtask")
    });
    Ok(pids)
}

/// Everything that one demo can have made.
#[derive(Clone)]
struct Props {
    pid: u32,
    cgroups: PathBuf,
    binary: PathBuf,
}

impl Props {
    fn cgroup(&self) -> PathBuf {
        self.cgroups.join(format!("{PREFIX}{}", self.pid))
    }

    fn folder(&self) -> PathBuf {
        env::temp_dir().join(format!("{FOLDER}{}", self.pid))
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        let prefix = format!("{PREFIX}{}-", self.pid);
        Ok(names(Path::new("/run/netns"))?
            .into_iter()
            .filter(|name| name.starts_with(&prefix))
            .collect())
    }

    fn remove(&self, with_folder: bool) -> Result<()> {
        let namespaces = self.namespaces()?;
        let killed = self.end_processes(&namespaces)?;
        for name in &namespaces {
            if killed {
                self.detach(name);
            }
            cmd::output(Command::new("ip").args(["netns", "del", name]))?;
        }
        remove_cgroup(&self.cgroup())?;
        if with_folder && self.folder().exists() {
            fs::remove_dir_all(self.folder())
                .with_context(|| format!("removing {}", self.folder().display()))?;
        }
        Ok(())
    }

    /// Ends all processes of the demo, politely first; returns whether that did not do.
    fn end_processes(&self, namespaces: &[String]) -> Result<bool> {
        for (signal, patience) in [(Signal::SIGTERM, TERM), (Signal::SIGKILL, KILL)] {
            let mut pids = self.processes(namespaces)?;
            if pids.is_empty() {
                return Ok(false);
            }
            for pid in &pids {
                // It may just have ended by itself.
                let _ = nix::sys::signal::kill(*pid, signal);
            }
            let deadline = Instant::now() + patience;
            while !pids.is_empty() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(20));
                pids = self.processes(namespaces)?;
            }
            if signal == Signal::SIGTERM && pids.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn processes(&self, namespaces: &[String]) -> Result<Vec<Pid>> {
        let mut lists = Vec::new();
        for name in namespaces {
            lists.push(cmd::output(
                Command::new("ip").args(["netns", "pids", name]),
            )?);
        }
        for cgroup in cgroup_tree(&self.cgroup())? {
            // It may vanish meanwhile.
            lists.push(fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default());
        }
        let mut pids: Vec<i32> = lists
            .iter()
            .flat_map(|list| list.lines())
            .filter_map(|pid| pid.trim().parse().ok())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        Ok(pids.into_iter().map(Pid::from_raw).collect())
    }

    /// A daemon that had to be killed may have left pins.
    fn detach(&self, instance: &str) {
        let result =
            cmd::output(Command::new(&self.binary).args(["detach", "--instance", instance]));
        if let Err(error) = result {
            eprintln!("clean-up: {error:#}");
        }
    }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                    .collect()
            })
            .with_context(|| format!("listing {}", folder.display())),
    }
}

/// The cgroup and all below it, the deepest first.
fn cgroup_tree(cgroup: &Path) -> Result<Vec<PathBuf>> {
    let mut tree = Vec::new();
    if cgroup.is_dir() {
        for name in names(cgroup)? {
            tree.extend(cgroup_tree(&cgroup.join(name))?);
        }
        tree.push(cgroup.to_path_buf());
    }
    Ok(tree)
}

fn remove_cgroup(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + KILL;
    for folder in cgroup_tree(cgroup)? {
        // Busy until the kernel has buried its last process.
        while let Err(error) = fs::remove_dir(&folder) {
            if error.kind() == io::ErrorKind::NotFound {
                break;
            }
            if Instant::now() >= deadline {
                return Err(error)
                    .with_context(|| format!("removing the cgroup {}", folder.display()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}
