//! The entries of the rule trie.

use aya::maps::lpm_trie::Key;
use sidetrack_abi::{
    names::{DESTINATION_ENTRIES, RULE_ENTRIES},
    rules::{Rule, RuleKey},
};

use crate::kernel::{
    KernelError,
    rules::{RuleTables, port_prefixes},
};

/// What the rule trie is to hold.
pub(super) fn rule_entries(tables: &RuleTables) -> Result<Vec<(Key<RuleKey>, Rule)>, KernelError> {
    if tables.destinations.len() > DESTINATION_ENTRIES {
        return Err(too_many(
            tables,
            format!(
                "they name {} destination prefixes, the kernel's table holds {DESTINATION_ENTRIES}",
                tables.destinations.len()
            ),
        ));
    }
    let mut entries = Vec::new();
    for ((destination, selection), ranges) in &tables.rules {
        for ranges in ranges.chunk_by(|one, next| one.protocol == next.protocol) {
            let Some(protocol) = ranges.first().map(|range| range.protocol.number()) else {
                continue;
            };
            entries.extend(port_prefixes(ranges).into_iter().map(|prefix| {
                let port = prefix.port.to_be();
                let key = RuleKey::new(*destination, *selection, protocol, port);
                (
                    Key::new(RuleKey::PORT_OFFSET + prefix.length, key),
                    prefix.rule,
                )
            }));
        }
    }
    if entries.len() > RULE_ENTRIES {
        let rows = tables.rules.len();
        return Err(too_many(
            tables,
            format!(
                "{rows} combinations of destination prefix and selection need {} entries for \
                 their ports, the kernel's table holds {RULE_ENTRIES}",
                entries.len()
            ),
        ));
    }
    Ok(entries)
}

fn too_many(tables: &RuleTables, what: String) -> KernelError {
    KernelError::new(
        format!("filling rule set {} into the kernel", tables.generation),
        "join prefixes and port ranges where rules say the same, or use fewer selections; the rules \
         of before stay in force",
        std::io::Error::other(what),
    )
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, path::Path};

    use ipnet::{IpNet, Ipv4Net};

    use super::*;
    use crate::{
        config::{Config, FailMode, OutboundAction, OutboundRule, Protocols},
        kernel::rules::Scope,
    };

    fn rule(number: u32) -> OutboundRule {
        let address = Ipv4Addr::from(0x0a00_0000 + number * 256);
        OutboundRule {
            name: format!("r{number}"),
            select: (!number.is_multiple_of(5)).then(|| format!("s{}", number % 5)),
            to: vec![Ipv4Net::new(address, 24).unwrap().into()],
            ports: vec![443..=443, 8000..=8999],
            protocols: Protocols::ANY,
            action: OutboundAction::Passthrough,
            fail: FailMode::Block,
        }
    }

    fn compiled(rules: u32) -> RuleTables {
        let selects: String = (1..5)
            .map(|n| format!("select.s{n}.include = [{{ cgroup = \"/pods/{n}\" }}]\n"))
            .collect();
        let all = "[[outbound]]\nname = \"all\"\naction = \"deny\"\n";
        let text = format!("version = 1\n{selects}{all}");
        let mut config = Config::parse(&text, Path::new("/f.toml")).unwrap();
        config.outbound.extend((0..rules).map(rule));
        RuleTables::compile(&config, Scope::Selections, 1)
    }

    #[test]
    fn ten_thousand_rules_for_several_selections_fit_beside_one_for_everything() {
        let entries = rule_entries(&compiled(10_000)).unwrap().len();
        assert!(entries < RULE_ENTRIES, "{entries}");
    }

    #[test]
    fn rules_that_do_not_fit_are_refused_with_how_many_there_are_and_what_to_do() {
        let mut tables = compiled(0);
        let one = tables.rules.values().next().unwrap().clone();
        for class in 0..RULE_ENTRIES as u32 / 4 {
            tables.rules.insert((class, 0), one.clone());
        }
        let error = rule_entries(&tables).err().unwrap().to_string();
        assert!(
            error.contains("rule set 1") && error.contains("1048576"),
            "{error}"
        );
        assert!(error.contains("join prefixes"), "{error}");
        let mut tables = compiled(0);
        for number in 0..=DESTINATION_ENTRIES as u32 {
            let net = Ipv4Net::new(Ipv4Addr::from(number), 32).unwrap();
            tables.destinations.insert(IpNet::V4(net), number);
        }
        let error = rule_entries(&tables).err().unwrap().to_string();
        assert!(error.contains("the kernel's table holds 65536"), "{error}");
    }
}
