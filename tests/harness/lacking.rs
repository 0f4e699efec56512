//! What a kernel or a machine may lack: a test that needs it says that it has tested nothing.

use std::{io::Write as _, panic::Location, path::Path};

use crate::host::Host;

/// Whether `host` has MPTCP. If not, its sockets cannot be made, which is all that is tested.
#[track_caller]
pub fn has_mptcp(host: &Host) -> bool {
    if Path::new("/proc/sys/net/mptcp").exists() {
        return true;
    }
    let made = host.script(&["mptcp"]).of("mptcp");
    assert_eq!(made, Err("EPROTONOSUPPORT".to_owned()));
    skipped("this kernel has no MPTCP (CONFIG_MPTCP)");
    false
}

/// Whether the kernel tells where its structures have what.
#[track_caller]
pub fn has_btf() -> bool {
    let has = Path::new("/sys/kernel/btf/vmlinux").exists();
    if !has {
        skipped("this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)");
    }
    has
}

/// Whether units can be started: PID 1 is systemd.
#[track_caller]
pub fn has_systemd() -> bool {
    // What sd_booted(3) looks at.
    let has = Path::new("/run/systemd/system").is_dir();
    if !has {
        skipped("PID 1 is not systemd: no unit can be started");
    }
    has
}

/// Past libtest, which shows what a test prints only if it fails. `cargo xtask test` ends with it.
#[track_caller]
fn skipped(why: &str) {
    let (at, mut out) = (Location::caller(), std::io::stdout().lock());
    let written = writeln!(out, "\nskipped: {}: {why}", at.file());
    written.expect("write to the standard output");
}
