//! Ports of rules.

use std::ops::RangeInclusive;

/// Ports as the file writes them, for messages.
pub fn display_ports(ports: &[RangeInclusive<u16>]) -> String {
    ports
        .iter()
        .map(|range| {
            if range.start() == range.end() {
                range.start().to_string()
            } else {
                format!("{}-{}", range.start(), range.end())
            }
        })
        .collect::<Vec<_>>()
        .join(", ")
}
