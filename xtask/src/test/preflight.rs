//! What privileged work needs of this machine, all of it checked before anything is built.

use std::{fs, path::PathBuf, process, process::Command};

use anyhow::{Context as _, Result};

use crate::cmd::{self, Missing};

/// Bits of capabilities(7) in /proc/self/status.
const CAPABILITIES: [(&str, u32); 3] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_BPF", 39),
];

/// Refuses (exit 77) unless daemons, cgroups and network namespaces can be made here.
pub(crate) fn privileged() -> Result<()> {
    // Without it the rest is missing too, which would only hide the cause.
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing(
            "this needs root: network namespaces, cgroups and BPF programs are made. Run it as root, \
             with rustup in root's PATH"
                .to_owned(),
        )
        .into());
    }
    let mut missing = Vec::new();
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let effective = effective_capabilities(&status);
    for (name, bit) in CAPABILITIES {
        if effective & (1 << bit) == 0 {
            missing.push(format!(
                "{name}: in a container, start it with --privileged"
            ));
        }
    }
    match cgroup2_root() {
        Ok(root) => {
            let probe = root.join(format!("st-preflight-{}", process::id()));
            match fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)) {
                Ok(()) => {}
                Err(error) => missing.push(format!(
                    "a writable cgroup2: creating {}: {error}",
                    probe.display()
                )),
            }
        }
        Err(error) => missing.push(error.to_string()),
    }
    if cmd::which("ip").is_some() {
        let name = format!("st-preflight-{}", process::id());
        let made = cmd::output(Command::new("ip").args(["netns", "add", &name]))
            .and_then(|_| cmd::output(Command::new("ip").args(["netns", "exec", &name, "true"])));
        let removed = cmd::output(Command::new("ip").args(["netns", "del", &name]));
        if let Err(error) = made.and(removed) {
            missing.push(format!("network namespaces: {error:#}"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Missing(format!("this machine lacks:\n  {}", missing.join("\n  "))).into())
}

/// Where cgroup2 is mounted: /sys/fs/cgroup, or below it where version 1 is there too.
pub(crate) fn cgroup2_root() -> Result<PathBuf> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    cgroup2_mount(&mounts).context("a cgroup2 mount: none in /proc/self/mountinfo; `mount -t cgroup2 none /sys/fs/cgroup` makes one")
}

fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A bind mount of one cgroup is not the root.
        (filesystem.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(point))
    })
}

fn effective_capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_beside_version_1_and_past_bind_mounts() {
        let mounts = "30 29 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 29 0:38 /pod /mnt/pod rw - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2_mount(""), None);
    }

    #[test]
    fn the_effective_capabilities_are_read() {
        assert_eq!(
            effective_capabilities("CapPrm:\t0\nCapEff:\t0000008000001000\n"),
            1 << 39 | 1 << 12
        );
    }
}
