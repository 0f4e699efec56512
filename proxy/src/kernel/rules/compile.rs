//! From rules as people write them to tables of constant depth.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use sidetrack_abi::{
    inbound::{InboundPort, PORT_ACCEPTS_PLAIN},
    rules::{
        ACTION_DENY, ACTION_IGNORE, ACTION_PLAIN, ACTION_REDIRECT, ACTION_TLS, FAIL_BLOCK,
        FAIL_PASS, Rule,
    },
    settings::SETTING_SELECT_ALL,
};

#[cfg(test)]
use super::classes::Selected;
use super::{
    NamedProxy, PortRule, RuleTables, SELECTION_ALL, Scope, classes, unclassified::strictest,
};
use crate::config::{Config, FailMode, OutboundAction, OutboundRule};

pub(super) fn compile(config: &Config, scope: Scope, generation: u32) -> RuleTables {
    let mut tables = RuleTables {
        generation,
        top: config.intercept.cgroup.clone(),
        proxies: proxies(config),
        ..RuleTables::default()
    };
    let classes = match scope {
        Scope::Selections => classes::selections(config, &mut tables),
        Scope::Everything => {
            tables.flags = SETTING_SELECT_ALL;
            let all = config.selects.keys().cloned().collect();
            BTreeMap::from([(BTreeSet::from([all]), SELECTION_ALL)])
        }
    };
    destinations(config, &mut tables);
    for (net, class) in &tables.destinations {
        let chain = rules_for(config, *net);
        let mut of_known = BTreeMap::new();
        for selected in classes.keys().flatten() {
            of_known.entry(selected).or_insert_with(|| {
                let chosen = chain.iter().copied().filter(|(_, rule)| {
                    rule.select
                        .as_ref()
                        .is_none_or(|select| selected.contains(select))
                });
                merge(chosen, &tables.proxies)
            });
        }
        for (candidates, selection) in &classes {
            let ranges = strictest(candidates.iter().filter_map(|one| of_known.get(one)));
            if !ranges.is_empty() {
                tables.rules.insert((*class, *selection), ranges);
            }
        }
    }
    for (index, rule) in config.inbound.iter().enumerate() {
        // Prefixes that may speak plain text do not open the port: the proxy must look first.
        let flags = if rule.accept.plain {
            PORT_ACCEPTS_PLAIN
        } else {
            0
        };
        for port in rule.ports.iter().flat_map(|range| range.clone()) {
            tables.ports.insert(
                port,
                InboundPort {
                    rule: index as u32,
                    flags,
                },
            );
        }
    }
    tables
}

fn proxies(config: &Config) -> Vec<NamedProxy> {
    let named = config.proxies.iter().map(|(name, proxy)| NamedProxy {
        name: name.clone(),
        proxy: proxy.clone(),
    });
    named.collect()
}

/// Every prefix that a rule or an exclusion names gets a class of its own.
fn destinations(config: &Config, tables: &mut RuleTables) {
    // In the kernel's one trie IPv4 lies inside ::ffff:0:0/96: without a class of its own it
    // would fall to any IPv6 prefix that is short enough to hold that.
    let all_v4 = IpNet::V4(ipnet::Ipv4Net::default());
    tables.destinations.insert(all_v4, 1);
    let excluded = &config.intercept.exclude_to;
    let ruled = config.outbound.iter().flat_map(|rule| &rule.to);
    for net in excluded.iter().chain(ruled) {
        let next = tables.destinations.len() as u32 + 1;
        tables.destinations.entry(net.trunc()).or_insert(next);
    }
}

/// The rules that can decide for destinations whose longest prefix is `net`, in their order.
fn rules_for(config: &Config, net: IpNet) -> Vec<(u32, &OutboundRule)> {
    if config
        .intercept
        .exclude_to
        .iter()
        .any(|excluded| excluded.contains(&net))
    {
        return Vec::new();
    }
    let mut chain: Vec<(u8, bool, usize, &OutboundRule)> = config
        .outbound
        .iter()
        .enumerate()
        .filter_map(|(index, rule)| {
            let longest = rule
                .to
                .iter()
                .filter(|to| to.contains(&net))
                .map(IpNet::prefix_len)
                .max()?;
            Some((longest, rule.select.is_some(), index, rule))
        })
        .collect();
    chain.sort_by_key(|(length, selective, index, _)| {
        (std::cmp::Reverse(*length), !selective, *index)
    });
    chain
        .into_iter()
        .map(|(_, _, index, rule)| (index as u32, rule))
        .collect()
}

/// Port ranges of rules in their order: what an earlier rule covers, a later one does not.
fn merge<'a>(
    rules: impl Iterator<Item = (u32, &'a OutboundRule)>,
    proxies: &[NamedProxy],
) -> Vec<PortRule> {
    let mut covered: Vec<PortRule> = Vec::new();
    for (index, rule) in rules {
        let rule_value = value(index, rule, proxies);
        for range in &rule.ports {
            let mut next = u32::from(*range.start());
            let last = u32::from(*range.end());
            let mut found = Vec::new();
            for taken in &covered {
                let (first_taken, last_taken) = (u32::from(taken.first), u32::from(taken.last));
                if last_taken < next || first_taken > last {
                    continue;
                }
                if first_taken > next {
                    found.push((next, first_taken - 1));
                }
                next = last_taken + 1;
            }
            if next <= last {
                found.push((next, last));
            }
            covered.extend(found.into_iter().filter_map(|(first, last)| {
                let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
                Some(PortRule {
                    first,
                    last,
                    rule: rule_value,
                })
            }));
            covered.sort_by_key(|range| range.first);
        }
    }
    covered
}

fn value(index: u32, rule: &OutboundRule, proxies: &[NamedProxy]) -> Rule {
    let fail = match rule.fail {
        FailMode::Block => FAIL_BLOCK,
        FailMode::Pass => FAIL_PASS,
    };
    let (action, operand) = match &rule.action {
        OutboundAction::Mtls(_) | OutboundAction::Gateway { .. } => (ACTION_TLS, 0),
        OutboundAction::Passthrough => (ACTION_PLAIN, 0),
        OutboundAction::Redirect { proxy } => {
            let number = proxies.iter().position(|named| named.name == *proxy);
            // A proxy that is not configured has a number that no listener has.
            let number = number.and_then(|number| u16::try_from(number).ok());
            (ACTION_REDIRECT, number.unwrap_or(u16::MAX))
        }
        OutboundAction::Deny { errno } => (ACTION_DENY, u16::try_from(*errno).unwrap_or(1)),
        OutboundAction::Ignore => (ACTION_IGNORE, 0),
    };
    Rule {
        index,
        action,
        fail,
        operand,
    }
}

/// Kept beside `compile` for the tests: the same answer, found the slow way.
#[cfg(test)]
pub(super) fn naive<'a>(
    config: &'a Config,
    destination: std::net::SocketAddr,
    selected: &Selected,
) -> Option<(u32, &'a OutboundRule)> {
    let ip = destination.ip().to_canonical();
    if config
        .intercept
        .exclude_to
        .iter()
        .any(|net| net.contains(&ip))
    {
        return None;
    }
    let mut candidates: Vec<_> = config
        .outbound
        .iter()
        .enumerate()
        .filter(|(_, rule)| {
            rule.ports
                .iter()
                .any(|range| range.contains(&destination.port()))
        })
        .filter(|(_, rule)| rule.select.as_ref().is_none_or(|s| selected.contains(s)))
        .filter_map(|(index, rule)| {
            let longest = rule
                .to
                .iter()
                .filter(|net| net.contains(&ip))
                .map(IpNet::prefix_len)
                .max()?;
            Some((
                std::cmp::Reverse(longest),
                rule.select.is_none(),
                index,
                rule,
            ))
        })
        .collect();
    candidates.sort_by_key(|(length, unselective, index, _)| (*length, *unselective, *index));
    candidates
        .first()
        .map(|(_, _, index, rule)| (*index as u32, *rule))
}
