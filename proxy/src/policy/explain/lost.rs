//! Why a rule does not decide, read from the rules as they are written.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Lost;
use crate::{
    config::{Config, OutboundRule, Protocol, display_ports, left_alone},
    kernel::rules::{Ahead, Rank, Selections},
};

/// One connection.
pub(super) struct Reading<'a> {
    pub(super) config: &'a Config,
    pub(super) protocol: Protocol,
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    pub(super) selections: &'a Selections,
    pub(super) winner: Option<u32>,
    /// Whether programs run for the task at all.
    pub(super) governed: bool,
}

impl Reading<'_> {
    /// All rules but the one that decides.
    pub(super) fn all(&self) -> Vec<Lost> {
        let rules = (0..).zip(&self.config.outbound);
        rules
            .filter(|(index, _)| self.winner != Some(*index))
            .map(|(index, rule)| Lost {
                rule: rule.name.clone(),
                why: self.why(index, rule),
            })
            .collect()
    }

    fn why(&self, index: u32, rule: &OutboundRule) -> String {
        let Some(prefix) = self.prefix(rule) else {
            return format!(
                "another destination: {} is in none of its prefixes",
                self.ip
            );
        };
        if !rule.protocols.decide(self.protocol) {
            return format!(
                "another protocol: it says nothing of {}",
                self.protocol.label()
            );
        }
        if !rule.ports.iter().any(|range| range.contains(&self.port)) {
            return format!("another port: {}", display_ports(&rule.ports));
        }
        if !self.governed {
            return "no program runs for the task: its cgroup is not below the attach point".into();
        }
        let mut excluded = self.config.intercept.exclude_to.iter();
        if let Some(excluded) = excluded.find(|net| net.contains(&self.ip)) {
            return format!("intercept.exclude_to has {excluded}, which wins over every rule");
        }
        let mut alone = left_alone();
        if let Some(alone) = alone.find(|net| net.contains(&self.ip) && !net.contains(&prefix)) {
            return format!("{alone} is left alone unless a rule names a prefix within it");
        }
        if let Some(select) = &rule.select
            && !self.selections.certain.contains(select)
        {
            return format!(
                "another selection: the task is not in {select:?}, since {}",
                self.selections.state(select)
            );
        }
        let winner = self.winner.and_then(|winner| {
            let other = self.config.outbound.get(winner as usize)?;
            let longest = self.prefix(other)?;
            let rank = Rank::of(winner, other, &longest);
            let why = rank.ahead_of(&Rank::of(index, rule, &prefix))?;
            Some((&other.name, longest, why))
        });
        let Some((other, longer, why)) = winner else {
            return "the tables decide otherwise than the rules read: please report this"
                .to_owned();
        };
        match why {
            Ahead::Prefix => format!("a shorter prefix: {prefix}, against {longer} of {other:?}"),
            Ahead::Selection => {
                format!("it has no selection, and {other:?} is for one that the task is in")
            }
            Ahead::UdpAlone => format!("{other:?} is about UDP alone"),
            Ahead::File => format!("{other:?} stands before it in the file"),
        }
    }

    /// The longest prefix of a rule that holds the destination.
    fn prefix(&self, rule: &OutboundRule) -> Option<IpNet> {
        let prefixes = rule.to.iter().filter(|net| net.contains(&self.ip));
        prefixes.max_by_key(|net| net.prefix_len()).copied()
    }
}
