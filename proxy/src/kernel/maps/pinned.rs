//! The tables that are pinned, read by a process that has not filled them: what the kernel decides
//! by, whatever the daemon believes.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

use aya::maps::{Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use sidetrack_abi::{
    Address, Query, Verdict, decide,
    decision::Tables,
    executable::{self, ExecutableKey, ExecutableStep},
    names::map,
    rules::{
        ANY_VALUE, CgroupClass, DestinationKey, Rule, RuleKey, SELECTION_ALL, SELECTION_NONE,
        STAGE_EXECUTABLE, STAGE_GROUP, STAGE_NETNS, STAGE_NETNS_NAMES, STAGE_USER, StageKey,
    },
    settings::{
        SETTING_CGROUPS, SETTING_EXECUTABLES, SETTING_GROUPS, SETTING_NETNS, SETTING_SELECT_ALL,
        SETTING_USERS, Settings,
    },
};

use crate::kernel::{
    pins::{PinName, map_path},
    rules::Task,
};

/// The active rule set of an instance.
pub struct Pinned {
    settings: Settings,
    cgroups: HashMap<MapData, u64, CgroupClass>,
    stages: HashMap<MapData, StageKey, u32>,
    executables: HashMap<MapData, ExecutableKey, ExecutableStep>,
    destinations: LpmTrie<MapData, DestinationKey, u32>,
    rules: LpmTrie<MapData, RuleKey, Rule>,
}

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PinnedError {
    /// No bpf file system.
    #[error("no bpf file system is mounted, so that nothing is pinned")]
    Nowhere,
    /// The active set was never filled.
    #[error("the kernel decides by the rule set {set}, in which there are no rules")]
    NoRules {
        /// Its number.
        set: u32,
    },
    /// The kernel refused, or they are of another build.
    #[error(
        "reading the kernel's tables: {0}; it needs CAP_SYS_ADMIN and CAP_BPF, and a binary of the \
         same build as the daemon's"
    )]
    Map(#[from] MapError),
}

impl Pinned {
    /// Opens the maps of an instance.
    ///
    /// # Errors
    /// [`PinnedError`]
    pub fn open(name: &PinName) -> Result<Self, PinnedError> {
        let data = |map: &str| -> Result<MapData, PinnedError> {
            let path = map_path(name, map).ok_or(PinnedError::Nowhere)?;
            Ok(MapData::from_pin(path)?)
        };
        let sets = |map| data(map).map(Map::ArrayOfMaps);
        let active: Array<MapData, u32> = Map::Array(data(map::ACTIVE)?).try_into()?;
        let settings: Array<MapData, Settings> = Map::Array(data(map::SETTINGS)?).try_into()?;
        let set = active.get(&0, 0)?;
        let settings = settings.get(&set, 0)?;
        if settings.generation == 0 {
            return Err(PinnedError::NoRules { set });
        }
        let cgroups = ArrayOfMaps::try_from(sets(map::CGROUPS)?)?;
        let stages = ArrayOfMaps::try_from(sets(map::STAGES)?)?;
        let executables = ArrayOfMaps::try_from(sets(map::EXECUTABLES)?)?;
        let destinations = ArrayOfMaps::try_from(sets(map::DESTINATIONS)?)?;
        let rules = ArrayOfMaps::try_from(sets(map::RULES)?)?;
        Ok(Self {
            settings,
            cgroups: cgroups.get(&set, 0)?,
            stages: stages.get(&set, 0)?,
            executables: executables.get(&set, 0)?,
            destinations: destinations.get(&set, 0)?,
            rules: rules.get(&set, 0)?,
        })
    }

    /// Generation of the rules.
    pub fn generation(&self) -> u32 {
        self.settings.generation
    }

    /// The number that the programs find for an executable.
    pub fn executable(&self, path: &str) -> u32 {
        executable::number(path, |key| self.executables.get(key, 0).ok())
    }

    /// The selection class that the programs find for a task, whose cgroup is below `mount`.
    ///
    /// # Errors
    /// The cgroup is gone.
    pub fn selection(&self, mount: &Path, task: &Task<'_>) -> io::Result<u32> {
        let flags = self.settings.flags;
        if flags & SETTING_SELECT_ALL != 0 {
            return Ok(SELECTION_ALL);
        }
        let mut class = SELECTION_NONE;
        if flags & SETTING_CGROUPS != 0 {
            let own = crate::kernel::cgroup::folder(mount, task.cgroup);
            for folder in looked_through(mount, &own) {
                let id = std::fs::metadata(folder)?.ino();
                if let Ok(found) = self.cgroups.get(&id, 0) {
                    class = if folder == own {
                        found.own
                    } else {
                        found.below
                    };
                    break;
                }
            }
        }
        let names = task.netns.and_then(|cookie| {
            let key = StageKey {
                class: 0,
                kind: STAGE_NETNS_NAMES,
                value: cookie,
            };
            self.stages.get(&key, 0).ok()
        });
        for (setting, kind, value) in [
            (SETTING_USERS, STAGE_USER, Some(task.uid)),
            (SETTING_GROUPS, STAGE_GROUP, task.gid),
            (SETTING_EXECUTABLES, STAGE_EXECUTABLE, Some(task.executable)),
            (SETTING_NETNS, STAGE_NETNS, names),
        ] {
            if flags & setting != 0 {
                let of = |value| self.stages.get(&StageKey { class, kind, value }, 0);
                let found = of(value.map_or(ANY_VALUE, u64::from)).or_else(|_| of(ANY_VALUE));
                class = found.unwrap_or(SELECTION_NONE);
            }
        }
        Ok(class)
    }

    /// What the programs decide.
    pub fn decide(&self, query: &Query) -> Verdict {
        decide(self, query)
    }
}

/// A cgroup and those above it, deepest first, as far down as the programs look.
fn looked_through<'a>(mount: &Path, own: &'a Path) -> impl Iterator<Item = &'a Path> {
    let below = own.strip_prefix(mount).unwrap_or(Path::new(""));
    let levels = below.components().count();
    let too_deep = levels.saturating_sub(sidetrack_abi::rules::CGROUP_DEPTH as usize);
    own.ancestors().take(levels + 1).skip(too_deep)
}

impl Tables for Pinned {
    fn destination_class(&self, address: &Address) -> Option<u32> {
        let key = Key::new(128, DestinationKey { address: *address });
        self.destinations.get(&key, 0).ok()
    }

    fn rule(&self, key: &RuleKey) -> Option<Rule> {
        self.rules.get(&Key::new(RuleKey::BITS, *key), 0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_looked_for_as_deep_as_the_programs_look_and_up_to_the_root() {
        let mount = Path::new("/sys/fs/cgroup");
        let of = |own: &str| -> Vec<String> {
            let own = mount.join(own);
            let looked = looked_through(mount, &own);
            looked.map(|path| path.display().to_string()).collect()
        };
        assert_eq!(of("a"), ["/sys/fs/cgroup/a", "/sys/fs/cgroup"]);
        let deep = of("1/2/3/4/5/6/7/8/9/10/11/12/13/14");
        assert_eq!(deep.len(), 13);
        assert_eq!(deep[0], "/sys/fs/cgroup/1/2/3/4/5/6/7/8/9/10/11/12");
    }
}
