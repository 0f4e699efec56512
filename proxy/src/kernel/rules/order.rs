//! The order in which rules are asked, said once: the tables are compiled in it, `check` lists
//! rules in it, and `explain` reads from it why a rule lost.
//!
//! For one destination: the longest prefix that holds it first; within one prefix rules with a
//! `select` before those without; within these, rules about UDP alone before what other rules say
//! of UDP beside their action; then the order of the configuration.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use ipnet::IpNet;

use crate::config::{Config, OutboundRule, left_alone};

/// A rule and its place in the configuration.
pub(super) type Placed<'a> = (u32, &'a OutboundRule);

/// Where a rule stands among those that have a prefix for a destination: the least is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    length: Reverse<u8>,
    is_for_everybody: bool,
    decides_tcp: bool,
    index: u32,
}

/// What has one rule asked before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// A longer prefix.
    Prefix,
    /// It is for a selection, the other one for everybody.
    Selection,
    /// It is about UDP alone, the other one says something of UDP beside its action.
    UdpAlone,
    /// It stands before the other one in the file.
    File,
}

impl Rank {
    /// Of the rule at `index` in the configuration, by its prefix `net`.
    pub fn of(index: u32, rule: &OutboundRule, net: &IpNet) -> Self {
        Self {
            length: Reverse(net.prefix_len()),
            is_for_everybody: rule.select.is_none(),
            decides_tcp: rule.protocols.tcp,
            index,
        }
    }

    /// Why this one is asked before `other`, if it is.
    pub fn ahead_of(&self, other: &Self) -> Option<Ahead> {
        if self >= other {
            return None;
        }
        Some(if self.length != other.length {
            Ahead::Prefix
        } else if self.is_for_everybody != other.is_for_everybody {
            Ahead::Selection
        } else if self.decides_tcp != other.decides_tcp {
            Ahead::UdpAlone
        } else {
            Ahead::File
        })
    }
}

/// All outbound rules, each by its longest prefix: as near as a list comes to the order in which
/// they are asked.
pub fn listed(config: &Config) -> Vec<&OutboundRule> {
    let ranked = (0..).zip(&config.outbound).map(|(index, rule)| {
        let ranks = rule.to.iter().map(|net| Rank::of(index, rule, net));
        (ranks.min(), rule)
    });
    let mut ranked: Vec<(Option<Rank>, &OutboundRule)> = ranked.collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, rule)| rule).collect()
}

/// All rules, ready to be asked for a destination.
pub(super) struct Order<'a> {
    by_prefix: HashMap<IpNet, Vec<Placed<'a>>>,
    excluded: HashSet<IpNet>,
    left_alone: HashSet<IpNet>,
}

impl<'a> Order<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        let mut by_prefix: HashMap<IpNet, Vec<Placed<'a>>> = HashMap::new();
        for (index, rule) in (0..).zip(&config.outbound) {
            for net in &rule.to {
                by_prefix
                    .entry(net.trunc())
                    .or_default()
                    .push((index, rule));
            }
        }
        for (net, rules) in &mut by_prefix {
            rules.sort_by_key(|(index, rule)| Rank::of(*index, rule, net));
        }
        let excluded = config.intercept.exclude_to.iter().map(IpNet::trunc);
        Self {
            by_prefix,
            excluded: excluded.collect(),
            left_alone: left_alone().collect(),
        }
    }

    /// Every prefix that tells destinations apart.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        let ruled = self.by_prefix.keys();
        ruled.chain(&self.excluded).chain(&self.left_alone).copied()
    }

    /// The rules that can decide for destinations whose longest prefix is `net`, in their order.
    pub(super) fn of(&self, net: IpNet) -> Vec<Placed<'a>> {
        let mut chain: Vec<Placed<'a>> = Vec::new();
        let mut asked = HashSet::new();
        let mut is_named = true;
        for above in and_above(net) {
            if self.excluded.contains(&above) {
                return Vec::new();
            }
            let rules = self.by_prefix.get(&above).into_iter().flatten();
            chain.extend(rules.filter(|(index, _)| is_named && asked.insert(*index)));
            // Rules of shorter prefixes are about other destinations as well: they do not name it.
            is_named &= !self.left_alone.contains(&above);
        }
        chain
    }
}

/// A prefix and all that hold it, the longest first.
fn and_above(net: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(net.trunc()), |net| net.supernet())
}
