//! Port ranges as prefixes, since a trie knows only those.

/// The fewest prefixes of 16 bits that cover `first..=last`: (port, prefix length).
pub fn port_prefixes(first: u16, last: u16) -> Vec<(u16, u32)> {
    let mut prefixes = Vec::new();
    let (mut next, last) = (u32::from(first), u32::from(last));
    while next <= last {
        // The largest block that begins here, by alignment, and does not pass the end.
        let aligned = if next == 0 {
            16
        } else {
            next.trailing_zeros().min(16)
        };
        let fits = (last - next + 1).ilog2();
        let bits = aligned.min(fits);
        if let Ok(port) = u16::try_from(next) {
            prefixes.push((port, 16 - bits));
        }
        next += 1 << bits;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_ports_are_one_prefix() {
        assert_eq!(port_prefixes(0, u16::MAX), [(0, 0)]);
        assert_eq!(port_prefixes(80, 80), [(80, 16)]);
        assert_eq!(port_prefixes(9000, 9100).len(), 6);
    }

    proptest! {
        #[test]
        fn prefixes_cover_exactly_the_range(a: u16, b: u16, probe: u16) {
            let (first, last) = (a.min(b), a.max(b));
            let prefixes = port_prefixes(first, last);
            prop_assert!(prefixes.len() <= 30);
            let hits = prefixes
                .iter()
                .filter(|(port, length)| {
                    let shift = 16 - length;
                    u32::from(*port) >> shift == u32::from(probe) >> shift
                })
                .count();
            prop_assert_eq!(hits, usize::from((first..=last).contains(&probe)));
        }
    }
}
