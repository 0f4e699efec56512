//! The entries of the rule trie.

use aya::maps::lpm_trie::Key;
use sidetrack_abi::{
    names::DESTINATION_ENTRIES,
    rules::{Rule, RuleKey},
};

use crate::kernel::{
    KernelError,
    rules::{PortRule, RuleTables, port_prefixes},
};

/// What the rule trie is to hold for a destination class and a selection class.
pub(super) fn rule_entries(
    destination: u32,
    selection: u32,
    ranges: &[PortRule],
) -> Vec<(Key<RuleKey>, Rule)> {
    let mut entries = Vec::new();
    for ranges in ranges.chunk_by(|one, next| one.protocol == next.protocol) {
        let Some(protocol) = ranges.first().map(|range| range.protocol.number()) else {
            continue;
        };
        entries.extend(port_prefixes(ranges).into_iter().map(|prefix| {
            let key = RuleKey::new(destination, selection, protocol, prefix.port.to_be());
            let key = Key::new(RuleKey::PORT_OFFSET + prefix.length, key);
            (key, prefix.rule)
        }));
    }
    entries
}

/// Whether the rule trie, which has this `room`, has it for `entries`.
pub(super) fn rules_fit(
    tables: &RuleTables,
    entries: usize,
    room: usize,
) -> Result<(), KernelError> {
    if entries <= room {
        return Ok(());
    }
    let what = format!(
        "their ports need at least {entries} entries for the selections that occur, the kernel's \
         table holds {room}"
    );
    Err(too_many(tables, what))
}

/// Whether there is room for the destination prefixes.
pub(super) fn destinations_fit(tables: &RuleTables) -> Result<(), KernelError> {
    let named = tables.destinations.len();
    if named <= DESTINATION_ENTRIES {
        return Ok(());
    }
    let what = format!(
        "they name {named} destination prefixes, the kernel's table holds {DESTINATION_ENTRIES}"
    );
    Err(too_many(tables, what))
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
    use sidetrack_abi::names::RULE_ENTRIES;

    use super::*;
    use crate::{
        config::{Config, FailMode, OutboundAction, OutboundRule, Protocols},
        kernel::rules::{Made, Scope},
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
        let tables = compiled(10_000);
        for pod in 0..5 {
            tables.class(&tables.place(&format!("/pods/{pod}")));
        }
        let entries = tables.made_since(0).into_iter().map(|made| match made {
            Made::Rules {
                destination,
                selection,
                ranges,
            } => rule_entries(destination, selection, &ranges).len(),
            Made::Stage(..) => 0,
        });
        rules_fit(&tables, entries.sum(), RULE_ENTRIES).unwrap();
    }

    #[test]
    fn rules_that_do_not_fit_are_refused_with_how_many_there_are_and_what_to_do() {
        let mut tables = compiled(0);
        let error = rules_fit(&tables, RULE_ENTRIES + 1, RULE_ENTRIES);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("rule set 1") && error.contains("1048576"),
            "{error}"
        );
        assert!(error.contains("join prefixes"), "{error}");
        for number in 0..=DESTINATION_ENTRIES as u32 {
            let net = Ipv4Net::new(Ipv4Addr::from(number), 32).unwrap();
            tables.destinations.insert(IpNet::V4(net), number);
        }
        let error = destinations_fit(&tables).err().unwrap().to_string();
        assert!(error.contains("the kernel's table holds 65536"), "{error}");
    }
}
