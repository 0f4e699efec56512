//! The tables that cgroups' classes lead to. They grow while their rule set is active, as classes
//! are met: what nothing refers to yet changes no decision.

use std::{
    collections::{HashMap as StdHashMap, HashSet},
    io,
};

use aya::maps::{HashMap, LpmTrie, MapData, MapError};
use sidetrack_abi::{
    names::{RULE_ENTRIES, STAGE_ENTRIES},
    rules::{ANY_VALUE, CgroupClass, Rule, RuleKey, STAGE_NETNS, STAGE_NETNS_NAMES, StageKey},
};

use super::{
    NO_PREALLOC,
    entries::{rule_entries, rules_fit},
    filling,
};
use crate::kernel::{
    KernelError,
    rules::{Made, RuleTables},
};

/// A class by the number of stages that come before it, none for that of a cgroup.
type Class = (usize, u32);

/// The tables of one rule set.
pub(super) struct Classes {
    stages: HashMap<MapData, StageKey, u32>,
    rules: LpmTrie<MapData, RuleKey, Rule>,
    /// Entries that the rule trie has room for.
    room: usize,
    /// Entries of the rule trie.
    entries: usize,
    /// Network namespaces that the kernel knows, by cookie, with the number of their names.
    namespaces: StdHashMap<u64, u32>,
    /// How much of what was made has been looked at.
    told: usize,
    /// Those of which the kernel has nothing, for want of room.
    lacking: HashSet<Class>,
    /// What kinds of network namespaces lead to of which it has nothing: they stay unknown.
    lacking_netns: HashSet<StageKey>,
    /// Why the first of them did not fit.
    why: Option<KernelError>,
}

impl Classes {
    /// New ones, of no rule set yet.
    pub(super) fn create() -> Result<Self, MapError> {
        Self::with_room(RULE_ENTRIES)
    }

    /// With room for so many entries of the rule trie.
    pub(super) fn with_room(room: usize) -> Result<Self, MapError> {
        Ok(Self {
            stages: HashMap::create(STAGE_ENTRIES as u32, NO_PREALLOC)?,
            rules: LpmTrie::create(room as u32, NO_PREALLOC)?,
            room,
            entries: 0,
            namespaces: StdHashMap::new(),
            told: 0,
            lacking: HashSet::new(),
            lacking_netns: HashSet::new(),
            why: None,
        })
    }

    pub(super) fn stages(&self) -> &HashMap<MapData, StageKey, u32> {
        &self.stages
    }

    pub(super) fn rules(&self) -> &LpmTrie<MapData, RuleKey, Rule> {
        &self.rules
    }

    /// All that the kernel was told, in that order.
    pub(super) fn told(&self, tables: &RuleTables) -> impl Iterator<Item = Made> {
        let kinds = tables.stages();
        let made = tables.made_since(0).into_iter().take(self.told);
        made.filter(move |made| {
            let class = class_of(made, &kinds);
            let netns = match made {
                Made::Stage(key, _) => self.lacking_netns.contains(key),
                Made::Rules { .. } => false,
            };
            !netns && class.is_some_and(|class| !self.lacking.contains(&class))
        })
    }

    /// Tells the kernel all that classes were made of. What does not fit is left out as a whole, so
    /// that it takes no room from others.
    pub(super) fn tell(&mut self, tables: &RuleTables) {
        let made = tables.made_since(self.told);
        self.told += made.len();
        let kinds = tables.stages();
        for part in made.chunk_by(Made::is_of_one_class) {
            let Some(first) = part.first() else { continue };
            let Some(class) = class_of(first, &kinds) else {
                continue;
            };
            match first {
                Made::Rules { .. } => {
                    if let Err(error) = self.tell_rules(tables, part) {
                        self.lacks(class, error);
                    }
                }
                Made::Stage(..) if self.lacking.contains(&class) => {}
                // It may come later than the rest of its class, which holds without it.
                Made::Stage(key, next) if key.kind == STAGE_NETNS && key.value != ANY_VALUE => {
                    let lacks = self.lacking.contains(&(class.0 + 1, *next));
                    if lacks || self.stages.insert(key, next, 0).is_err() {
                        self.lacking_netns.insert(*key);
                    }
                }
                Made::Stage(key, next) => {
                    if self.lacking.contains(&(class.0 + 1, *next)) {
                        self.lacking.insert(class);
                    } else if let Err(error) = self.stages.insert(key, next, 0) {
                        self.lacks(class, filling(error));
                    }
                    if self.lacking.contains(&class) {
                        self.take_back(&made, key);
                    }
                }
            }
        }
    }

    /// All rules of one selection class, or none.
    fn tell_rules(&mut self, tables: &RuleTables, part: &[Made]) -> Result<(), KernelError> {
        let entries: Vec<_> = part
            .iter()
            .flat_map(|made| match made {
                Made::Rules {
                    destination,
                    selection,
                    ranges,
                } => rule_entries(*destination, *selection, ranges),
                Made::Stage(..) => Vec::new(),
            })
            .collect();
        rules_fit(tables, self.entries + entries.len(), self.room)?;
        for (done, (key, rule)) in entries.iter().enumerate() {
            if let Err(error) = self.rules.insert(key, rule, 0) {
                for (key, _) in entries.iter().take(done) {
                    // Nothing leads to it, so that what stays costs room alone.
                    let _ = self.rules.remove(key);
                }
                return Err(filling(error));
            }
        }
        self.entries += entries.len();
        Ok(())
    }

    /// Tells the kernel which network namespaces are known, and what follows from their names first. What
    /// fails keeps none of the others from it: a namespace of which the kernel has nothing gets the
    /// strictest rule, and one that it still has under other names might get any.
    ///
    /// # Errors
    /// The first that happened.
    pub(super) fn tell_namespaces(&mut self, tables: &RuleTables) -> Result<(), KernelError> {
        let known = tables.numbered_namespaces();
        self.tell(tables);
        let told: Vec<u64> = self.namespaces.keys().copied().collect();
        for cookie in told.into_iter().filter(|told| !known.contains_key(told)) {
            self.unname(cookie);
        }
        let differing = known
            .into_iter()
            .filter(|(cookie, number)| self.namespaces.get(cookie) != Some(number));
        // New ones last, for which there may be no room.
        let (renamed, new): (Vec<_>, Vec<_>) =
            differing.partition(|(cookie, _)| self.namespaces.contains_key(cookie));
        let mut outcome = Ok(());
        for (cookie, number) in renamed.into_iter().chain(new) {
            match self.stages.insert(of_namespace(cookie), number, 0) {
                Ok(()) => {
                    self.namespaces.insert(cookie, number);
                }
                Err(error) => {
                    self.unname(cookie);
                    outcome = outcome.and(Err(filling(error)));
                }
            }
        }
        outcome
    }

    /// The kernel has nothing of a namespace from here on, or it is tried again.
    fn unname(&mut self, cookie: u64) {
        let is_gone = |error: &MapError| match error {
            MapError::SyscallError(error) => error.io_error.kind() == io::ErrorKind::NotFound,
            _ => false,
        };
        match self.stages.remove(&of_namespace(cookie)) {
            // Somebody else may have removed it.
            Err(error) if !is_gone(&error) => {
                tracing::debug!(%error, cookie, "removing a namespace's number");
            }
            Ok(()) | Err(_) => {
                self.namespaces.remove(&cookie);
            }
        }
    }

    /// The network namespaces that the kernel was told of, as entries of the stages.
    pub(super) fn told_namespaces(&self) -> impl Iterator<Item = (StageKey, u32)> {
        let namespaces = self.namespaces.iter();
        namespaces.map(|(cookie, number)| (of_namespace(*cookie), *number))
    }

    fn lacks(&mut self, class: Class, error: KernelError) {
        self.lacking.insert(class);
        self.why.get_or_insert(error);
    }

    /// Removes what was told of a class with this key. A class is made in one go.
    fn take_back(&mut self, made: &[Made], class: &StageKey) {
        for one in made {
            if let Made::Stage(key, _) = one
                && (key.class, key.kind) == (class.class, class.kind)
            {
                // Absent if it comes after what did not fit.
                let _ = self.stages.remove(key);
            }
        }
    }

    /// Whether the kernel has all that these lead to, and may be told of a cgroup that has them.
    pub(super) fn fit(&self, class: CgroupClass) -> bool {
        let mut classes = [class.own, class.below].into_iter();
        classes.all(|class| !self.lacking.contains(&(0, class)))
    }

    /// Why something did not fit.
    pub(super) fn why(&self) -> Option<&KernelError> {
        self.why.as_ref()
    }

    /// Fails if anything did not fit.
    pub(super) fn all_fit(&mut self) -> Result<(), KernelError> {
        self.why.take().map_or(Ok(()), Err)
    }
}

fn of_namespace(cookie: u64) -> StageKey {
    StageKey {
        class: 0,
        kind: STAGE_NETNS_NAMES,
        value: cookie,
    }
}

/// Of which class it is.
fn class_of(made: &Made, kinds: &[u32]) -> Option<Class> {
    Some(match made {
        Made::Rules { selection, .. } => (kinds.len(), *selection),
        Made::Stage(key, _) => {
            let stage = kinds.iter().position(|kind| *kind == key.kind)?;
            (stage, key.class)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::*;
    use crate::{
        config::Config,
        kernel::rules::{Names, Scope},
    };

    #[test]
    #[ignore = "privileged: run by cargo xtask test"]
    fn namespaces_that_there_is_no_room_for_keep_no_other_under_an_old_name() {
        let text = "version = 1\nselect.x.include = [{ netns = [\"/run/netns/x\"] }]\n\
                    [[outbound]]\nname = \"x\"\nselect = \"x\"\nto = [\"10.0.0.0/8\"]\n\
                    ports = [\"443\"]\naction = \"passthrough\"\n";
        let config = Config::parse(text, Path::new("/f.toml")).unwrap();
        let tables = RuleTables::compile(&config, Scope::Selections, 1);
        let nameless = |cookies: std::ops::Range<u64>| cookies.map(|one| (one, Names::default()));
        let mut all: BTreeMap<u64, Names> = nameless(0..40).collect();
        (0..3).for_each(|one| all.get_mut(&one).unwrap().add(0));
        tables.know_namespaces(&all);
        let made = tables.made_since(0).into_iter();
        let stages = made.filter_map(|made| match made {
            Made::Stage(key, _) => Some(key),
            Made::Rules { .. } => None,
        });
        let room = stages.collect::<HashSet<_>>().len() as u32 + 3;
        let mut classes = Classes::create().unwrap();
        classes.stages = HashMap::create(room, NO_PREALLOC).unwrap();
        tables.know_namespaces(&nameless(0..3).collect());
        classes.tell_namespaces(&tables).unwrap();

        tables.know_namespaces(&all);
        // As if the kernel had no memory for it: others have all places.
        classes.stages.remove(&of_namespace(2)).unwrap();
        let mut others = (100..).map(of_namespace);
        assert!(others.any(|other| classes.stages.insert(other, 0, 0).is_err()));
        assert!(classes.tell_namespaces(&tables).is_err());
        let known = tables.numbered_namespaces();
        for cookie in [0, 1] {
            let told = classes.stages.get(&of_namespace(cookie), 0);
            assert_eq!(told.ok(), known.get(&cookie).copied());
        }
        let told: HashSet<u64> = classes.namespaces.keys().copied().collect();
        assert_eq!(told, HashSet::from([0, 1]), "it will be tried again");
    }
}
