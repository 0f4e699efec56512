//! The tables that the programs decide by, held against what they were filled with. All that they
//! hold is read: an entry that somebody added decides as well as one of ours.

use std::{hash::Hash, io, net::IpAddr};

use aya::{
    Pod,
    maps::{IterableMap, lpm_trie::Key},
};
use sidetrack_abi::{
    names::map,
    rules::{RULE_CANARY, RULE_UNCLASSIFIED, Rule},
};

use super::{
    differing::{Differing, differing},
    written_by_others,
};
use crate::kernel::{
    effective::Fault,
    maps::{Maps, destination_key, entries::rule_entries},
    rules::{Made, RuleTables},
    sys::contents::contents,
};

/// Reloading fills tables anew, and does not interrupt anything.
const RELOAD: &str = "somebody else has written to the maps: reload the daemon (SIGHUP), which fills \
                      new tables, and look for who it is";

/// One table, and what it was told.
struct Told<'a, T, I, P> {
    name: &'static str,
    what: &'static str,
    table: &'a T,
    told: I,
    /// A key as it is compared: that of a trie is packed.
    plain: P,
}

impl<T, I, P> Told<'_, T, I, P> {
    fn compare<K, V, Plain>(self) -> io::Result<Option<Differing<Plain, V>>>
    where
        K: Pod,
        V: Pod + PartialEq,
        T: IterableMap<K, V>,
        I: Iterator<Item = (Plain, V)>,
        P: Fn(K) -> Plain,
        Plain: Eq + Hash + Copy,
    {
        let found = contents(self.table)?.into_iter();
        Ok(differing(
            self.told,
            found.map(|(key, value)| ((self.plain)(key), value)),
        ))
    }
}

impl Maps {
    /// Tables of the active rules that are not as this process has filled them.
    pub(super) fn wrong_tables(&self, tables: &RuleTables) -> Vec<Fault> {
        // Without rules there is nothing to compare.
        let (Some(filled), Some(active)) = (&self.filled, &self.cgroups.active) else {
            return Vec::new();
        };
        let (mut stages, mut rules) = (Vec::new(), Vec::new());
        for made in active.classes.told(tables) {
            match made {
                Made::Stage(key, class) => stages.push((key, class)),
                Made::Rules {
                    destination,
                    selection,
                    ranges,
                } => rules.extend(rule_entries(destination, selection, &ranges)),
            }
        }
        stages.extend(active.classes.told_namespaces());
        let cgroups = Told {
            name: map::CGROUPS,
            what: "cgroups",
            table: &active.classified.inner,
            told: active.classified.known.told(),
            plain: |id| id,
        };
        let stages = Told {
            name: map::STAGES,
            what: "users, groups, executables' numbers and network namespaces",
            table: active.classes.stages(),
            told: stages.into_iter(),
            plain: |key| key,
        };
        let named = tables.executable_steps();
        let executables = Told {
            name: map::EXECUTABLES,
            what: "executables",
            table: &filled.executables,
            told: named.map(|(key, step)| (*key, *step)),
            plain: |key| key,
        };
        let named = tables.destinations.iter();
        let destinations = Told {
            name: map::DESTINATIONS,
            what: "destinations",
            table: &filled.destinations,
            told: named.map(|(net, class)| (plain(destination_key(*net)), *class)),
            plain,
        };
        let rules = Told {
            name: map::RULES,
            what: "rules",
            table: active.classes.rules(),
            told: rules.into_iter().map(|(key, rule)| (plain(key), rule)),
            plain,
        };
        let governed = tables.ports.iter();
        let ports = Told {
            name: map::PORTS,
            what: "inbound ports",
            table: &filled.ports,
            told: governed.map(|(port, value)| (u32::from(*port), *value)),
            plain: |port| port,
        };
        let faults = [
            self.wrong(cgroups, |(id, _)| format!("the cgroup with the id {id}")),
            self.wrong(stages, |(key, _)| {
                format!("the value {} in class {}", key.value, key.class)
            }),
            self.wrong(executables, |(key, _)| {
                format!("{:?} in state {}", key.text(), key.state)
            }),
            self.wrong(destinations, |((length, key), _)| {
                let address = IpAddr::from(key.address);
                format!("{address}, of whose 128 bits {length} count")
            }),
            self.wrong(rules, |((_, key), rule)| {
                format!("{}, port {}", whose(tables, &rule), u16::from_be(key.port))
            }),
            self.wrong(ports, |(port, _)| format!("port {port}")),
        ];
        faults.into_iter().flatten().collect()
    }

    fn wrong<T, I, P, K, V, Plain>(
        &self,
        told: Told<'_, T, I, P>,
        describe: impl Fn((Plain, V)) -> String,
    ) -> Option<Fault>
    where
        K: Pod,
        V: Pod + PartialEq,
        T: IterableMap<K, V>,
        I: Iterator<Item = (Plain, V)>,
        P: Fn(K) -> Plain,
        Plain: Eq + Hash + Copy,
    {
        let what = told.what;
        let held = self.slots.hold(told.name, self.active, told.table);
        match held.and_then(|held| held.then(|| told.compare()).transpose()) {
            Ok(Some(None)) => None,
            Ok(Some(Some(found))) => Some(Fault::new(
                format!(
                    "the kernel's table of {what} is not as it was filled: {found}, among them {}; \
                     what is looked up there is decided otherwise than the rules say",
                    describe(found.one)
                ),
                RELOAD,
            )),
            Ok(None) => Some(Fault::new(
                format!("the kernel decides by a table of {what} that this daemon has not filled"),
                RELOAD,
            )),
            Err(error) => Some(written_by_others(format!(
                "reading the kernel's table of {what}: {error}"
            ))),
        }
    }

    /// Whether the programs know the namespaces that this process serves, and no others.
    pub(super) fn wrong_namespaces(&self) -> Option<Fault> {
        let told = Told {
            name: map::NAMESPACES,
            what: "network namespaces",
            table: &self.namespaces,
            told: self.served.iter().map(|(netns, facts)| (*netns, *facts)),
            plain: |netns| netns,
        };
        let what = match told.compare() {
            Ok(None) => return None,
            Ok(Some(found)) => format!(
                "the kernel's table of network namespaces is not as it was filled: {found}, among \
                 them the one with the cookie {}; connections there get their rule's fail mode",
                found.one.0
            ),
            Err(error) => format!("reading the kernel's table of network namespaces: {error}"),
        };
        Some(written_by_others(what))
    }
}

fn plain<K: Pod>(key: Key<K>) -> (u32, K) {
    (key.prefix_len(), key.data())
}

fn whose(tables: &RuleTables, rule: &Rule) -> String {
    match (rule.index, tables.name_of(rule.index)) {
        (RULE_CANARY, _) => "the canary".into(),
        (RULE_UNCLASSIFIED, _) => "cgroups that are not known yet".into(),
        (_, Some(name)) => format!("rule {name:?}"),
        (index, None) => format!("rule {index}, which there is not"),
    }
}
