//! The rules as tables: what the kernel looks up, and a model of the same for user space.
//!
//! [`RuleTables::compile`] is pure. The model implements the same [`Tables`] as the maps, so that
//! [`sidetrack_abi::decide`] answers alike on both sides.
//!
//! `order.rs` says in which order rules are asked; `exclude_to` wins over all of them.
//!
//! A cgroup that has just appeared is in no table yet. Its tasks have a class that stands for all
//! that it could turn out to be, for which the strictest of their rules holds.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use sidetrack_abi::{
    Address, Query, Verdict,
    decision::Tables,
    inbound::InboundPort,
    rules::{ANY_USER, CgroupClass, Rule, RuleKey, SELECTION_NONE, UserKey},
    settings::{SETTING_SELECT_ALL, SETTING_USERS},
};

use crate::{
    addr::OriginalDst,
    config::{Config, Protocol, Proxy},
};

mod classes;
mod compile;
mod order;
mod ports;
mod unclassified;

pub use ports::{PortPrefix, port_prefixes};

/// Selection class of everything, if that is the scope; the programs use the same number.
const SELECTION_ALL: u32 = 1;

/// One generation of compiled rules.
#[derive(Clone, Debug, Default)]
pub struct RuleTables {
    /// Never 0 in tables that are active.
    pub generation: u32,
    /// `SETTING_*` of these rules.
    pub flags: u32,
    /// The cgroups that selections name and the folders above them, up to `intercept.cgroup`, as
    /// paths below the cgroup2 root.
    pub cgroups: BTreeMap<String, CgroupClass>,
    /// The cgroup above all that the rules are for, `intercept.cgroup`.
    pub top: String,
    /// Class of cgroup and user.
    pub users: HashMap<UserKey, u32>,
    /// Destination prefixes with their classes, those of IPv4 as IPv4.
    pub destinations: HashMap<IpNet, u32>,
    /// Rules of a destination class and a selection class, by protocol and port range, ascending.
    pub rules: HashMap<(u32, u32), Vec<PortRule>>,
    /// Proxies of others: a rule of the kernel names one by its place here.
    pub proxies: Vec<NamedProxy>,
    /// Inbound ports.
    pub ports: BTreeMap<u16, InboundPort>,
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

    /// What the kernel is told of the cgroup `path`; `None` if it follows from one above it.
    pub fn cgroup_entry(&self, path: &str) -> Option<CgroupClass> {
        if let Some(named) = self.cgroups.get(path) {
            return Some(*named);
        }
        let folder = classes::parent(path)?;
        self.holds_unknown(folder).then(|| {
            let own = self.cgroup_class(folder);
            CgroupClass { own, below: own }
        })
    }

    /// Whether rules tell cgroups in this folder apart, so that each of them has to be known.
    pub fn holds_unknown(&self, folder: &str) -> bool {
        self.cgroups
            .get(folder)
            .is_some_and(|class| class.own != class.below)
    }

    fn cgroup_class(&self, path: &str) -> u32 {
        classes::ancestors(path)
            .find_map(|above| self.cgroups.get(above))
            .map_or(SELECTION_NONE, |class| class.own)
    }

    /// The selection class of a task: what the programs find once they know its cgroup.
    pub fn selection(&self, task: &Task<'_>) -> u32 {
        if self.flags & SETTING_SELECT_ALL != 0 {
            return SELECTION_ALL;
        }
        let cgroup_class = self.cgroup_class(task.cgroup);
        if self.flags & SETTING_USERS == 0 {
            return cgroup_class;
        }
        let of = |uid| self.users.get(&UserKey { cgroup_class, uid });
        of(task.uid)
            .or_else(|| of(ANY_USER))
            .copied()
            .unwrap_or(SELECTION_NONE)
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
        let class = (u32::from_be(key.destination), u32::from_be(key.selection));
        let (protocol, port) = (u16::from_be(key.protocol), u16::from_be(key.port));
        self.rules
            .get(&class)?
            .iter()
            .find(|range| {
                range.protocol.number() == protocol && range.first <= port && port <= range.last
            })
            .map(|range| range.rule)
    }
}

#[cfg(test)]
mod tests;
