//! Where namespaces are found that the configuration names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Id;
use crate::{
    config::{NetnsSource, cgroup::NoNames},
    kernel::{
        cgroup::{self, matching},
        process,
    },
};

/// An entry of `intercept.netns`, looked at again and again.
#[derive(Debug)]
pub struct Source {
    of: NetnsSource,
    /// When the process began that was named by its number: another may have that number later.
    began: Option<u64>,
}

impl Source {
    /// Of this entry.
    pub fn new(of: NetnsSource) -> Self {
        Self { of, began: None }
    }

    /// The entry.
    pub fn entry(&self) -> &NetnsSource {
        &self.of
    }

    /// Files at which its namespaces are now, as far as they are there.
    ///
    /// # Errors
    /// Why there cannot be any.
    pub fn look(&mut self, mount: &Path) -> io::Result<Vec<PathBuf>> {
        match &self.of {
            NetnsSource::Selected => Ok(Vec::new()),
            NetnsSource::Path(path) => Ok(vec![path.clone()]),
            NetnsSource::Cgroup(pattern) => {
                let folders = matching::named(mount, std::iter::once(pattern), &NoNames);
                // Without processes is nothing to tell, without a cgroup is.
                if folders.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::NotFound, "no such cgroup"));
                }
                let processes = folders.iter().flat_map(|folder| cgroup::processes(folder));
                // Those of another pid namespace have no number here.
                Ok(processes.filter(|pid| *pid != 0).map(of_process).collect())
            }
            NetnsSource::Pid(pid) => {
                let now = process::stat(*pid).map(|stat| stat.began).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "there is no such process")
                })?;
                if *self.began.get_or_insert(now) != now {
                    return Err(io::Error::other(
                        "the process has ended, and another one has its number",
                    ));
                }
                Ok(vec![of_process(*pid)])
            }
        }
    }
}

/// The file of a process's network namespace.
pub fn of_process(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

/// Where the network namespace of a process shows whose first thread has ended before others: at one of
/// those. `first` is where it would show else.
pub fn of_other_thread(first: &Path) -> Option<PathBuf> {
    let process = first.strip_prefix("/proc").ok()?.iter().next()?;
    let tasks = Path::new("/proc").join(process).join("task");
    let each = fs::read_dir(tasks).ok()?.flatten();
    each.map(|task| task.path().join("ns/net"))
        .find(|path| path != first && Id::at(path).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_its_first_thread_is_in_the_namespace_of_another_one() {
        let first = of_process(std::process::id());
        let other = of_other_thread(&first).unwrap();
        assert_ne!(other, first);
        assert_eq!(Id::at(&other).unwrap(), Id::at(&first).unwrap());
        assert_eq!(of_other_thread(Path::new("/run/netns/blue")), None);
        assert_eq!(of_other_thread(Path::new("/proc/0/ns/net")), None);
    }

    #[test]
    fn a_process_is_known_by_when_it_began_and_not_by_its_number_alone() {
        let pid = std::process::id();
        let mut source = Source::new(NetnsSource::Pid(pid));
        let mount = Path::new("/");
        assert_eq!(source.look(mount).unwrap(), [of_process(pid)]);
        assert!(source.look(mount).is_ok());
        source.began = Some(1);
        let error = source.look(mount).unwrap_err();
        assert!(error.to_string().contains("another one"), "{error}");
    }
}
