//! What an `exec` that was killed left behind.

use std::{
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, POLL, PinError, PinName, Pins, entries, instances, steered};
use crate::kernel::{cgroup, hop::HopRoutes};

/// Begins the names of `exec`'s pins.
pub(super) const EXEC: &str = "exec_";

/// How long sockets of a command that has ended may take to go.
const LAST_SOCKETS: Duration = Duration::from_millis(200);

/// Removes pins, cgroups and routes of every `exec` that was killed and whose command has left no
/// process behind. Those of a process that still runs stay: its connections are to be refused
/// rather than to go out as they are.
pub fn sweep_dead_execs(mount: &Path) {
    let Ok(instances) = instances() else {
        return;
    };
    for path in entries(&instances) {
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(EXEC))
            .and_then(|pid| pid.parse().ok())
        else {
            continue;
        };
        if let Err(error) = sweep(mount, pid) {
            tracing::warn!(%error, "removing what an exec that was killed left behind");
        }
    }
}

/// The pins of an `exec`. Those of this very process are waited for: of two that end at once each
/// looks at what the other leaves, and the other's is to be left while that one lives.
fn open(pid: u32) -> Result<Option<Pins>, PinError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match Pins::open_existing(&PinName::exec(pid)) {
            Err(PinError::Held { .. }) if pid == process::id() && Instant::now() < until => {
                thread::sleep(POLL);
            }
            opened => return opened,
        }
    }
}

fn sweep(mount: &Path, pid: u32) -> Result<(), PinError> {
    let pins = match open(pid) {
        Ok(Some(pins)) => pins,
        // It runs.
        Ok(None) | Err(PinError::Held { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    if !cgroup::remove_named(mount, &cgroup::exec_name(pid)) {
        return Ok(());
    }
    let name = pins.name();
    let left = HopRoutes::of(&name).remove_everywhere(&steered(&name), LAST_SOCKETS);
    if left.is_empty() {
        return pins.remove();
    }
    // The pins stay too, so that the next sweep tries again.
    for left in left {
        tracing::warn!(exec = pid, "{left}");
    }
    Ok(())
}
