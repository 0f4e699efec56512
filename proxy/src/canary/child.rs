//! The process that connects: it must be neither in the proxy's own cgroup nor the proxy.

use std::{
    fs::File,
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
};
use serde::{Deserialize, Serialize};

use super::{Answer, CANARY, elsewhere::Elsewhere};
use crate::{
    cli::{Exit, Failure, print_json},
    kernel::cgroup,
};

/// How long connect() may take, and the answer after it: each is microseconds where all is well.
const PATIENCE: Duration = Duration::from_millis(350);
/// How long the child may take in all.
const LIFE: Duration = Duration::from_millis(900);
/// More than it says.
const LONGEST: u64 = 4096;

/// Arguments of the hidden child of the daemon.
#[derive(Args, Clone, Debug)]
pub struct CanaryArgs {
    /// Folder of the cgroup to enter.
    #[arg(long, value_name = "DIR")]
    pub cgroup: PathBuf,
    /// File of another network namespace to connect in too.
    #[arg(long, value_name = "FILE")]
    pub netns: Vec<PathBuf>,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    Answered { answer: Answer, micros: u64 },
    Silence,
    Failed { errno: i32 },
    NotEntered { errno: i32 },
}

/// What became of both in one network namespace.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Fates {
    pub(super) v4: Fate,
    pub(super) v6: Fate,
}

/// What the child tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) own: Fates,
    /// In the order of the arguments.
    pub(super) others: Vec<Fates>,
}

/// Connects and tells what became of it.
///
/// # Errors
/// It cannot enter the cgroup.
pub fn connect(args: &CanaryArgs) -> Result<Exit, Failure> {
    // Before any socket is made: it belongs to the cgroup in which that happens.
    cgroup::join(&args.cgroup, process::id()).map_err(|error| {
        Failure::new(Exit::Failed, "entering the canary's cgroup").because(&error)
    })?;
    let others: Vec<_> = args
        .netns
        .iter()
        .cloned()
        .map(|file| thread::spawn(move || fates_in(&file)))
        .collect();
    let silence = Fates {
        v4: Fate::Silence,
        v6: Fate::Silence,
    };
    print_json(&Told {
        own: fates(),
        others: others
            .into_iter()
            .map(|other| other.join().unwrap_or(silence))
            .collect(),
    })?;
    Ok(Exit::Done)
}

/// In another network namespace, in which this thread stays.
fn fates_in(file: &Path) -> Fates {
    let entered = File::open(file).and_then(|file| Ok(setns(file, CloneFlags::CLONE_NEWNET)?));
    let Err(error) = entered else {
        return fates();
    };
    let fate = Fate::NotEntered {
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    };
    Fates { v4: fate, v6: fate }
}

/// In that of this thread, which threads of its making are in too.
fn fates() -> Fates {
    let [v4, v6] = CANARY.map(|host| thread::spawn(move || fate(host, PATIENCE)));
    let fate = |way: thread::JoinHandle<Fate>| way.join().unwrap_or(Fate::Silence);
    Fates {
        v4: fate(v4),
        v6: fate(v6),
    }
}

fn fate(host: std::net::IpAddr, patience: Duration) -> Fate {
    let begun = Instant::now();
    let stream = match TcpStream::connect_timeout(&SocketAddr::new(host, 0), patience) {
        Ok(stream) => stream,
        Err(error) => {
            return Fate::Failed {
                errno: error.raw_os_error().unwrap_or(libc::ETIMEDOUT),
            };
        }
    };
    let mut answer = Answer::default();
    let answered = stream
        .set_read_timeout(Some(patience))
        .and_then(|()| (&stream).read_exact(&mut answer));
    match answered {
        Ok(()) => Fate::Answered {
            answer,
            micros: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        },
        Err(_) => Fate::Silence,
    }
}

/// Starts the child and waits for what it tells, no longer than it may live.
pub(super) fn send(cgroup: &Path, others: &[Elsewhere]) -> io::Result<Told> {
    let mut child = Command::new("/proc/self/exe")
        .arg("canary")
        .arg("--cgroup")
        .arg(cgroup)
        .args(others.iter().flat_map(|other| {
            let file = other.namespace.file();
            ["--netns".into(), file.into_os_string()]
        }))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let told = listen(&mut child);
    // It has ended, or is to.
    let _ = child.kill();
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(LONGEST).read_to_string(&mut said);
    }
    child.wait()?;
    let told = told?;
    serde_json::from_slice(&told).map_err(|_| io::Error::other(said.trim().to_owned()))
}

/// What it writes until it ends.
fn listen(child: &mut Child) -> io::Result<Vec<u8>> {
    let mut told = Vec::new();
    let Some(mut stdout) = child.stdout.take() else {
        return Ok(told);
    };
    let until = Instant::now() + LIFE;
    let mut part = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, wait)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stdout.read(&mut part)? {
            0 => return Ok(told),
            length => told.extend_from_slice(part.get(..length).unwrap_or_default()),
        }
    }
}
