//! The order in which rules are asked.
//!
//! For one destination: the longest prefix that holds it first; within one prefix rules with a
//! `select` before those without; within these, rules about UDP alone before what other rules say
//! of UDP beside their action; then the order of the configuration.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use crate::config::{Config, OutboundRule, left_alone};

/// A rule and its place in the configuration.
pub(super) type Placed<'a> = (u32, &'a OutboundRule);

/// All rules, ready to be asked for a destination.
pub(super) struct Order<'a> {
    by_prefix: HashMap<IpNet, Vec<Placed<'a>>>,
    excluded: HashSet<IpNet>,
    left_alone: HashSet<IpNet>,
}

impl<'a> Order<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        let mut by_prefix: HashMap<IpNet, Vec<Placed<'a>>> = HashMap::new();
        for (index, rule) in config.outbound.iter().enumerate() {
            for net in &rule.to {
                let placed = (index as u32, rule);
                by_prefix.entry(net.trunc()).or_default().push(placed);
            }
        }
        for rules in by_prefix.values_mut() {
            rules.sort_by_key(|(index, rule)| (rule.select.is_none(), rule.protocols.tcp, *index));
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
