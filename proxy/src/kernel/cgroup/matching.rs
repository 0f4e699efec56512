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

/// What each pattern selects. Reads only folders in which there can be one.
pub fn ids<'a>(
    mount: &Path,
    patterns: impl Iterator<Item = &'a CgroupPattern>,
    containers: &impl Names,
) -> HashMap<CgroupPattern, Matched> {
    let mut found: HashMap<&CgroupPattern, Matched> = patterns
        .map(|pattern| (pattern, Matched::default()))
        .collect();
    let at_root: Vec<(&CgroupPattern, Progress)> = found
        .keys()
        .map(|pattern| (*pattern, pattern.root()))
        .collect();
    let mut folders: Vec<(PathBuf, Vec<(&CgroupPattern, Progress)>)> =
        vec![(mount.to_path_buf(), at_root)];
    while let Some((folder, patterns)) = folders.pop() {
        let Ok(metadata) = fs::metadata(&folder) else {
            continue;
        };
        for (pattern, progress) in &patterns {
            let Some(matched) = found.get_mut(pattern) else {
                continue;
            };
            match pattern.selects(*progress) {
                Selects::Yes => matched.certain.insert(metadata.ino()),
                Selects::Perhaps => matched.possible.insert(metadata.ino()),
                Selects::No => continue,
            };
        }
        let could_be = |(pattern, progress): &(&CgroupPattern, Progress)| {
            pattern.below(*progress) != Below::None
        };
        // With two links it has no folders in it.
        if metadata.nlink() == 2 || !patterns.iter().any(could_be) {
            continue;
        }
        for child in super::children(&folder) {
            let Some(name) = child.file_name().map(|name| name.to_string_lossy()) else {
                continue;
            };
            let step = |(pattern, progress): &(&'a CgroupPattern, Progress)| {
                let progress = pattern.child(*progress, &name, containers);
                let one = (*pattern, progress);
                could_be(&one).then_some(one)
            };
            let patterns: Vec<_> = patterns.iter().filter_map(step).collect();
            if !patterns.is_empty() {
                folders.push((child, patterns));
            }
        }
    }
    found
        .into_iter()
        .map(|(pattern, ids)| (pattern.clone(), ids))
        .collect()
}
