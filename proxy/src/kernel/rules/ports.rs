//! Port ranges as prefixes, since a trie knows only those.

use sidetrack_abi::rules::{ACTION_NONE, Rule};

use super::PortRule;

/// What holds for the ports of a prefix, longer prefixes within it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPrefix {
    /// First port.
    pub port: u16,
    /// Bits that all ports have in common, up to 16.
    pub length: u32,
    /// What to do; `ACTION_NONE` where no rule holds within one that does.
    pub rule: Rule,
}

/// The fewest prefixes by which the longest match gives each port its rule. `ranges` are of one
/// protocol, ascending, and do not overlap.
pub fn port_prefixes(ranges: &[PortRule]) -> Vec<PortPrefix> {
    let mut prefixes = Vec::new();
    Block::of(ranges, 0, 16).tell(0, 16, None, &mut prefixes);
    prefixes
}

/// A block of ports as large as a power of two, and the rules any of which is a best choice for its
/// prefix: of both halves if they have some in common, else of either. This is the construction of
/// optimal routing tables (Draves et al., "Constructing Optimal IP Routing Tables", 1999).
struct Block {
    choices: Vec<Option<Rule>>,
    halves: Option<Box<[Self; 2]>>,
}

impl Block {
    fn of(ranges: &[PortRule], first: u32, bits: u32) -> Self {
        let last = first + (1 << bits) - 1;
        let from = ranges.partition_point(|range| u32::from(range.last) < first);
        let ranges = ranges.get(from..).unwrap_or_default();
        let to = ranges.partition_point(|range| u32::from(range.first) <= last);
        let ranges = ranges.get(..to).unwrap_or_default();
        let whole = match ranges {
            [] => Some(None),
            [one] if u32::from(one.first) <= first && last <= u32::from(one.last) => {
                Some(Some(one.rule))
            }
            _ => None,
        };
        if let Some(rule) = whole {
            return Self {
                choices: vec![rule],
                halves: None,
            };
        }
        let half = 1 << (bits - 1);
        let halves = [
            Self::of(ranges, first, bits - 1),
            Self::of(ranges, first + half, bits - 1),
        ];
        let [low, high] = &halves;
        let mut choices: Vec<_> = low.choices.clone();
        choices.retain(|rule| high.choices.contains(rule));
        if choices.is_empty() {
            choices = [&low.choices[..], &high.choices].concat();
        }
        Self {
            choices,
            halves: Some(Box::new(halves)),
        }
    }

    fn tell(&self, first: u32, bits: u32, above: Option<Rule>, prefixes: &mut Vec<PortPrefix>) {
        let chosen = if self.choices.contains(&above) {
            above
        } else {
            let rule = self.choices.first().copied().flatten();
            prefixes.push(PortPrefix {
                port: u16::try_from(first).unwrap_or_default(),
                length: 16 - bits,
                rule: rule.unwrap_or(Rule {
                    action: ACTION_NONE,
                    ..Rule::default()
                }),
            });
            rule
        };
        if let Some([low, high]) = self.halves.as_deref() {
            low.tell(first, bits - 1, chosen, prefixes);
            high.tell(first + (1 << (bits - 1)), bits - 1, chosen, prefixes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Protocol;

    fn range(first: u16, last: u16, index: u32) -> PortRule {
        PortRule {
            protocol: Protocol::Tcp,
            first,
            last,
            rule: Rule {
                index,
                ..Rule::default()
            },
        }
    }

    fn longest_match(prefixes: &[PortPrefix], port: u16) -> Option<u32> {
        let holds = |prefix: &&PortPrefix| {
            let shift = 16 - prefix.length;
            u32::from(prefix.port) >> shift == u32::from(port) >> shift
        };
        let found = prefixes.iter().filter(holds).max_by_key(|one| one.length)?;
        (found.rule.action != ACTION_NONE).then_some(found.rule.index)
    }

    #[test]
    fn a_rule_for_nearly_all_ports_costs_little_more_than_its_exceptions() {
        assert_eq!(port_prefixes(&[range(0, u16::MAX, 1)]).len(), 1);
        assert_eq!(port_prefixes(&[range(80, 80, 1)]).len(), 1);
        let around = [
            range(1, 79, 1),
            range(80, 80, 2),
            range(81, 442, 1),
            range(443, 443, 2),
            range(444, u16::MAX, 1),
        ];
        // All, both ports, and port 0, which rules do not have.
        assert_eq!(port_prefixes(&around).len(), 4);
    }

    proptest! {
        #[test]
        fn prefixes_give_each_port_the_rule_of_its_range(
            bounds in prop::collection::btree_set(any::<u16>(), 2..12),
            indices in prop::collection::vec(0_u32..3, 12),
            probes in prop::collection::vec(any::<u16>(), 50),
        ) {
            let bounds: Vec<u16> = bounds.into_iter().collect();
            let ranges: Vec<PortRule> = bounds
                .windows(2)
                .zip(&indices)
                // One of three is a gap.
                .filter(|(_, index)| **index > 0)
                .map(|(pair, index)| range(pair[0], pair[1] - 1, *index))
                .collect();
            let prefixes = port_prefixes(&ranges);
            let edges = bounds.iter().flat_map(|bound| [*bound, bound.saturating_sub(1)]);
            for port in probes.into_iter().chain(edges).chain([0, u16::MAX]) {
                let truth = ranges.iter().find(|one| one.first <= port && port <= one.last);
                let found = longest_match(&prefixes, port);
                prop_assert_eq!(found, truth.map(|one| one.rule.index));
            }
        }
    }
}
