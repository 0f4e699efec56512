//! The BPF file system. systemd mounts it at boot; containers and small images lack it.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::announce;
use crate::cmd;

const POINT: &str = "/sys/fs/bpf";

/// Mounts it unless it is there.
pub(super) fn ensure() -> Result<()> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    if is_mounted(&mounts) {
        return Ok(());
    }
    announce(
        &format!("a BPF file system at {POINT}"),
        "daemons pin there; systemd mounts the same at boot, and it stays until the next boot",
    );
    cmd::exec(Command::new("mount").args(["-t", "bpf", "-o", "mode=700", "bpf", POINT]))
}

fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        line.split_once(" - ").is_some_and(|(mount, filesystem)| {
            filesystem.starts_with("bpf ") && mount.split(' ').nth(4) == Some(POINT)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bpf_file_system_at_its_usual_place_counts() {
        assert!(is_mounted(
            "30 24 0:28 / /sys/fs/bpf rw,nosuid - bpf bpf rw,mode=700\n"
        ));
        assert!(!is_mounted("30 24 0:28 / /mnt/bpf rw - bpf bpf rw\n"));
        assert!(!is_mounted(
            "30 24 0:28 / /sys/fs/bpf rw - tmpfs tmpfs rw\n"
        ));
    }
}
