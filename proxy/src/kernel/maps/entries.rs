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
