//! Network namespaces.

use std::{ffi::OsString, fs, path::PathBuf, process::Command};

use super::process;
use crate::Trouble;

/// A network namespace with a name, removed on drop.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    /// A new one, with its loopback device up.
    pub(crate) fn create(name: String) -> Result<Self, Trouble> {
        process::finish(Command::new("ip").args(["netns", "add", &name]))?;
        let made = Self { name };
        made.ip(&["link", "set", "lo", "up"])?;
        // As many ports as there are, and those of connections that ended free again after a second:
        // else a slice would be about a table that the one before has filled.
        made.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        made.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        Ok(made)
    }

    /// Runs ip(8) in it.
    pub(crate) fn ip(&self, args: &[&str]) -> Result<(), Trouble> {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(args);
        process::finish(&mut command).map(drop)
    }

    /// Sets a sysctl of it, `net/ipv4/ip_forward`.
    pub(crate) fn sysctl(&self, path: &str, value: &str) -> Result<(), Trouble> {
        let mut command = Command::new("nsenter");
        command
            .args(self.enter())
            .args(["sh", "-c", r#"printf %s "$0" > "$1""#, value])
            .arg(format!("/proc/sys/{path}"));
        process::finish(&mut command).map(drop)
    }

    /// A veth pair with an end in each, both up.
    pub(crate) fn wire(&self, device: &str, other: &Self, its: &str) -> Result<(), Trouble> {
        let pair = ["link", "add", device, "type", "veth", "peer", "name", its];
        self.ip(&[&pair[..], &["netns", &other.name]].concat())?;
        for (netns, device) in [(self, device), (other, its)] {
            // No IPv6 address, and none of the kernel's packets about it while something is measured.
            netns.ip(&["link", "set", device, "addrgenmode", "none"])?;
            netns.ip(&["link", "set", device, "up"])?;
        }
        Ok(())
    }

    /// Words of nsenter(1) before a command. `ip netns exec` mounts a new /sys, which hides the cgroups.
    pub(crate) fn enter(&self) -> [OsString; 2] {
        [
            format!("--net={}", file(&self.name).display()).into(),
            "--".into(),
        ]
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Removes the one of this name, if it is there.
pub(crate) fn delete(name: &str) {
    let _ = process::finish(Command::new("ip").args(["netns", "del", name]));
}

/// Names of all that were made by ip(8).
pub(crate) fn all() -> Vec<String> {
    let entries = fs::read_dir(file(""));
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}
