//! `sidetrack detach`: removes all that is attached.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use clap::Args;

use super::{Exit, Failure, InstanceArgs, at, print, run::pin_failure};
use crate::{
    config::Instance,
    control::{
        self, Question,
        lock::{InstanceLock, LockError},
    },
    kernel::{
        cgroup,
        hop::HopRoutes,
        pins::{self, PinName, Pins},
        preflight,
    },
};

/// How long a daemon may take to end; it does not wait for its connections.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long applications may take to close connections that the daemon's end has cut.
const ANSWERING: Duration = Duration::from_secs(1);
/// How long the canary of a daemon that was killed may take to end: it gives up by itself.
const CANARY: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

/// Arguments of `detach`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  sidetrack detach --instance blue")]
pub struct DetachArgs {
    /// Which daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
}

/// Removes it: a running daemon detaches and ends, what a dead one left is deleted.
///
/// # Errors
/// [`Exit::Failed`] if a daemon does not end, or something is left.
pub fn run(args: DetachArgs) -> Result<Exit, Failure> {
    let InstanceArgs {
        instance,
        runtime_dir,
    } = &args.of;
    let socket = control::socket_path(runtime_dir, instance);
    // Before a daemon removes its pins.
    let steered = pins::steered(&PinName::of(instance));
    let (told, patience) = match control::ask(&socket, Question::Detach) {
        Ok(answer) => (
            format!("detached; process {} has ended\n", at(&answer, "/pid")),
            PATIENCE,
        ),
        Err(error) if is_absent(&error) => (
            "no daemon of this instance runs; nothing is attached\n".to_owned(),
            Duration::ZERO,
        ),
        Err(error) => {
            return Err(
                Failure::new(Exit::Failed, format!("asking {}", socket.display())).because(&error),
            );
        }
    };
    // Without the folder nobody ever ran, and taking the lock would make it. The lock is the last
    // thing that a daemon lets go of: whoever has it may remove what is left, since no daemon of
    // this name can be starting meanwhile.
    let _lock = match runtime_dir.exists() {
        true => Some(wait_for_lock(runtime_dir, instance, patience)?),
        false => None,
    };
    remove(&socket)?;
    let told = match remove_pins(instance)? {
        Removed::Pins if patience.is_zero() => {
            "no daemon of this instance runs; what one had left in force is removed\n".to_owned()
        }
        _ => told,
    };
    let routes = HopRoutes::of(&PinName::of(instance)).remove_everywhere(&steered, ANSWERING);
    remove_cgroups(&args)?;
    if let Ok(mount) = preflight::cgroup2_mount() {
        pins::sweep_dead_execs(&mount);
    }
    print(&told)?;
    if routes.is_empty() {
        return Ok(Exit::Done);
    }
    let left: Vec<String> = routes.iter().map(|left| format!("\n  {left}")).collect();
    let doing = format!("removing the routes to applications{}", left.concat());
    Err(Failure::new(Exit::Failed, doing))
}

enum Removed {
    Pins,
    Nothing,
}

/// The pins have a lock of their own: a daemon of this name may run with another runtime folder.
fn remove_pins(instance: &Instance) -> Result<Removed, Failure> {
    let pins = Pins::open_existing(&PinName::of(instance)).map_err(|error| pin_failure(&error))?;
    match pins {
        Some(pins) => {
            pins.remove().map_err(|error| pin_failure(&error))?;
            Ok(Removed::Pins)
        }
        None => Ok(Removed::Nothing),
    }
}

fn wait_for_lock(
    runtime_dir: &Path,
    instance: &Instance,
    patience: Duration,
) -> Result<InstanceLock, Failure> {
    let until = Instant::now() + patience;
    loop {
        match InstanceLock::take(runtime_dir, instance) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held { .. }) if Instant::now() < until => std::thread::sleep(POLL),
            Err(error @ LockError::Held { .. }) => {
                return Err(Failure::new(Exit::Failed, "the daemon does not end")
                    .because(&error)
                    .fix("look at its log; `kill` it and detach again"));
            }
            Err(error) => {
                return Err(
                    Failure::new(Exit::Failed, "taking the instance's lock").because(&error)
                );
            }
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::new(Exit::Failed, format!("removing {}", path.display())).because(&error))
        }
        _ => Ok(()),
    }
}

/// What a daemon that was killed left behind: its cgroup, which is below the one that the daemon
/// was started in, as this command most often is too, and that of its canary.
fn remove_cgroups(args: &DetachArgs) -> Result<(), Failure> {
    let Ok(mount) = preflight::cgroup2_mount() else {
        return Ok(());
    };
    let failed = |what: String| {
        Failure::new(Exit::Failed, format!("removing {what}"))
            .fix("end the processes in its cgroup.procs")
    };
    // Of one that was killed while it waited for its canary.
    let canary = cgroup::canary_name(&args.of.instance);
    let until = Instant::now() + CANARY;
    while !cgroup::remove_named(&mount, &canary) {
        if Instant::now() >= until {
            return Err(failed(format!("the cgroup {canary}")));
        }
        std::thread::sleep(POLL);
    }
    let name = cgroup::own_name(&args.of.instance);
    let places = [Some(mount.clone()), cgroup::current(&mount).ok()];
    for folder in places
        .into_iter()
        .flatten()
        .map(|parent| parent.join(&name))
    {
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(folder.display().to_string()).because(&error));
            }
            _ => {}
        }
    }
    Ok(())
}
