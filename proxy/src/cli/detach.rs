//! `sidetrack detach`: removes all that is attached.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use clap::Args;

use super::{Exit, Failure, InstanceArgs, at, print};
use crate::{
    control::{self, Question},
    kernel::{cgroup, preflight},
};

/// How long a daemon may take to detach; it does not wait for its connections.
const PATIENCE: Duration = Duration::from_secs(15);

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
/// [`Exit::Failed`] if a daemon does not end, or something cannot be removed.
pub fn run(args: DetachArgs) -> Result<Exit, Failure> {
    let socket = control::socket_path(&args.of.runtime_dir, &args.of.instance);
    match control::ask(&socket, Question::Detach) {
        Ok(answer) => {
            let until = Instant::now() + PATIENCE;
            while socket.exists() {
                if Instant::now() > until {
                    return Err(Failure::new(
                        Exit::Failed,
                        format!("the daemon (process {}) did not end", at(&answer, "/pid")),
                    )
                    .fix("look at its log; `kill` it: its programs go with it"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            print(&format!(
                "detached; process {} is ending\n",
                at(&answer, "/pid")
            ))?;
        }
        Err(error) if is_absent(&error) => {
            remove(&socket)?;
            remove_cgroup(&args)?;
            print("no daemon of this instance runs; nothing is attached\n")?;
        }
        Err(error) => {
            return Err(
                Failure::new(Exit::Failed, format!("asking {}", socket.display())).because(&error),
            );
        }
    }
    Ok(Exit::Done)
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

/// The cgroup that a daemon that was killed left behind: it is below the one that the daemon was
/// started in, as this command most often is too.
fn remove_cgroup(args: &DetachArgs) -> Result<(), Failure> {
    let Ok(mount) = preflight::cgroup2_mount() else {
        return Ok(());
    };
    let name = cgroup::own_name(&args.of.instance);
    let places = [Some(mount.clone()), cgroup::current(&mount).ok()];
    for folder in places
        .into_iter()
        .flatten()
        .map(|parent| parent.join(&name))
    {
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(
                    Failure::new(Exit::Failed, format!("removing {}", folder.display()))
                        .because(&error)
                        .fix("end the processes in its cgroup.procs"),
                );
            }
            Ok(()) => {}
        }
    }
    Ok(())
}
