//! The cgroups that patterns select, as they are now.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::config::{
    CgroupPattern,
    cgroup::{Below, Progress},
};

/// Ids of the cgroups that each pattern selects. Reads only folders in which there can be one.
pub fn ids<'a>(
    mount: &Path,
    patterns: impl Iterator<Item = &'a CgroupPattern>,
) -> HashMap<CgroupPattern, HashSet<u64>> {
    let mut found: HashMap<&CgroupPattern, HashSet<u64>> =
        patterns.map(|pattern| (pattern, HashSet::new())).collect();
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
            if pattern.is_matched(*progress)
                && let Some(ids) = found.get_mut(pattern)
            {
                ids.insert(metadata.ino());
            }
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
                let progress = pattern.child(*progress, &name);
                let one = (*pattern, progress);
                (pattern.is_matched(progress) || could_be(&one)).then_some(one)
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
