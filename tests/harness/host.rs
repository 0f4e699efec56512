//! Two hosts on one machine.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

use crate::{
    cgroup::Cgroup,
    netns::NetNs,
    pins::Pins,
    pki::Pki,
    process::{Finished, Running},
    require_root,
};

/// Joins a cgroup, then runs the rest: what it starts has every socket born in that cgroup.
/// `nsenter` and not `ip netns exec`, which mounts a new /sys without the cgroups in it.
const BORN_IN: &str = r#"echo $$ > "$1/cgroup.procs" && shift && exec "$@""#;

/// Two hosts `a` and `b`, joined by one wire.
pub struct World {
    /// 10.88.0.1 and fd88::1.
    pub a: Host,
    /// 10.88.0.2 and fd88::2.
    pub b: Host,
    /// Certificates for both.
    pub pki: Pki,
}

/// A network namespace and cgroups; cheap to clone, gone with its last clone.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    letter: char,
    number: u8,
    netns: NetNs,
    apps: Cgroup,
    daemons: Cgroup,
    dir: PathBuf,
    world: Arc<Shared>,
}

struct Shared {
    _pins: Pins,
    name: String,
    cgroup: Cgroup,
    dir: TempDir,
}

impl World {
    /// Two hosts and nothing on them.
    pub fn pair() -> Self {
        let world = Self::unwired();
        world.wire();
        world
    }

    /// Two hosts before their network is up: no address, and no interface but `lo`.
    pub fn unwired() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        require_root();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sdt{}-{count}", std::process::id());
        let dir = TempDir::with_prefix(format!("{name}-")).expect("make a folder");
        let pki = Pki::create(&dir.path().join("pki"));
        let shared = Arc::new(Shared {
            _pins: Pins(format!("{name}-")),
            cgroup: Cgroup::create(&name),
            name,
            dir,
        });
        let (a, b) = (Host::create('a', 1, &shared), Host::create('b', 2, &shared));
        Self { a, b, pki }
    }

    /// Joins them by their wire, with an address for each.
    pub fn wire(&self) {
        let wire = ["type", "veth", "peer", "name", "eth0", "netns"];
        let far = self.b.netns().name();
        self.a
            .netns()
            .ip(&[&["link", "add", "eth0"], &wire[..], &[far]].concat());
        self.a.configure_wire();
        self.b.configure_wire();
    }
}

impl Host {
    fn create(letter: char, number: u8, world: &Arc<Shared>) -> Self {
        let dir = world.dir.path().join(letter.to_string());
        std::fs::create_dir(&dir).expect("make a folder");
        Self(Arc::new(Inner {
            letter,
            number,
            netns: NetNs::create(format!("{}{letter}", world.name)),
            apps: world.cgroup.child(&letter.to_string()),
            daemons: world.cgroup.child(&format!("{letter}-daemons")),
            dir,
            world: world.clone(),
        }))
    }

    /// Gives its end of the wire its addresses.
    pub fn configure_wire(&self) {
        let (v4, v6) = (format!("{}/24", self.v4()), format!("{}/64", self.v6()));
        let netns = self.netns();
        netns.ip(&["addr", "add", &v4, "dev", "eth0"]);
        netns.ip(&["addr", "add", &v6, "dev", "eth0", "nodad"]);
        netns.ip(&["link", "set", "eth0", "addrgenmode", "none"]);
        netns.ip(&["link", "set", "eth0", "up"]);
    }

    /// `a` or `b`.
    pub fn letter(&self) -> char {
        self.0.letter
    }

    /// A name that no other host of any run has: good for instances, at most 32 characters.
    pub fn unique(&self) -> String {
        format!("{}-{}", self.0.world.name, self.0.letter)
    }

    /// Its address on the wire.
    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 88, 0, self.0.number)
    }

    /// Its IPv6 address on the wire.
    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, self.0.number.into())
    }

    /// A port of it on the wire.
    pub fn at(&self, port: u16) -> SocketAddr {
        (IpAddr::from(self.v4()), port).into()
    }

    /// A port of it on the wire, over IPv6.
    pub fn at6(&self, port: u16) -> SocketAddr {
        (IpAddr::from(self.v6()), port).into()
    }

    /// Its network namespace.
    pub fn netns(&self) -> &NetNs {
        &self.0.netns
    }

    /// The cgroup in which its applications are born.
    pub fn apps(&self) -> &Cgroup {
        &self.0.apps
    }

    /// The cgroup in which its daemons are started, beside that of the applications.
    pub fn daemons(&self) -> &Cgroup {
        &self.0.daemons
    }

    /// A folder of its own.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// A command of an application of this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.command_in(self.0.apps.path(), program)
    }

    /// A command on this host, born in `cgroup`.
    pub fn command_in(&self, cgroup: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", BORN_IN, "sh"])
            .arg(cgroup)
            .arg("nsenter")
            .arg(format!("--net={}", self.netns().path()))
            .arg("--")
            .arg(program)
            .current_dir(self.dir());
        command
    }

    /// Starts an application on this host.
    #[track_caller]
    pub fn spawn<S: AsRef<std::ffi::OsStr>>(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        args: &[S],
    ) -> Running {
        let mut command = self.command(program);
        command.args(args);
        Running::spawn(command)
    }

    /// Runs an application on this host to its end.
    #[track_caller]
    pub fn run<S: AsRef<std::ffi::OsStr>>(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        args: &[S],
    ) -> Finished {
        self.spawn(program, args).finish()
    }

    /// Sets a sysctl of this host's network namespace, `net/core/somaxconn`.
    #[track_caller]
    pub fn sysctl(&self, path: &str, value: &str) {
        let script = format!("echo {value} > /proc/sys/{path}");
        self.run("sh", &["-c", &script]).expect_code(0);
    }

    /// Writes a file into this host's folder.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::write(&path, content).expect("write a file");
        path
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the hosts were nsenter --net={} and --net={}",
                self.a.netns().path(),
                self.b.netns().path()
            );
        }
    }
}
