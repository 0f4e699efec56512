//! A host: a network namespace and a cgroup.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    Group, Process, Room, Streams,
    group::Tree,
    netns::Netns,
    process::{self, Output},
    room,
};
use crate::Trouble;

/// Joins a cgroup, then becomes the rest: what it makes is all made in that cgroup.
const BORN_IN: &str = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;

/// One of a stage.
pub struct Host {
    /// Where its applications are born that a rule could select.
    pub app: Group,
    /// Where those are born that none selects.
    pub other: Group,
    /// Where its proxy is born.
    pub proxy: Group,
    /// All of these are in it: here a daemon is attached.
    pub group: Group,
    netns: Netns,
    folder: PathBuf,
    instance: String,
    processes: AtomicU32,
}

impl Host {
    pub(super) fn new(
        room: &Room,
        stage: u32,
        path: &str,
        name: &str,
        tree: &Tree,
    ) -> Result<Self, Trouble> {
        let folder = room.folder().join(format!("{stage}-{path}")).join(name);
        fs::create_dir_all(&folder).map_err(|error| {
            Trouble::new(format!("making the folder {}", folder.display()), error)
        })?;
        let group = tree.0.child(name)?;
        Ok(Self {
            app: group.child("app")?,
            other: group.child("other")?,
            proxy: group.child("proxy")?,
            group,
            netns: Netns::create(room.netns(stage, name))?,
            folder,
            instance: room.instance(stage, name),
            processes: AtomicU32::new(0),
        })
    }

    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A cgroup of its own for something beside application and proxy.
    ///
    /// # Errors
    /// It could not be made.
    pub fn group(&self, name: &str) -> Result<Group, Trouble> {
        self.group.child(name)
    }

    /// For the configurations and logs of what runs here.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name for a daemon here that no other of any run has.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Sets a sysctl of its network namespace, `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// The kernel does not take it.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<(), Trouble> {
        self.netns.sysctl(path, value)
    }

    /// Runs ip(8) for it.
    ///
    /// # Errors
    /// What it said.
    pub fn ip(&self, args: &[&str]) -> Result<(), Trouble> {
        self.netns.ip(args)
    }

    /// Writes a file into its folder.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf, Trouble> {
        let path = self.folder.join(name);
        fs::write(&path, content)
            .map_err(|error| Trouble::new(format!("writing {}", path.display()), error))?;
        Ok(path)
    }

    /// Starts a program here, in `group` from before it is that program.
    ///
    /// # Errors
    /// It could not be started.
    pub fn spawn<S: AsRef<OsStr>>(
        &self,
        group: &Group,
        program: impl AsRef<OsStr>,
        args: &[S],
        streams: Streams,
    ) -> Result<Process, Trouble> {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        let name = Path::new(program.as_ref()).file_name();
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let log = self.folder.join(format!("{number}-{name}.log"));
        let mut command = self.command(group, program.as_ref());
        command.args(args);
        let _making = room::making();
        Process::spawn(name, &mut command, streams, log)
    }

    /// Runs a program here to its end, as one that no rule selects, with this as its input.
    ///
    /// # Errors
    /// It could not be started, or failed: what it said.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: &[S],
        input: &str,
    ) -> Result<Output, Trouble> {
        let mut command = self.command(&self.other, program.as_ref());
        command.args(args);
        process::finish_with(&mut command, input)
    }

    fn command(&self, group: &Group, program: &OsStr) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", BORN_IN])
            .arg(group.folder())
            .arg("nsenter")
            .args(self.netns.enter())
            .arg(program)
            .current_dir(&self.folder);
        command
    }
}
