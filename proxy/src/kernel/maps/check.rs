//! Whether the maps say what this process has written.

use std::{collections::HashSet, time::Duration};

use sidetrack_abi::{
    ListenerKey,
    flow::FAMILY_V4,
    settings::{SETTING_NO_V4, SETTING_NO_V6, Settings},
};

use super::Maps;
use crate::kernel::{
    effective::{Fault, fault},
    rules::RuleTables,
};

mod differing;
mod tables;

/// One of the two registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Registry {
    Outbound,
    Inbound,
}

impl Maps {
    /// What is not as it was written. `tables` are the active ones, `now` is CLOCK_MONOTONIC, in
    /// nanoseconds.
    pub(in crate::kernel) fn faults(&self, tables: &RuleTables, now: u64) -> Vec<Fault> {
        let mut faults = Vec::from_iter(self.wrong_rules());
        faults.extend(self.wrong_tables(tables));
        faults.extend(self.wrong_namespaces());
        faults.extend(self.missing_listeners());
        faults.extend(self.stale_heartbeat(now));
        let active = self.cgroups.active.as_ref();
        faults.extend(
            active
                .into_iter()
                .flat_map(|active| active.left_out(self.mount())),
        );
        faults
    }

    /// Whether a listener of a family is to be in the registries, in a namespace.
    pub(in crate::kernel) fn is_registered(&self, netns: u64, family: u32) -> bool {
        let mut registered = self.registered.iter();
        registered.any(|(_, key)| key.netns == netns && key.family == family)
    }

    fn wrong_rules(&self) -> Option<Fault> {
        let meant = self.active_settings.generation;
        let host = SETTING_NO_V4 | SETTING_NO_V6;
        let what = match self.active_set.get(&0, 0) {
            Err(error) => format!("reading which rules are active: {error}"),
            Ok(set) if set != self.active => format!(
                "the kernel decides by the rule set {set}, not by {}, which has the rules of \
                 generation {meant}",
                self.active
            ),
            Ok(set) => match self.settings.get(&set, 0) {
                Err(error) => format!("reading the settings of the active rules: {error}"),
                Ok(found) if found.generation != meant => format!(
                    "the kernel decides by rules of generation {}, not {meant}",
                    found.generation
                ),
                // Flags that follow the host may just be changing.
                Ok(found)
                    if (Settings {
                        flags: found.flags & !host | self.active_settings.flags & host,
                        ..found
                    }) == self.active_settings =>
                {
                    return None;
                }
                Ok(_) => {
                    "the settings of the active rules are not those that this daemon wrote".into()
                }
            },
        };
        Some(written_by_others(what))
    }

    fn missing_listeners(&self) -> Vec<Fault> {
        let there: HashSet<(Registry, ListenerKey)> = [
            (Registry::Outbound, &self.listeners),
            (Registry::Inbound, &self.inbound_listeners),
        ]
        .into_iter()
        .flat_map(|(registry, map)| {
            let keys = map.keys().filter_map(Result::ok);
            keys.map(move |key| (registry, key))
        })
        .collect();
        self.registered
            .iter()
            .filter(|one| !there.contains(one))
            .map(|(registry, key)| {
                let direction = match registry {
                    Registry::Outbound => "outbound",
                    Registry::Inbound => "inbound",
                };
                let family = if key.family == FAMILY_V4 { 4 } else { 6 };
                Fault::mended_by_restart(format!(
                    "the {direction} listener {} for IPv{family} in network namespace {} is not in \
                     the kernel's registry: connections that would go to it get their rule's fail \
                     mode",
                    key.slot, key.netns
                ))
            })
            .collect()
    }

    fn stale_heartbeat(&self, now: u64) -> Option<Fault> {
        // In a drain nobody is to be taken for alive.
        if self.registered.is_empty() {
            return None;
        }
        let allowed = Duration::from_nanos(self.active_settings.alive_for);
        let last = match self.heartbeat.last() {
            Ok(last) => last,
            Err(error) => {
                return Some(written_by_others(format!("reading the heartbeat: {error}")));
            }
        };
        fault::of_heartbeat(now, last, allowed)
    }
}

fn written_by_others(what: impl Into<String>) -> Fault {
    Fault::new(
        what,
        "somebody else has written to the maps; restart the daemon, which fills them again",
    )
}
