//! The rules as tables: what the kernel looks up, and a model of the same for user space.
//!
//! [`RuleTables::compile`] is pure. The model implements the same [`Tables`] as the maps, so that
//! [`sidetrack_abi::decide`] answers alike on both sides.
//!
//! `order.rs` says in which order rules are asked; `exclude_to` wins over all of them.
//!
//! A cgroup that has just appeared is in no table yet. Its tasks have a class that stands for all
//! that it could turn out to be, for which the strictest of their rules holds.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use parking_lot::RwLock;
use sidetrack_abi::{
    Address, Query, Verdict,
    decision::Tables,
    executable::{ExecutableKey, ExecutableStep, NO_EXECUTABLE},
    inbound::InboundPort,
    rules::{ANY_VALUE, CGROUP_DEPTH, CgroupClass, Rule, RuleKey, SELECTION_ALL, SELECTION_NONE},
    settings::{SETTING_CGROUPS, SETTING_EXECUTABLES, SETTING_SELECT_ALL},
};

use crate::{
    addr::OriginalDst,
    config::{Config, NetnsSelector, Protocol, Proxy, cgroup::names},
    kernel::{
        cgroup::{is_within, matching},
        containers::Containers,
    },
};

mod asked;
mod chains;
mod classes;
mod compile;
mod executables;
mod netns;
mod order;
mod places;
mod ports;
mod possible;
mod unclassified;

pub use asked::Selections;
use asked::{Asked, Kind, Truth};
use chains::Chains;
pub use classes::Made;
use classes::{Classes, Source};
pub use netns::{MOST_DIFFERENT, Names};
pub use order::{Ahead, Rank, listed};
pub use places::Place;
pub use ports::{PortPrefix, port_prefixes};

/// One generation of compiled rules.
#[derive(Debug, Default)]
pub struct RuleTables {
    /// Never 0 in tables that are active.
    pub generation: u32,
    /// `SETTING_*` of these rules.
    pub flags: u32,
    /// The cgroup above all that the rules are for, `intercept.cgroup`.
    pub top: String,
    /// Destination prefixes with their classes, those of IPv4 as IPv4.
    pub destinations: HashMap<IpNet, u32>,
    /// Proxies of others: a rule of the kernel names one by its place here.
    pub proxies: Vec<NamedProxy>,
    /// Inbound ports.
    pub ports: BTreeMap<u16, InboundPort>,
    asked: Asked,
    chains: Chains,
    containers: Containers,
    /// Made as they are met, by whoever meets them first.
    classes: RwLock<Classes>,
}

/// A rule for some ports of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// The protocol.
    pub protocol: Protocol,
    /// First port, in host order.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// What to do.
    pub rule: Rule,
}

/// A proxy of others that rules can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedProxy {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub proxy: Proxy,
}

/// Who connects, as far as selections ask.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Its cgroup, as a path below the cgroup2 root.
    pub cgroup: &'a str,
    /// Its user.
    pub uid: u32,
    /// Its group, the primary one. Where it is not known, it is none that a selection names.
    pub gid: Option<u32>,
    /// Number of its executable, see [`RuleTables::executable`].
    pub executable: u32,
    /// Cookie of the network namespace of its socket. Where it is not known, it could be any.
    pub netns: Option<u64>,
}

/// Whom the rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The selections of the configuration.
    Selections,
    /// Everything that reaches the programs: a command in a cgroup of its own.
    Everything,
}

impl RuleTables {
    /// Compiles the rules of a configuration.
    pub fn compile(config: &Config, scope: Scope, generation: u32) -> Self {
        compile::compile(config, scope, generation)
    }

    /// The cgroup `path`.
    pub fn place(&self, path: &str) -> Place {
        names(path).fold(Place::root(&self.asked), |place, name| {
            place.child(&self.asked, name, &self.containers)
        })
    }

    /// The cgroup `name` in another.
    pub fn place_in(&self, folder: &Place, name: &str) -> Place {
        folder.child(&self.asked, name, &self.containers)
    }

    /// The classes of a cgroup.
    pub fn class(&self, place: &Place) -> CgroupClass {
        CgroupClass {
            own: self.of_cgroup(&place.own(&self.asked)),
            below: self.of_cgroup(&place.below(&self.asked)),
        }
    }

    /// Whether it is known which selections the cgroup is in: else it is a container whose name
    /// is asked for and not known.
    pub fn is_certain(&self, place: &Place) -> bool {
        !place.own(&self.asked).contains(&Truth::Maybe)
    }

    /// Whether a selection names the cgroup or one above it.
    pub fn is_named(&self, place: &Place) -> bool {
        place.own(&self.asked).contains(&Truth::Yes)
    }

    /// Whether rules tell cgroups in this one apart, so that each of them has to be known.
    pub fn holds_unknown(&self, place: &Place) -> bool {
        place.depth() < CGROUP_DEPTH as usize && place.below(&self.asked).contains(&Truth::Maybe)
    }

    /// The cgroups that selections name, as folders, without those below them.
    pub fn named_cgroups(&self, mount: &Path) -> Vec<PathBuf> {
        matching::named(mount, self.asked.patterns.iter(), &self.containers)
    }

    /// Whether it matters in which cgroup a task is.
    pub fn asks_for_cgroups(&self) -> bool {
        self.flags & SETTING_CGROUPS != 0
    }

    /// Whether it matters which executable a task runs.
    pub fn asks_for_executables(&self) -> bool {
        self.flags & SETTING_EXECUTABLES != 0
    }

    /// The number of the executable with this path; 0 if no selection names it. It is the same in
    /// whatever tables name it.
    pub fn executable(&self, path: &str) -> u32 {
        self.asked.executables.number(path)
    }

    /// Whether it matters for a destination which executable a task runs.
    pub fn depends_on_executable(
        &self,
        protocol: Protocol,
        destination: OriginalDst,
        task: &Task<'_>,
    ) -> bool {
        let decided = |executable| {
            let selection = self.selection(&Task {
                executable,
                ..*task
            });
            self.decide(protocol, destination, selection)
        };
        let without = decided(NO_EXECUTABLE);
        let mut numbers = self.asked.executables.numbers();
        numbers.any(|number| decided(number) != without)
    }

    /// Whether all executables that are named here are named in `others` too.
    pub fn names_no_more_executables(&self, others: &Self) -> bool {
        self.asked.executables.are_all_in(&others.asked.executables)
    }

    /// By which the kernel finds that number.
    pub fn executable_steps(&self) -> impl Iterator<Item = (&ExecutableKey, &ExecutableStep)> {
        self.asked.executables.steps()
    }

    /// What classes were made of since there were `before` of it, for the kernel to be told in
    /// this order.
    pub fn made_since(&self, before: usize) -> Vec<Made> {
        self.classes.read().made_since(before).to_vec()
    }

    /// The kinds of the stages (`STAGE_*`) that come after the cgroup, in their order.
    pub fn stages(&self) -> Vec<u32> {
        let stages = self.asked.stages.iter();
        stages.map(|stage| stage.kind.number()).collect()
    }

    /// The name of a rule.
    pub(super) fn name_of(&self, rule: u32) -> Option<&str> {
        let rule = self.chains.outbound.get(rule as usize);
        rule.map(|rule| rule.name.as_str())
    }

    fn of_cgroup(&self, patterns: &[Truth]) -> u32 {
        let source = Source {
            asked: &self.asked,
            chains: &self.chains,
        };
        let known = self.asked.by_cgroup(patterns);
        // Read first: most of those that are met were met before.
        if let Some(class) = self.classes.read().met(&self.asked, &known) {
            return class;
        }
        self.classes.write().of_cgroup(&source, known)
    }

    fn select_all(&self) {
        let source = Source {
            asked: &self.asked,
            chains: &self.chains,
        };
        self.classes.write().of_all(&source);
    }

    /// The selection class of a task: what the programs find once they know its cgroup.
    pub fn selection(&self, task: &Task<'_>) -> u32 {
        if self.flags & SETTING_SELECT_ALL != 0 {
            return SELECTION_ALL;
        }
        let class = self.of_cgroup(&self.place(task.cgroup).own(&self.asked));
        self.staged(class, task)
    }

    /// The selections that a task is in, by name.
    pub fn selections(&self, task: &Task<'_>) -> Selections {
        let known = self
            .asked
            .by_cgroup(&self.place(task.cgroup).own(&self.asked));
        let classes = self.classes.read();
        let stages = self.asked.stages.iter();
        let known = stages.fold(known, |known, stage| {
            if stage.kind == Kind::Netns {
                let number = task.netns.and_then(|cookie| classes.namespaces.of(cookie));
                let names = number.and_then(|number| classes.namespaces.names(number));
                return self.asked.with_netns(&known, names);
            }
            let value = Self::asked_of(&classes, task, stage.kind);
            let value = stage.values.contains(&value).then_some(value);
            self.asked.with(&known, stage.kind, value)
        });
        self.asked.named(&known)
    }

    /// Whether programs run for tasks of a cgroup.
    pub fn governs(&self, cgroup: &str) -> bool {
        is_within(cgroup, &self.top)
    }

    /// Network namespaces that selections name. [`Names`] are places here.
    pub fn netns_asked(&self) -> &[NetnsSelector] {
        match self.flags & SETTING_SELECT_ALL {
            0 => &self.asked.netns,
            _ => &[],
        }
    }

    /// From here on these network namespaces are known, by their cookies, and no others.
    pub fn know_namespaces(&self, all: &BTreeMap<u64, Names>) {
        let source = Source {
            asked: &self.asked,
            chains: &self.chains,
        };
        self.classes.write().know_namespaces(&source, all);
    }

    /// How many network namespaces have to stay unknown, because selections name them in more different
    /// ways than [`MOST_DIFFERENT`].
    pub fn unnumbered_namespaces(&self) -> usize {
        self.classes.read().namespaces.unnumbered()
    }

    /// Whether it is known what selections call a network namespace, or nobody asks.
    pub fn knows_namespace(&self, cookie: u64) -> bool {
        self.netns_asked().is_empty() || self.classes.read().namespaces.of(cookie).is_some()
    }

    /// The entries that name a network namespace, if it is known.
    pub fn names_of(&self, cookie: u64) -> Option<Vec<String>> {
        let classes = self.classes.read();
        let names = classes.namespaces.names(classes.namespaces.of(cookie)?)?;
        let each = (0..).zip(&self.asked.netns);
        let named = each.filter(|(entry, _)| names.has(*entry));
        Some(named.map(|(_, entry)| entry.to_string()).collect())
    }

    /// The numbers that known namespaces have in [`sidetrack_abi::rules::STAGE_NETNS`], by cookie.
    pub fn numbered_namespaces(&self) -> HashMap<u64, u32> {
        self.classes.read().namespaces.known().clone()
    }

    fn asked_of(classes: &Classes, task: &Task<'_>, kind: Kind) -> u64 {
        let value = match kind {
            Kind::User => Some(task.uid),
            Kind::Group => task.gid,
            Kind::Executable => Some(task.executable),
            Kind::Netns => task.netns.and_then(|cookie| classes.namespaces.of(cookie)),
        };
        value.map_or(ANY_VALUE, u64::from)
    }

    /// The selection class of a task whose cgroup has this class.
    fn staged(&self, class: u32, task: &Task<'_>) -> u32 {
        let classes = self.classes.read();
        let mut stages = self.asked.stages.iter();
        let selection = stages.try_fold(class, |class, stage| {
            let value = Self::asked_of(&classes, task, stage.kind);
            classes.staged(class, stage.kind, value)
        });
        selection.unwrap_or(SELECTION_NONE)
    }

    /// The rule that decides for a destination and a selection class.
    pub fn decide(&self, protocol: Protocol, destination: OriginalDst, selection: u32) -> Verdict {
        sidetrack_abi::decide(
            self,
            &Query {
                destination: destination.get().into(),
                selection,
                protocol: protocol.number(),
            },
        )
    }
}

impl Tables for RuleTables {
    fn destination_class(&self, address: &Address) -> Option<u32> {
        let host = IpNet::from(std::net::IpAddr::from(*address));
        (0..=host.max_prefix_len()).rev().find_map(|length| {
            let net = IpNet::new(host.addr(), length).ok()?.trunc();
            self.destinations.get(&net).copied()
        })
    }

    fn rule(&self, key: &RuleKey) -> Option<Rule> {
        let (protocol, port) = (u16::from_be(key.protocol), u16::from_be(key.port));
        let classes = self.classes.read();
        classes
            .rules(u32::from_be(key.destination), u32::from_be(key.selection))
            .iter()
            .find(|range| {
                range.protocol.number() == protocol && range.first <= port && port <= range.last
            })
            .map(|range| range.rule)
    }
}

#[cfg(test)]
pub(in crate::kernel) mod tests;
