//! Who uses a network namespace beside this daemon, whose own sockets would keep it for ever: tasks
//! that are in it, and mounts of its file.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
};

use super::{Id, source::of_process};
use crate::kernel::preflight;

/// Somebody who uses a namespace: the file at which that shows.
#[derive(Clone, Debug)]
pub struct Witness(PathBuf);

impl Witness {
    /// Somebody who was found at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether that still shows the namespace. One look, where a search reads all of /proc.
    pub fn still_uses(&self, namespace: Id) -> bool {
        Id::at(&self.0).is_ok_and(|found| found == namespace)
    }
}

/// Who uses these namespaces, one for each that somebody uses.
pub fn of(namespaces: &HashSet<Id>) -> HashMap<Id, Witness> {
    let mut search = Search {
        wanted: Some(namespaces),
        found: HashMap::new(),
        hidden: false,
    };
    search.run();
    search.found
}

/// Every namespace that somebody uses.
pub fn all() -> All {
    let mut search = Search {
        wanted: None,
        found: HashMap::new(),
        hidden: false,
    };
    search.run();
    All {
        found: search.found,
        hidden: search.hidden,
    }
}

/// What a look at everybody found.
#[derive(Debug)]
pub struct All {
    /// Somebody who uses it, for each namespace.
    pub found: HashMap<Id, Witness>,
    /// Whether there are processes that do not show which they are in, for want of CAP_SYS_PTRACE.
    pub hidden: bool,
}

struct Search<'a> {
    /// None is all.
    wanted: Option<&'a HashSet<Id>>,
    found: HashMap<Id, Witness>,
    hidden: bool,
}

impl Search<'_> {
    fn run(&mut self) {
        for mount in preflight::namespace_mounts() {
            self.look(mount);
        }
        let processes = numbers("/proc");
        for pid in &processes {
            if self.is_complete() {
                return;
            }
            self.look(of_process(*pid));
        }
        // Threads may be elsewhere than their process, and may outlive its first one.
        for pid in processes {
            if self.is_complete() {
                return;
            }
            let tasks = format!("/proc/{pid}/task");
            if has_one_entry(&tasks) {
                continue;
            }
            for task in numbers(&tasks).into_iter().filter(|task| *task != pid) {
                self.look(format!("{tasks}/{task}/ns/net").into());
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.wanted
            .is_some_and(|wanted| self.found.len() == wanted.len())
    }

    fn look(&mut self, path: PathBuf) {
        let id = match Id::at(&path) {
            Ok(id) => id,
            Err(error) => {
                self.hidden |= error.kind() == io::ErrorKind::PermissionDenied;
                return;
            }
        };
        if self.wanted.is_none_or(|wanted| wanted.contains(&id)) {
            self.found.entry(id).or_insert(Witness(path));
        }
    }
}

/// Whether a folder of /proc has one folder in it and no more, by its links: a look where reading it takes
/// four.
fn has_one_entry(folder: &str) -> bool {
    fs::metadata(folder).is_ok_and(|folder| folder.nlink() == 3)
}

/// Entries of a folder that are numbers, this process's apart: its threads are in other namespaces
/// for moments.
fn numbers(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != process::id())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_has_one_entry_for_its_threads_until_it_has_more_of_them() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(has_one_entry(&format!("/proc/{}/task", child.id())));
        child.kill().unwrap();
        child.wait().unwrap();
        let another = std::thread::spawn(std::thread::park);
        assert!(!has_one_entry("/proc/self/task"));
        another.thread().unpark();
        another.join().unwrap();
    }

    #[test]
    fn a_process_is_found_by_its_namespace_until_it_ends() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let id = Id::at(&of_process(child.id())).unwrap();
        let witness = of(&HashSet::from([id])).remove(&id).unwrap();
        assert!(witness.still_uses(id));
        assert!(all().found.contains_key(&id));
        let at_child = Witness::at(of_process(child.id()));
        assert!(at_child.still_uses(id));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!at_child.still_uses(id));
    }
}
