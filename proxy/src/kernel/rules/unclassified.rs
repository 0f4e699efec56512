//! What holds for a task whose cgroup is not known yet: the strictest rule of all that could be its.
//!
//! Where they agree there is nothing to find out. Where they do not, the connection comes to the
//! proxy, which finds out; and where nobody finds out, it fails if any of them would let it fail.

use std::collections::BTreeSet;

use sidetrack_abi::rules::{
    ACTION_DENY, ACTION_IGNORE, ACTION_PLAIN, ACTION_TLS, FAIL_BLOCK, FAIL_PASS, RULE_UNCLASSIFIED,
    Rule,
};

use super::PortRule;
use crate::config::Protocol;

/// Port ranges for all `candidates` together, by protocol, ascending.
pub(super) fn strictest<'a>(candidates: impl Iterator<Item = &'a Vec<PortRule>>) -> Vec<PortRule> {
    // Most selections are told apart by few destinations.
    let mut different: Vec<&[PortRule]> = Vec::new();
    for ranges in candidates {
        if !different.contains(&ranges.as_slice()) {
            different.push(ranges);
        }
    }
    if let [same] = different.as_slice() {
        return same.to_vec();
    }
    let of = |protocol| strictest_of(protocol, &different);
    Protocol::ALL.into_iter().flat_map(of).collect()
}

fn strictest_of(protocol: Protocol, different: &[&[PortRule]]) -> Vec<PortRule> {
    let ranges = different.iter().copied().flatten();
    let bounds: BTreeSet<u32> = ranges
        .filter(|range| range.protocol == protocol)
        .flat_map(|range| [u32::from(range.first), u32::from(range.last) + 1])
        .collect();
    let mut found: Vec<PortRule> = Vec::new();
    for (first, next) in bounds.iter().zip(bounds.iter().skip(1)) {
        let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(next - 1)) else {
            continue;
        };
        let rules: Vec<Option<Rule>> = different
            .iter()
            .map(|one| rule_at(one, protocol, first))
            .collect();
        let Some(rule) = of_all(&rules) else {
            continue;
        };
        match found.last_mut() {
            Some(before) if before.rule == rule && before.last.checked_add(1) == Some(first) => {
                before.last = last;
            }
            _ => found.push(PortRule {
                protocol,
                first,
                last,
                rule,
            }),
        }
    }
    found
}

fn rule_at(ranges: &[PortRule], protocol: Protocol, port: u16) -> Option<Rule> {
    let before = |range: &PortRule| (range.protocol.number(), range.last);
    let next = ranges.partition_point(|range| before(range) < (protocol.number(), port));
    ranges
        .get(next)
        .filter(|range| range.protocol == protocol && range.first <= port)
        .map(|range| range.rule)
}

fn of_all(candidates: &[Option<Rule>]) -> Option<Rule> {
    let first = candidates.first().copied().flatten();
    if candidates.iter().all(|rule| *rule == first) {
        return first;
    }
    let rules = || candidates.iter().flatten();
    if rules().all(|rule| rule.action == ACTION_IGNORE) {
        return rules().next().copied();
    }
    if let Some(first) = first
        && candidates
            .iter()
            .all(|rule| rule.is_some_and(|rule| rule.action == ACTION_DENY))
    {
        return Some(Rule {
            index: RULE_UNCLASSIFIED,
            ..first
        });
    }
    let direct = |rule: &Rule| matches!(rule.action, ACTION_IGNORE | ACTION_PLAIN);
    let passes = |rule: &Rule| match rule.action {
        ACTION_IGNORE => true,
        ACTION_DENY => false,
        _ => rule.fail == FAIL_PASS,
    };
    Some(Rule {
        index: RULE_UNCLASSIFIED,
        action: if rules().all(direct) {
            ACTION_PLAIN
        } else {
            ACTION_TLS
        },
        fail: if rules().all(passes) {
            FAIL_PASS
        } else {
            FAIL_BLOCK
        },
        operand: 0,
    })
}
