//! A configuration, and the daemon's start with it.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::Daemon;
use crate::{
    cgroup::Cgroup,
    host::{Host, World},
    pki::{Credential, Flaw},
    process::{Finished, Running},
    sidetrack_bin,
    status::Status,
    wait::DEADLINE,
};

/// A configuration about to be run.
pub struct Setup {
    host: Host,
    instance: String,
    intercept: String,
    more_intercept: String,
    cgroup: PathBuf,
    credential: Credential,
    bundles: [PathBuf; 2],
    crl: Option<PathBuf>,
    drain: &'static str,
    heartbeat: &'static str,
    sections: String,
    dir: PathBuf,
}

impl Setup {
    /// A daemon of `world`'s `host` that intercepts the host's applications.
    pub fn new(world: &World, host: &Host) -> Self {
        let pki = &world.pki;
        Self {
            host: host.clone(),
            instance: host.unique(),
            intercept: host.apps().name(),
            more_intercept: String::new(),
            cgroup: host.daemons().path().to_owned(),
            credential: pki.credential(host.letter(), Flaw::None),
            bundles: [pki.bundle(), pki.other_bundle()],
            crl: None,
            drain: "10s",
            heartbeat: "3s",
            sections: String::new(),
            dir: host.dir().join("daemon"),
        }
    }

    /// Adds TOML: rules, limits.
    pub fn with(mut self, toml: impl AsRef<str>) -> Self {
        self.sections.push_str(toml.as_ref());
        self.sections.push('\n');
        self
    }

    /// Another certificate than the good one.
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// How long a daemon that does not move is taken for alive.
    pub fn heartbeat(mut self, heartbeat: &'static str) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// `sidetrack guard` with this configuration.
    #[track_caller]
    pub fn guard(&self) -> Finished {
        let mut command = self.host.command_in(&self.cgroup, sidetrack_bin());
        command.args(["guard", "--config"]).arg(self.write());
        Running::spawn(command).finish_within(DEADLINE)
    }

    /// Runs `status` for the instance, whatever it says.
    #[track_caller]
    pub fn status(&self) -> Status {
        Status::ask(&self.host, &self.instance, &self.dir.join("run"))
    }

    /// Another bundle of `example.org` than its own.
    pub fn bundle(mut self, bundle: PathBuf) -> Self {
        self.bundles[0] = bundle;
        self
    }

    /// A revocation list of `example.org`.
    pub fn crl(mut self, list: PathBuf) -> Self {
        self.crl = Some(list);
        self
    }

    /// Its instance's name.
    pub fn instance_name(&self) -> &str {
        &self.instance
    }

    /// Another instance's name, with files of its own.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = name.into();
        self.dir = self.host.dir().join(&self.instance);
        self
    }

    /// Another cgroup to intercept than that of the host's applications.
    pub fn intercept(mut self, cgroup: &Cgroup) -> Self {
        self.intercept = cgroup.name();
        self
    }

    /// `intercept.netns`.
    pub fn netns<S: Into<String>>(self, sources: impl IntoIterator<Item = S>) -> Self {
        let sources: Vec<String> = sources.into_iter().map(Into::into).collect();
        self.more_intercept(&format!("netns = {sources:?}\n"))
    }

    /// Another cgroup in which the daemon is started.
    pub fn born_in(mut self, cgroup: &Path) -> Self {
        self.cgroup = cgroup.to_owned();
        self
    }

    /// Adds keys to `[intercept]`.
    pub fn more_intercept(mut self, toml: &str) -> Self {
        self.more_intercept.push_str(toml);
        self
    }

    /// `daemon.drain`.
    pub fn drain(mut self, time: &'static str) -> Self {
        self.drain = time;
        self
    }

    /// The configuration as text.
    pub fn toml(&self) -> String {
        format!(
            r#"version = 1
[daemon]
instance = "{instance}"
runtime_dir = "{dir}/run"
drain = "{drain}"
heartbeat = "{heartbeat}"
[log]
access = "json"
access_file = "{dir}/access.json"
[intercept]
cgroup = "{cgroup}"
{more_intercept}
[identity.own]
certificate = "{certificate}"
private_key = "{key}"
[trust."example.org"]
bundle = "{ours}"
{crl}
[trust."other.example"]
bundle = "{other}"
{sections}"#,
            instance = self.instance,
            dir = self.dir.display(),
            drain = self.drain,
            heartbeat = self.heartbeat,
            cgroup = self.intercept,
            more_intercept = self.more_intercept,
            certificate = self.credential.certificate.display(),
            key = self.credential.key.display(),
            ours = self.bundles[0].display(),
            crl = self
                .crl
                .as_ref()
                .map_or_else(String::new, |list| format!("crl = {:?}", list.display())),
            other = self.bundles[1].display(),
            sections = self.sections,
        )
    }

    /// Writes the configuration and gives its path.
    pub fn write(&self) -> PathBuf {
        fs::create_dir_all(self.dir.join("run")).expect("make a folder");
        let path = self.dir.join("sidetrack.toml");
        fs::write(&path, self.toml()).expect("write the configuration");
        path
    }

    /// `sidetrack run` with this configuration.
    pub fn command(&self) -> Command {
        let mut command = self.host.command_in(&self.cgroup, sidetrack_bin());
        command.args(["run", "--config"]).arg(self.write());
        command
    }

    /// Runs it to its end: for configurations and hosts with which it must not start.
    #[track_caller]
    pub fn fails(&self) -> Finished {
        Running::spawn(self.command()).finish_within(DEADLINE)
    }

    /// Starts it and waits until it says that it is ready.
    #[track_caller]
    pub fn start(self) -> Daemon {
        let mut command = self.command();
        let socket = self.dir.join("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("make the notify socket");
        command.env("NOTIFY_SOCKET", &socket);
        let told = listen(notify);
        let mut daemon = Daemon {
            running: Some(Running::spawn(command)),
            config: self.dir.join("sidetrack.toml"),
            access: self.dir.join("access.json"),
            runtime_dir: self.dir.join("run"),
            instance: self.instance,
            host: self.host,
            told,
        };
        daemon.wait_told("READY=1", 1);
        daemon
    }
}

/// Collects what the daemon tells, for as long as the socket's other end may live.
fn listen(notify: UnixDatagram) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let weak = Arc::downgrade(&told);
    notify
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("set a timeout");
    std::thread::spawn(move || {
        let mut datagram = [0; 4096];
        while let Some(told) = weak.upgrade() {
            if let Ok(length) = notify.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                told.lock().expect("lock").push(text);
            }
        }
    });
    told
}
