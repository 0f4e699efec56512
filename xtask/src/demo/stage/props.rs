//! Everything that one demo can have made, found by name and taken away.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use crate::cmd;

pub(super) const PREFIX: &str = "st-demo-";
const FOLDER: &str = "sidetrack-demo-";
/// For daemons to drain and detach.
const TERM: Duration = Duration::from_secs(8);
/// For the kernel to take a killed process away.
const KILL: Duration = Duration::from_secs(3);

/// Everything that one demo can have made.
#[derive(Clone)]
pub(super) struct Props {
    pub(super) pid: u32,
    pub(super) cgroups: PathBuf,
    pub(super) binary: PathBuf,
}

impl Props {
    pub(super) fn cgroup(&self) -> PathBuf {
        self.cgroups.join(format!("{PREFIX}{}", self.pid))
    }

    pub(super) fn folder(&self) -> PathBuf {
        env::temp_dir().join(format!("{FOLDER}{}", self.pid))
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        let prefix = format!("{PREFIX}{}-", self.pid);
        Ok(names(Path::new("/run/netns"))?
            .into_iter()
            .filter(|name| name.starts_with(&prefix))
            .collect())
    }

    pub(super) fn remove(&self, with_folder: bool) -> Result<()> {
        let namespaces = self.namespaces()?;
        self.end_processes(&namespaces)?;
        for name in &namespaces {
            self.detach(name);
            cmd::output(Command::new("ip").args(["netns", "del", name]))?;
        }
        remove_cgroup(&self.cgroup())?;
        if with_folder && self.folder().exists() {
            fs::remove_dir_all(self.folder())
                .with_context(|| format!("removing {}", self.folder().display()))?;
        }
        Ok(())
    }

    /// Ends all processes of the demo, politely first.
    fn end_processes(&self, namespaces: &[String]) -> Result<()> {
        if !self.signal(namespaces, Signal::SIGTERM, TERM)? {
            self.signal(namespaces, Signal::SIGKILL, KILL)?;
        }
        Ok(())
    }

    /// Sends it to all of them and returns whether all ended in time.
    fn signal(&self, namespaces: &[String], signal: Signal, patience: Duration) -> Result<bool> {
        for pid in self.processes(namespaces)? {
            // It may just have ended by itself.
            let _ = signal::kill(pid, signal);
        }
        let deadline = Instant::now() + patience;
        while !self.processes(namespaces)?.is_empty() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
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

    /// A daemon that ends leaves its rules in force.
    fn detach(&self, instance: &str) {
        let result =
            cmd::output(Command::new(&self.binary).args(["detach", "--instance", instance]));
        if let Err(error) = result {
            eprintln!("clean-up: {error:#}");
        }
    }
}

/// Process ids of demos that left something and no longer run.
pub(super) fn dead_demos(cgroups: &Path) -> Result<Vec<u32>> {
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
