//! From rules as people write them to tables of constant depth.

use std::collections::HashMap;

use ipnet::IpNet;
use sidetrack_abi::{
    inbound::{InboundPort, PORT_ACCEPTS_PLAIN, PORT_IN_NAMESPACES},
    rules::{
        ACTION_DENY, ACTION_IGNORE, ACTION_PLAIN, ACTION_REDIRECT, ACTION_TLS, DENIED, FAIL_BLOCK,
        FAIL_PASS, RULE_CANARY, Rule,
    },
    settings::{SETTING_CGROUPS, SETTING_SELECT_ALL, SETTING_TELL_NAMESPACES},
};

use super::{
    NamedProxy, PortRule, RuleTables, Scope,
    asked::{Asked, Truth},
    chains::{Chains, Link},
    order::{Order, Placed},
};
use crate::{
    canary::CANARY,
    config::{Config, Datagrams, FailMode, OutboundAction, OutboundRule, Protocol},
};

pub(super) fn compile(config: &Config, scope: Scope, generation: u32) -> RuleTables {
    let mut tables = RuleTables {
        generation,
        top: config.intercept.cgroup.clone(),
        proxies: proxies(config),
        asked: Asked::of(config),
        ..RuleTables::default()
    };
    let order = Order::new(config);
    destinations(&order, &mut tables);
    tables.chains = Chains {
        outbound: config.outbound.clone(),
        proxies: tables.proxies.clone(),
        of: chains(&order, &tables),
        canary: canary(&tables),
    };
    match scope {
        Scope::Selections => {
            if !tables.asked.patterns.is_empty() {
                tables.flags |= SETTING_CGROUPS;
            }
            for stage in &tables.asked.stages {
                tables.flags |= stage.kind.setting();
            }
            if !tables.asked.netns.is_empty() {
                // Of one that nobody has looked at yet, also where it goes direct.
                tables.flags |= SETTING_TELL_NAMESPACES;
            }
            // The programs begin with this one, which is 0.
            let nowhere = vec![Truth::No; tables.asked.patterns.len()];
            tables.of_cgroup(&nowhere);
            // What everything else follows from that is not known.
            tables.class(&tables.place(&tables.top));
        }
        Scope::Everything => {
            tables.flags = SETTING_SELECT_ALL;
            tables.select_all();
        }
    }
    for (index, rule) in config.inbound.iter().enumerate() {
        // Prefixes that may speak plain text do not open the port: the proxy must look first.
        let mut flags = if rule.accept.plain {
            PORT_ACCEPTS_PLAIN
        } else {
            0
        };
        if rule.in_namespaces {
            flags |= PORT_IN_NAMESPACES;
        }
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

fn chains(order: &Order<'_>, tables: &RuleTables) -> HashMap<u32, Vec<Link>> {
    let each = tables.destinations.iter().map(|(net, class)| {
        let links = order.of(*net).into_iter().map(|(rule, what)| {
            let selection = what.select.as_ref();
            Link {
                rule,
                selection: selection.and_then(|name| tables.asked.selection(name)),
            }
        });
        (*class, links.collect())
    });
    each.collect()
}

fn proxies(config: &Config) -> Vec<NamedProxy> {
    let named = config.proxies.iter().map(|(name, proxy)| NamedProxy {
        name: name.clone(),
        proxy: proxy.clone(),
    });
    named.collect()
}

/// Every prefix that a rule or an exclusion names gets a class of its own.
fn destinations(order: &Order<'_>, tables: &mut RuleTables) {
    // In the kernel's one trie IPv4 lies inside ::ffff:0:0/96: without a class of its own it
    // would fall to any IPv6 prefix that is short enough to hold that.
    let all_v4 = IpNet::V4(ipnet::Ipv4Net::default());
    tables.destinations.insert(all_v4, 1);
    let canary = CANARY.map(IpNet::from);
    for net in order.prefixes().chain(canary) {
        let next = tables.destinations.len() as u32 + 1;
        tables.destinations.entry(net).or_insert(next);
    }
}

/// Port ranges of rules in their order: what an earlier rule covers, a later one does not.
pub(super) fn merge<'a>(
    rules: impl Iterator<Item = Placed<'a>>,
    proxies: &[NamedProxy],
) -> Vec<PortRule> {
    let rules: Vec<Placed<'_>> = rules.collect();
    let of = |protocol| merge_of(protocol, &rules, proxies);
    Protocol::ALL.into_iter().flat_map(of).collect()
}

fn merge_of(protocol: Protocol, rules: &[Placed<'_>], proxies: &[NamedProxy]) -> Vec<PortRule> {
    let mut covered: Vec<PortRule> = Vec::new();
    for (index, rule) in rules {
        if !rule.protocols.decide(protocol) {
            continue;
        }
        let value = value(*index, rule, protocol, proxies);
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
                    protocol,
                    first,
                    last,
                    rule: value,
                })
            }));
            covered.sort_by_key(|range| range.first);
        }
    }
    covered
}

/// Destination classes of the canary.
fn canary(tables: &RuleTables) -> Vec<u32> {
    let hosts = CANARY.iter().map(|host| IpNet::from(*host));
    hosts
        .filter_map(|net| tables.destinations.get(&net).copied())
        .collect()
}

/// Where the canary goes, whoever asks and whatever the rules say.
pub(super) fn put_canary(ranges: &mut Vec<PortRule>) {
    let protocol = Protocol::Tcp;
    let first = |range: &PortRule| range.protocol == protocol && range.first == 0;
    if let Some(at) = ranges.iter().position(first) {
        match ranges.get_mut(at) {
            Some(range) if range.last > 0 => range.first = 1,
            _ => drop(ranges.remove(at)),
        }
    }
    let rule = Rule {
        index: RULE_CANARY,
        action: ACTION_PLAIN,
        fail: FAIL_BLOCK,
        operand: 0,
    };
    let only = PortRule {
        protocol,
        first: 0,
        last: 0,
        rule,
    };
    ranges.insert(0, only);
}

pub(super) fn value(
    index: u32,
    rule: &OutboundRule,
    protocol: Protocol,
    proxies: &[NamedProxy],
) -> Rule {
    let fail = match rule.fail {
        FailMode::Block => FAIL_BLOCK,
        FailMode::Pass => FAIL_PASS,
    };
    let by_action = || match &rule.action {
        OutboundAction::Mtls(_) | OutboundAction::Gateway { .. } => (ACTION_TLS, 0),
        OutboundAction::Passthrough => (ACTION_PLAIN, 0),
        OutboundAction::Redirect { proxy } => {
            let number = proxies.iter().position(|named| named.name == *proxy);
            // A proxy that is not configured has a number that no listener has.
            let number = number.and_then(|number| u16::try_from(number).ok());
            (ACTION_REDIRECT, number.unwrap_or(u16::MAX))
        }
        OutboundAction::Deny { errno } => (ACTION_DENY, u16::try_from(*errno).unwrap_or(DENIED)),
        OutboundAction::Ignore => (ACTION_IGNORE, 0),
    };
    let (action, operand) = match (protocol, rule.protocols.udp) {
        (Protocol::Udp, Datagrams::Denied) => (ACTION_DENY, DENIED),
        (Protocol::Udp, Datagrams::Passed) => (ACTION_PLAIN, 0),
        _ => by_action(),
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
    protocol: Protocol,
    destination: std::net::SocketAddr,
    selected: &std::collections::BTreeSet<String>,
) -> Option<(u32, &'a OutboundRule)> {
    let ip = destination.ip().to_canonical();
    let exclude_to = &config.intercept.exclude_to;
    if exclude_to.iter().any(|net| net.contains(&ip)) {
        return None;
    }
    let alone = crate::config::left_alone().find(|net| net.contains(&ip));
    let mut candidates: Vec<_> = config
        .outbound
        .iter()
        .enumerate()
        .filter(|(_, rule)| {
            rule.protocols.decide(protocol)
                && rule
                    .ports
                    .iter()
                    .any(|range| range.contains(&destination.port()))
        })
        .filter(|(_, rule)| rule.select.as_ref().is_none_or(|s| selected.contains(s)))
        .filter_map(|(index, rule)| {
            let longest = rule
                .to
                .iter()
                .filter(|net| net.contains(&ip) && alone.is_none_or(|alone| alone.contains(*net)))
                .map(IpNet::prefix_len)
                .max()?;
            Some((
                std::cmp::Reverse(longest),
                rule.select.is_none(),
                rule.protocols.tcp,
                index,
                rule,
            ))
        })
        .collect();
    candidates
        .sort_by_key(|(length, unselective, tcp, index, _)| (*length, *unselective, *tcp, *index));
    candidates
        .first()
        .map(|(_, _, _, index, rule)| (*index as u32, *rule))
}
