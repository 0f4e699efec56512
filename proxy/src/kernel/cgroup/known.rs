//! Which cgroups there are, as far as rules tell them apart.
//!
//! Only folders in which such a cgroup can be are read. What lies below any other has the class of
//! the cgroup above it.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::DirEntryExt as _,
    path::Path,
};

use sidetrack_abi::rules::CgroupClass;

use super::watch::Watch;
use crate::kernel::rules::RuleTables;

/// What has to be told to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cgroup is there.
    Appeared(u64, CgroupClass),
    /// It is not any more.
    Gone(u64),
}

/// The cgroups that the kernel knows of.
#[derive(Debug, Default)]
pub struct Known {
    top: Option<(u64, CgroupClass)>,
    /// By the path of the folder that they are in.
    folders: BTreeMap<String, HashMap<u64, Child>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Child {
    class: CgroupClass,
    /// Its path, if it is a folder to be read.
    folder: Option<String>,
}

/// Where to look, and for what.
pub struct View<'a> {
    /// Where the cgroup2 hierarchy is mounted.
    pub mount: &'a Path,
    /// The cgroup above all that rules are for, below `mount`.
    pub top: &'a str,
    /// The rules.
    pub tables: &'a RuleTables,
    /// Told of the folders that are read.
    pub watch: Option<&'a Watch>,
}

/// What the kernel is told by. Whether it took it: what it did not is not known, and tried again.
pub trait Tell: FnMut(Change) -> bool {}
impl<F: FnMut(Change) -> bool> Tell for F {}

impl Known {
    /// Looks at everything again.
    ///
    /// # Errors
    /// The hierarchy cannot be read.
    pub fn look(&mut self, view: &View<'_>, tell: &mut impl Tell) -> io::Result<()> {
        let Some(class) = view.tables.cgroup_entry(view.top) else {
            return Ok(());
        };
        let top = match super::id(&super::folder(view.mount, view.top)) {
            Ok(id) => Some((id, class)),
            Err(error) if is_gone(&error) => None,
            Err(error) => return Err(error),
        };
        if self.top != top {
            if let Some((id, _)) = self.top.take() {
                tell(Change::Gone(id));
            }
            // First of all: by its class, what has not been looked at yet is nobody's.
            self.top = top.filter(|(id, class)| tell(Change::Appeared(*id, *class)));
        }
        self.look_into(view, view.top, Depth::All, tell)
    }

    /// Looks at one folder again, in which something has changed.
    ///
    /// # Errors
    /// The hierarchy cannot be read.
    pub fn look_at(
        &mut self,
        view: &View<'_>,
        folder: &str,
        tell: &mut impl Tell,
    ) -> io::Result<()> {
        // A folder that was forgotten since, or that no rule is about any more.
        if !self.folders.contains_key(folder) {
            return Ok(());
        }
        self.look_into(view, folder, Depth::New, tell)
    }

    /// Everything that the kernel was told.
    pub fn told(&self) -> impl Iterator<Item = (u64, CgroupClass)> {
        let children = self.folders.values().flatten();
        self.top
            .into_iter()
            .chain(children.map(|(id, child)| (*id, child.class)))
    }

    /// Whether a folder is read.
    pub fn reads(&self, folder: &str) -> bool {
        self.folders.contains_key(folder)
    }

    fn look_into(
        &mut self,
        view: &View<'_>,
        folder: &str,
        depth: Depth,
        tell: &mut impl Tell,
    ) -> io::Result<()> {
        if !view.tables.holds_unknown(folder) {
            return Ok(());
        }
        let at = super::folder(view.mount, folder);
        if let Some(watch) = view.watch {
            // Before it is read, so that nothing that appears meanwhile is missed.
            watch.add(&at, folder);
        }
        let (found, there) = match children(view, folder, &at) {
            Ok(found) => (found, true),
            Err(error) if is_gone(&error) => (Vec::new(), false),
            Err(error) => return Err(error),
        };
        let mut before = self.folders.remove(folder).unwrap_or_default();
        let mut now = HashMap::with_capacity(found.len());
        let mut below = Vec::new();
        for (id, child) in found {
            let is_new = before.remove(&id).is_none();
            if is_new && !tell(Change::Appeared(id, child.class)) {
                continue;
            }
            if let Some(path) = &child.folder
                && (is_new || depth == Depth::All)
            {
                below.push(path.clone());
            }
            now.insert(id, child);
        }
        for (id, child) in before {
            tell(Change::Gone(id));
            // It may be there again under another id, and is then read anew.
            below.extend(child.folder);
        }
        if there {
            self.folders.insert(folder.to_owned(), now);
        }
        below.sort_unstable();
        below.dedup();
        for path in below {
            self.look_into(view, &path, depth, tell)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Into folders that are new or gone.
    New,
    All,
}

fn children(view: &View<'_>, folder: &str, at: &Path) -> io::Result<Vec<(u64, Child)>> {
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name();
        // Rules are text, and name none that is not.
        let path = format!(
            "{}/{}",
            folder.trim_end_matches('/'),
            name.to_string_lossy()
        );
        let Some(class) = view.tables.cgroup_entry(&path) else {
            continue;
        };
        let is_named = view.tables.cgroups.contains_key(&path);
        let child = Child {
            class,
            folder: view.tables.holds_unknown(&path).then_some(path),
        };
        let found = if is_named { &mut named } else { &mut others };
        found.push((entry.ino(), child));
    }
    // Where there is no room for all, those that rules name have it.
    named.append(&mut others);
    Ok(named)
}

/// Reading the folder of a cgroup that is removed meanwhile gives either.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests;
