//! Containers, by Debian's Podman.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    cgroup::Cgroup,
    host::Host,
    peer::{binary, parse},
    process::{Finished, Running},
};

/// crun refuses hosts on which cgroup2 is mounted beside the older hierarchies, so that Podman sees
/// cgroup2 alone, in a mount namespace of its own. The mounts of network namespaces are shared.
const ALONE: &str = "mount --make-rprivate /sys/fs/cgroup && \
                     mount -t cgroup2 none /sys/fs/cgroup && exec podman \"$@\"";

/// A list of containers as long as it is where it can be read; the link to it is removed on drop.
pub struct Listed(PathBuf);

impl Drop for Listed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A Podman whose containers and files are this test's own.
pub struct Podman {
    /// A short path: sockets are made below it.
    dir: TempDir,
}

/// A running container; removed on drop.
pub struct Container<'a> {
    podman: &'a Podman,
    name: String,
}

impl Podman {
    /// None runs yet.
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("sdtpod").expect("make a folder");
        let rootfs = dir.path().join("rootfs");
        for folder in ["usr", "proc", "sys", "dev", "tmp", "etc", "run"] {
            fs::create_dir_all(rootfs.join(folder)).expect("make a folder");
        }
        // The programs are this host's: there is no image and no registry.
        for link in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(link), rootfs.join(link)).expect("make a link");
        }
        Self { dir }
    }

    /// Puts its list of containers where those of this host's Podman are.
    pub fn list_on_host(&self) -> Listed {
        let storage = Path::new("/var/lib/containers/storage");
        fs::create_dir_all(storage).expect("make the folder of Podman");
        let name = self.dir.path().file_name().expect("it has a name");
        let link = storage.join(format!("{}-containers", name.display()));
        let list = self.dir.path().join("root/vfs-containers");
        symlink(list, &link).expect("make a link");
        Listed(link)
    }

    fn run(&self, args: &[&str]) -> Finished {
        let mut command = Command::new("unshare");
        command
            .args(["-m", "--propagation", "unchanged", "sh", "-c", ALONE, "sh"])
            .args(["--cgroup-manager=cgroupfs", "--storage-driver=vfs"])
            .arg("--events-backend=none");
        for (option, folder) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
        ] {
            command.arg(option).arg(self.dir.path().join(folder));
        }
        command.args(args);
        Running::spawn(command).finish()
    }

    /// Starts a container in a cgroup of its own below `parent`, with a network namespace of its own
    /// in which nothing but the loopback interface is.
    #[track_caller]
    pub fn start(&self, name: &str, parent: &Cgroup) -> Container<'_> {
        self.start_in(name, parent, "none")
    }

    /// Starts a container in a cgroup of its own below `parent`, in the network namespace of `host`.
    #[track_caller]
    pub fn start_on(&self, name: &str, parent: &Cgroup, host: &Host) -> Container<'_> {
        self.start_in(name, parent, &format!("ns:{}", host.netns().path()))
    }

    #[track_caller]
    fn start_in(&self, name: &str, parent: &Cgroup, network: &str) -> Container<'_> {
        let rootfs = self.dir.path().join("rootfs");
        let peer = binary();
        let peer = peer.parent().expect("it is in a folder").display();
        self.run(&[
            "run",
            "--detach",
            "--name",
            name,
            &format!("--network={network}"),
            &format!("--cgroup-parent={}", parent.name()),
            // Without these Podman asks for limits that this user may not set everywhere.
            "--privileged",
            "--pids-limit=0",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
            "--volume=/usr:/usr:ro",
            &format!("--volume={peer}:{peer}:ro"),
            "--rootfs",
            &rootfs.display().to_string(),
            "sleep",
            "600",
        ])
        .expect_code(0);
        Container {
            podman: self,
            name: name.to_owned(),
        }
    }
}

impl Default for Podman {
    fn default() -> Self {
        Self::new()
    }
}

impl Container<'_> {
    /// The file of its network namespace.
    #[track_caller]
    pub fn netns(&self) -> PathBuf {
        let said = self
            .podman
            .run(&["inspect", "--format={{.State.Pid}}", &self.name])
            .expect_code(0);
        format!("/proc/{}/ns/net", said.stdout.trim()).into()
    }

    /// The id that Podman gave it.
    #[track_caller]
    pub fn id(&self) -> String {
        let inspect = ["inspect", "--format={{.Id}}", &self.name];
        let said = self.podman.run(&inspect).expect_code(0);
        said.stdout.trim().to_owned()
    }

    /// Stops and starts it.
    #[track_caller]
    pub fn restart(&self) {
        let restarted = self.podman.run(&["restart", "--time=0", &self.name]);
        restarted.expect_code(0);
    }

    /// Wires it to `far`, which has the second address there, and gives it the first.
    #[track_caller]
    pub fn wire(&self, far: &Host) {
        let netns = self.netns();
        let pid = netns.iter().nth(2).and_then(|pid| pid.to_str());
        let pid = pid.expect("the path names the process");
        let wire = ["type", "veth", "peer", "name", "eth0", "netns", pid];
        far.netns()
            .ip(&[&["link", "add", "eth0"], &wire[..]].concat());
        far.configure_wire();
        for words in [
            "addr add 10.88.0.1/24 dev eth0",
            "addr add fd88::1/64 dev eth0 nodad",
            "link set eth0 up",
        ] {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", netns.display())).arg("ip");
            command.args(words.split(' '));
            Running::spawn(command).finish().expect_code(0);
        }
    }

    /// Runs a client script in it.
    #[track_caller]
    pub fn script(&self, steps: &[&str]) -> Vec<Value> {
        let peer = binary().display().to_string();
        let words = [&["exec", &self.name, &peer, "script"], steps].concat();
        let ended = self.podman.run(&words).expect_code(0);
        ended.stdout.lines().filter_map(parse).collect()
    }

    /// Stops and removes it.
    #[track_caller]
    pub fn stop(self) {
        let removed = self.podman.run(&["rm", "--force", "--time=0", &self.name]);
        removed.expect_code(0);
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self
            .podman
            .run(&["rm", "--force", "--ignore", "--time=0", &self.name]);
    }
}
