//! The tables that cgroups' classes lead to. They grow while their rule set is active, as classes
//! are met: what nothing refers to yet changes no decision.

use aya::maps::{HashMap, LpmTrie, MapData, MapError};
use sidetrack_abi::{
    names::{RULE_ENTRIES, STAGE_ENTRIES},
    rules::{Rule, RuleKey, StageKey},
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
}

impl Classes {
    /// New ones, of no rule set yet.
    pub(super) fn create() -> Result<Self, MapError> {
        Ok(Self {
            stages: HashMap::create(STAGE_ENTRIES as u32, NO_PREALLOC)?,
            rules: LpmTrie::create(RULE_ENTRIES as u32, NO_PREALLOC)?,
            told: 0,
            entries: 0,
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
        tables.made_since(0).into_iter().take(self.told)
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
}
