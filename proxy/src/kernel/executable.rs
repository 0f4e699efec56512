//! The executable of a process, as the programs judge it: for what user space has to decide.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::{cgroup::whose::Finder, process, sys};

/// What the kernel puts behind the path of a file that is not there any more.
const DELETED: &str = " (deleted)";

/// A connection that a process made, as far as is known.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// The number of the process.
    pub pid: u32,
    /// The cgroup that it was in.
    pub cgroup: u64,
    /// When the connection was there already.
    pub accepted: Instant,
}

/// The path of the executable of the process that made a connection, as [`of_process`].
///
/// # Errors
/// The process is gone, or may not be looked at, or the one of that number is not seen to be it.
pub fn of_maker(made: &Made, cgroups: &Finder) -> io::Result<Option<String>> {
    let began = || {
        let stat = process::stat(made.pid);
        stat.map(|stat| stat.began).ok_or(io::ErrorKind::NotFound)
    };
    let before = began()?;
    let path = of_process(made.pid)?;
    let is_it = cgroups.is_in(made.cgroup, made.pid) && !is_younger(before, made.accepted);
    if !is_it || began()? != before {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "another process has its number now, or it is in another cgroup",
        ));
    }
    Ok(path)
}

/// Whether a process that began at this tick is younger than a connection. After the machine was
/// suspended it may look older than it is.
fn is_younger(began: u64, accepted: Instant) -> bool {
    /// What /proc counts in, USER_HZ, is a hundredth of a second wherever the programs run.
    const TICK_MS: u64 = 10;
    let age = accepted.elapsed();
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::try_from(now).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(began.saturating_mul(TICK_MS))) < age
}

/// The path of a process's executable, in its mount namespace. None if it has none, as threads of the
/// kernel, or if it or the file's mount is of a user namespace of its own, in which anybody can make
/// a path of anything.
///
/// # Errors
/// The process is gone, or may not be looked at, or nobody tells whose mount the file is on.
pub fn of_process(pid: u32) -> io::Result<Option<String>> {
    let of = |what: &str| format!("/proc/{pid}/{what}");
    let own = fs::metadata("/proc/self/ns/user")?.ino();
    if fs::metadata(of("ns/user"))?.ino() != own {
        return Ok(None);
    }
    let found = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(of("exe"));
    let file = match found {
        Ok(file) => file,
        // Threads of the kernel have the entry, and nothing behind it. Nor does what has ended and
        // is not waited for, but that has no namespaces either.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && fs::metadata(of("ns/mnt")).is_ok() =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if owner_of_mount(pid, &file)? != own {
        return Ok(None);
    }
    let link = fs::read_link(own_file(&file))?;
    let Some(text) = link.to_str() else {
        return Ok(None);
    };
    let is_its_name = || {
        let there = fs::metadata(of(&format!("root{text}")));
        let runs = fs::metadata(of("exe"));
        there.is_ok_and(|there| {
            runs.is_ok_and(|runs| (there.dev(), there.ino()) == (runs.dev(), runs.ino()))
        })
    };
    Ok(Some(match text.strip_suffix(DELETED) {
        Some(path) if !is_its_name() => path.to_owned(),
        _ => text.to_owned(),
    }))
}

fn own_file(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// The user namespace that owns the mount by which `file` was opened. That is what the programs ask
/// for: a process may run a file by a descriptor that it was given out of other mounts than its own.
fn owner_of_mount(pid: u32, file: &File) -> io::Result<u64> {
    let described = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let mount = described
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .map(str::trim)
        .ok_or_else(|| io::Error::other("the kernel does not tell the mount of a file"))?;
    let lists = |pid: &u32| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"));
        let is_it = |line: &str| line.split_ascii_whitespace().next() == Some(mount);
        mounts.is_ok_and(|mounts| mounts.lines().any(is_it))
    };
    // One with a root of its own does not list what is outside that, but who started it may.
    let parent = process::stat(pid).map(|stat| stat.parent);
    let around = [Some(pid), parent, Some(1), Some(std::process::id())];
    let who = around.into_iter().flatten().find(lists).ok_or_else(|| {
        io::Error::other("its executable is on a mount that neither it nor its parent shows")
    })?;
    let mounts = File::open(format!("/proc/{who}/ns/mnt"))?;
    Ok(sys::owner_of_namespace(&mounts)?.metadata()?.ino())
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        process::{Child, Command, Stdio},
    };

    use super::{super::cgroup, *};

    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn started(path: &Path) -> Running {
        let mut command = Command::new(path);
        command.stdin(Stdio::piped());
        // What another test's fork() has open for writing until its exec() cannot be run.
        let child = loop {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now();
                }
                spawned => break spawned.unwrap(),
            }
        };
        // It has read nothing yet, and is what was asked for once spawn() has returned.
        Running(child)
    }

    #[test]
    fn a_process_has_the_path_of_its_file_also_once_that_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        for name in ["app", "app (deleted)"] {
            let path = folder.join(name);
            fs::copy("/bin/cat", &path).unwrap();
            let running = started(&path);
            let of = || of_process(running.0.id()).unwrap();
            assert_eq!(of().as_deref(), path.to_str());
            fs::copy("/bin/cat", folder.join("new")).unwrap();
            fs::rename(folder.join("new"), &path).unwrap();
            assert_eq!(of().as_deref(), path.to_str(), "the file is replaced");
        }
    }

    #[test]
    fn who_began_after_a_connection_or_is_in_another_cgroup_has_not_made_it() {
        let running = started(Path::new("/bin/cat"));
        let accepted = Instant::now();
        let pid = running.0.id();
        let mount = tempfile::tempdir().unwrap();
        let folder = cgroup::folder(mount.path(), &process::cgroup(pid).unwrap());
        fs::create_dir_all(&folder).unwrap();
        let cgroup = cgroup::id(&folder).unwrap();
        let finder = Finder::new(mount.path().to_owned());
        let made = Made {
            pid,
            cgroup,
            accepted,
        };
        let path = of_maker(&made, &finder).unwrap();
        assert_eq!(path, of_process(pid).unwrap());
        let moved = Made {
            cgroup: cgroup + 1,
            ..made
        };
        let before = accepted.checked_sub(Duration::from_secs(1)).unwrap();
        let older = Made {
            accepted: before,
            ..made
        };
        for made in [moved, older] {
            assert!(of_maker(&made, &finder).is_err(), "{made:?}");
        }
    }

    #[test]
    fn a_process_that_is_gone_is_no_process_without_an_executable() {
        let mut running = started(Path::new("/bin/cat"));
        let pid = running.0.id();
        running.0.kill().unwrap();
        running.0.wait().unwrap();
        assert!(of_process(pid).is_err());
    }
}
