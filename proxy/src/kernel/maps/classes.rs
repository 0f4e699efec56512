//! The tables that cgroups' classes lead to. They grow while their rule set is active, as classes
//! are met: what nothing refers to yet changes no decision.

use std::collections::HashMap as StdHashMap;

use aya::maps::{HashMap, LpmTrie, MapData, MapError};
use sidetrack_abi::{
    names::{RULE_ENTRIES, STAGE_ENTRIES},
    rules::{Rule, RuleKey, STAGE_NETNS_NAMES, StageKey},
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

/// The tables of one rule set.
pub(super) struct Classes {
    stages: HashMap<MapData, StageKey, u32>,
    rules: LpmTrie<MapData, RuleKey, Rule>,
    /// How much of what was made the kernel has.
    told: usize,
    /// Entries of the rule trie.
    entries: usize,
    /// Network namespaces that the kernel knows, by cookie, with the number of their names.
    namespaces: StdHashMap<u64, u32>,
}

impl Classes {
    /// New ones, of no rule set yet.
    pub(super) fn create() -> Result<Self, MapError> {
        Ok(Self {
            stages: HashMap::create(STAGE_ENTRIES as u32, NO_PREALLOC)?,
            rules: LpmTrie::create(RULE_ENTRIES as u32, NO_PREALLOC)?,
            told: 0,
            entries: 0,
            namespaces: StdHashMap::new(),
        })
    }

    pub(super) fn stages(&self) -> &HashMap<MapData, StageKey, u32> {
        &self.stages
    }

    pub(super) fn rules(&self) -> &LpmTrie<MapData, RuleKey, Rule> {
        &self.rules
    }

    /// Tells the kernel all that classes were made of. Before it succeeds, no class that was met
    /// since it last did may be named to the kernel.
    pub(super) fn tell(&mut self, tables: &RuleTables) -> Result<(), KernelError> {
        for made in tables.made_since(self.told) {
            match made {
                Made::Rules {
                    destination,
                    selection,
                    ranges,
                } => {
                    let entries = rule_entries(destination, selection, &ranges);
                    rules_fit(tables, self.entries + entries.len())?;
                    for (key, rule) in &entries {
                        self.rules.insert(key, rule, 0).map_err(filling)?;
                    }
                    self.entries += entries.len();
                }
                Made::Stage(key, class) => self.stages.insert(key, class, 0).map_err(filling)?,
            }
            self.told += 1;
        }
        Ok(())
    }

    /// Tells the kernel which network namespaces are known, and what follows from their names first.
    pub(super) fn tell_namespaces(&mut self, tables: &RuleTables) -> Result<(), KernelError> {
        let known = tables.numbered_namespaces();
        self.tell(tables)?;
        let key = |cookie: u64| StageKey {
            class: 0,
            kind: STAGE_NETNS_NAMES,
            value: cookie,
        };
        let told: Vec<u64> = self.namespaces.keys().copied().collect();
        for cookie in told.into_iter().filter(|told| !known.contains_key(told)) {
            // Gone already if somebody else has removed it.
            let _ = self.stages.remove(&key(cookie));
            self.namespaces.remove(&cookie);
        }
        for (cookie, number) in known {
            if self.namespaces.get(&cookie) != Some(&number) {
                self.stages
                    .insert(key(cookie), number, 0)
                    .map_err(filling)?;
                self.namespaces.insert(cookie, number);
            }
        }
        Ok(())
    }
}
