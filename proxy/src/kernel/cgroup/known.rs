//! Which cgroups there are, as far as rules tell them apart.
//!
//! Only folders in which such a cgroup can be are read. What lies below any other has the class of
//! the cgroup above it.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
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
    /// By their path.
    folders: BTreeMap<String, Folder>,
}

/// A cgroup whose children are looked at one by one.
#[derive(Debug)]
struct Folder {
    id: u64,
    children: HashMap<u64, Child>,
}

#[derive(Debug, PartialEq, Eq)]
struct Child {
    /// What the kernel was told of it: nothing where it has the class of what is not known in its
    /// folder.
    told: Option<CgroupClass>,
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
        if !view.tables.asks_for_cgroups() {
            return Ok(());
        }
        let place = view.tables.place(view.top);
        let class = view.tables.class(&place);
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
            if let Some((id, class)) = top
                && !tell(Change::Appeared(id, class))
            {
                // What is below it would be nobody's as long as it is not known by itself.
                return Err(io::Error::other(
                    "the kernel's table of cgroups takes no entry",
                ));
            }
            self.top = top;
        }
        if view.tables.holds_unknown(&place) {
            self.look_into(view, view.top, Depth::All, tell)?;
        }
        Ok(())
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
        let children = self.folders.values().flat_map(|folder| &folder.children);
        let told = children.filter_map(|(id, child)| Some((*id, child.told?)));
        self.top.into_iter().chain(told)
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
        let at = super::folder(view.mount, folder);
        let watched = self.folders.get(folder).map(|before| before.id);
        let listed = match list(view, folder, &at, watched) {
            Ok(listed) => Some(listed),
            Err(error) if is_gone(&error) => None,
            Err(error) => return Err(error),
        };
        let before = self.folders.remove(folder);
        let mut gone = before.map(|before| before.children).unwrap_or_default();
        let mut below = Vec::new();
        if let Some(Listed { id, entries }) = listed {
            let mut children = HashMap::with_capacity(entries.len());
            let mut new = Vec::new();
            for (id, name) in entries {
                match gone.remove(&id) {
                    Some(child) => {
                        if depth == Depth::All {
                            below.extend(child.folder.clone());
                        }
                        children.insert(id, child);
                    }
                    None => new.push((id, name)),
                }
            }
            for (id, child) in classify(view, folder, new) {
                if let Some(class) = child.told
                    && !tell(Change::Appeared(id, class))
                {
                    continue;
                }
                below.extend(child.folder.clone());
                children.insert(id, child);
            }
            self.folders
                .insert(folder.to_owned(), Folder { id, children });
        }
        for (id, child) in gone {
            if child.told.is_some() {
                tell(Change::Gone(id));
            }
            // It may be there again under another id, and is then read anew.
            below.extend(child.folder);
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

/// What a folder has in it.
struct Listed {
    id: u64,
    entries: Vec<(u64, String)>,
}

/// Lists a folder; `watched` is the id of the one of this path that is watched.
fn list(view: &View<'_>, folder: &str, at: &Path, watched: Option<u64>) -> io::Result<Listed> {
    let mut metadata = fs::metadata(at)?;
    let id = metadata.ino();
    if watched != Some(id)
        && let Some(watch) = view.watch
    {
        // Before it is read, so that nothing that appears meanwhile is missed.
        watch.add(at, folder);
        metadata = fs::metadata(at)?;
    }
    let mut entries = Vec::new();
    // One for its name, one for itself, and one for each folder in it: most have none, and need
    // not be read. Every file of a cgroup would be listed.
    if metadata.nlink() == 2 {
        return Ok(Listed { id, entries });
    }
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // Rules are text, and name none that is not.
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push((entry.ino(), name));
        }
    }
    Ok(Listed { id, entries })
}

/// The classes of cgroups in a folder, where they are not what follows from the folder.
fn classify(view: &View<'_>, folder: &str, entries: Vec<(u64, String)>) -> Vec<(u64, Child)> {
    if entries.is_empty() {
        return Vec::new();
    }
    let tables = view.tables;
    let place = tables.place(folder);
    let unknown = tables.class(&place).below;
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for (id, name) in entries {
        let place = tables.place_in(&place, &name);
        // It stays unknown until its runtime has written its name.
        if !tables.is_certain(&place) {
            continue;
        }
        let class = tables.class(&place);
        let path = format!("{}/{name}", folder.trim_end_matches('/'));
        let child = Child {
            told: (class.own != unknown || class.below != unknown).then_some(class),
            folder: tables.holds_unknown(&place).then_some(path),
        };
        let found = if tables.is_named(&place) {
            &mut named
        } else {
            &mut others
        };
        found.push((id, child));
    }
    // Where there is no room for all, those that rules name have it.
    named.append(&mut others);
    named
}

/// Reading the folder of a cgroup that is removed meanwhile gives either.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests;
