//! The executable of a process, as the programs judge it: for what user space has to decide.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use super::sys;

/// What the kernel puts behind the path of a file that is not there any more.
const DELETED: &str = " (deleted)";

/// The path of a process's executable, in its mount namespace. None if it has none, as threads of the
/// kernel, or if it is of a user namespace of its own, in which anybody can make a path of anything.
///
/// # Errors
/// The process is gone, or may not be looked at.
pub fn of_process(pid: u32) -> io::Result<Option<String>> {
    let of = |what: &str| format!("/proc/{pid}/{what}");
    let own = fs::metadata("/proc/self/ns/user")?.ino();
    if fs::metadata(of("ns/user"))?.ino() != own {
        return Ok(None);
    }
    let mounts = fs::File::open(of("ns/mnt"))?;
    if sys::owner_of_namespace(&mounts)?.metadata()?.ino() != own {
        return Ok(None);
    }
    let link = match fs::read_link(of("exe")) {
        Ok(link) => link,
        // Threads of the kernel have the entry, and nothing behind it.
        Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new(&of("")).exists() => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

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
        let child = command.spawn().unwrap();
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
    fn a_process_that_is_gone_is_no_process_without_an_executable() {
        let mut running = started(Path::new("/bin/cat"));
        let pid = running.0.id();
        running.0.kill().unwrap();
        running.0.wait().unwrap();
        assert!(of_process(pid).is_err());
    }
}
