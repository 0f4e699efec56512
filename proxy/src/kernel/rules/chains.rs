//! For each destination class the rules that can decide, in their order, whoever connects.

use std::collections::{BTreeSet, HashMap};

use super::{
    NamedProxy, PortRule,
    asked::Candidates,
    compile::{merge, put_canary},
    unclassified::strictest,
};
use crate::config::OutboundRule;

/// All destination classes.
#[derive(Clone, Debug, Default)]
pub(super) struct Chains {
    pub(super) outbound: Vec<OutboundRule>,
    pub(super) proxies: Vec<NamedProxy>,
    pub(super) of: HashMap<u32, Vec<Link>>,
    /// Those at which the daemon's canary is redirected.
    pub(super) canary: Vec<u32>,
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Its index in the configuration.
    pub(super) rule: u32,
    /// The selection that it is for; `None` is everybody.
    pub(super) selection: Option<usize>,
}

impl Chains {
    /// The rules of a task, by destination class; classes without any are left out.
    ///
    /// The first rule of a chain whose selection the task is in decides. Whatever it is in of what
    /// is possible, that is the first one of what is certain, or of that and one that is possible:
    /// not every combination has to be looked at.
    pub(super) fn rules(
        &self,
        candidates: &Candidates,
    ) -> impl Iterator<Item = (u32, Vec<PortRule>)> {
        self.of.iter().filter_map(|(destination, chain)| {
            let possible = chain.iter().filter_map(|link| link.selection);
            let possible: BTreeSet<usize> = possible
                .filter(|one| candidates.possible.contains(one))
                .collect();
            let each = possible.into_iter().map(Some).chain([None]);
            let each: Vec<Vec<PortRule>> = each
                .map(|and| self.merged(chain, candidates, and))
                .collect();
            let mut ranges = strictest(each.iter());
            if self.canary.contains(destination) {
                put_canary(&mut ranges);
            }
            (!ranges.is_empty()).then_some((*destination, ranges))
        })
    }

    fn merged(&self, chain: &[Link], candidates: &Candidates, and: Option<usize>) -> Vec<PortRule> {
        let is_for = |link: &&Link| {
            link.selection
                .is_none_or(|one| candidates.certain.contains(&one) || and == Some(one))
        };
        let rules = chain.iter().filter(is_for);
        let rules = rules.filter_map(|link| {
            let rule = self.outbound.get(link.rule as usize)?;
            Some((link.rule, rule))
        });
        merge(rules, &self.proxies)
    }
}
