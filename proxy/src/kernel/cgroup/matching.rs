//! The cgroups that patterns select, as they are now.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::config::{
    CgroupPattern,
    cgroup::{Below, Names, Progress, Selects},
};

/// The cgroups that a pattern selects, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Matched {
    /// These.
    pub certain: HashSet<u64>,
    /// These too if they are of a container whose name is asked for, which nobody can tell.
    pub possible: HashSet<u64>,
}

/// What each pattern selects.
pub fn ids<'a>(
    mount: &Path,
    patterns: impl Iterator<Item = &'a CgroupPattern>,
    containers: &impl Names,
) -> HashMap<CgroupPattern, Matched> {
    let mut found: HashMap<CgroupPattern, Matched> = patterns
        .map(|pattern| (pattern.clone(), Matched::default()))
        .collect();
    let patterns: Vec<CgroupPattern> = found.keys().cloned().collect();
    walk(mount, patterns.iter(), containers, |one| {
        let Some(matched) = found.get_mut(one.pattern) else {
            return;
        };
        match one.selects {
            Selects::Yes => drop(matched.certain.insert(one.id)),
            Selects::Perhaps => drop(matched.possible.insert(one.id)),
            Selects::No => {}
        }
    });
    found
}

/// Folders of the cgroups that patterns name, without those below them.
pub fn named<'a>(
    mount: &Path,
    patterns: impl Iterator<Item = &'a CgroupPattern>,
    containers: &impl Names,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(mount, patterns, containers, |one| {
        if one.selects == Selects::Yes && !one.above_too {
            found.push(one.folder.to_path_buf());
        }
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// A pattern at one cgroup.
struct At<'a> {
    folder: &'a Path,
    id: u64,
    pattern: &'a CgroupPattern,
    selects: Selects,
    /// Whether it selects the cgroup above as well.
    above_too: bool,
}

/// Where a pattern has come to, and whether it selects the cgroup above.
type Followed<'a> = (&'a CgroupPattern, Progress, bool);

/// Visits only folders in which one that is selected can be.
fn walk<'a>(
    mount: &Path,
    patterns: impl Iterator<Item = &'a CgroupPattern>,
    containers: &impl Names,
    mut visit: impl FnMut(At<'_>),
) {
    let at_root = patterns.map(|pattern| (pattern, pattern.root(), false));
    let mut folders: Vec<(PathBuf, Vec<Followed<'a>>)> =
        vec![(mount.to_path_buf(), at_root.collect())];
    while let Some((folder, patterns)) = folders.pop() {
        let Ok(metadata) = fs::metadata(&folder) else {
            continue;
        };
        for (pattern, progress, above_too) in &patterns {
            visit(At {
                folder: &folder,
                id: metadata.ino(),
                pattern,
                selects: pattern.selects(*progress),
                above_too: *above_too,
            });
        }
        // With two links it has no folders in it.
        if metadata.nlink() == 2 {
            continue;
        }
        for child in super::children(&folder) {
            let Some(name) = child.file_name().map(|name| name.to_string_lossy()) else {
                continue;
            };
            let step = |(pattern, before, _): &Followed<'a>| {
                let progress = pattern.child(*before, &name, containers);
                let goes_on = pattern.below(progress) != Below::None;
                let above_too = pattern.selects(*before) == Selects::Yes;
                goes_on.then_some((*pattern, progress, above_too))
            };
            let patterns: Vec<_> = patterns.iter().filter_map(step).collect();
            if !patterns.is_empty() {
                folders.push((child, patterns));
            }
        }
    }
}
