//! The rules as tables: what the kernel looks up, and a model of the same for user space.
//!
//! [`RuleTables::compile`] is pure. The model implements the same [`Tables`] as the maps, so that
//! [`sidetrack_abi::decide`] answers alike on both sides.
//!
//! Order of rules, for one connection: the longest destination prefix first; within one prefix,
//! rules with a `select` before those without; then the order of the configuration.
//! `exclude_to` wins over all of them.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use sidetrack_abi::{
    Address, Query, Verdict,
    decision::Tables,
    inbound::InboundPort,
    rules::{Rule, RuleKey, UserKey},
};

use crate::{
    addr::OriginalDst,
    config::{Config, Proxy},
};

mod compile;
mod ports;

pub use ports::port_prefixes;

/// One generation of compiled rules.
#[derive(Clone, Debug, Default)]
pub struct RuleTables {
    /// Never 0 in tables that are active.
    pub generation: u32,
    /// `SETTING_*` of these rules.
    pub flags: u32,
    /// Cgroup path below the cgroup2 root, and its class.
    pub cgroups: BTreeMap<String, u32>,
    /// Class of cgroup and user.
    pub users: HashMap<UserKey, u32>,
    /// Destination prefixes with their classes, those of IPv4 as IPv4.
    pub destinations: HashMap<IpNet, u32>,
    /// Rules of a destination class and a selection class, by port range, ascending.
    pub rules: HashMap<(u32, u32), Vec<PortRule>>,
    /// Proxies of others: a rule of the kernel names one by its place here.
    pub proxies: Vec<NamedProxy>,
    /// Inbound ports.
    pub ports: BTreeMap<u16, InboundPort>,
}

/// A rule for some ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRule {
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

    /// The rule that decides for a destination and a selection class.
    pub fn decide(&self, destination: OriginalDst, selection: u32) -> Verdict {
        sidetrack_abi::decide(
            self,
            &Query {
                destination: destination.get().into(),
                selection,
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
        let port = u16::from_be(key.port);
        self.rules
            .get(&class)?
            .iter()
            .find(|range| range.first <= port && port <= range.last)
            .map(|range| range.rule)
    }
}

#[cfg(test)]
mod tests;
