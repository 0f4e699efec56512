//! Numbers of bytes.

use std::ops::RangeInclusive;

use crate::config::errors::Problems;

/// hyper takes no smaller buffer.
pub(super) const MIN_HEAD: u64 = 8 << 10;
pub(super) const MAX_HEAD: u64 = 1 << 20;

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// `"64KiB"`
pub(super) fn size(
    problems: &mut Problems,
    key: &str,
    text: &str,
    range: RangeInclusive<u64>,
) -> Option<u64> {
    let parsed = UNITS.iter().find_map(|(unit, bits)| {
        let number = text.strip_suffix(unit)?.trim_end();
        let plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = plain.then(|| number.parse::<u64>().ok())??;
        number.checked_mul(1 << bits)
    });
    match parsed {
        Some(bytes) if range.contains(&bytes) => return Some(bytes),
        Some(_) => {
            let (from, to) = range.into_inner();
            problems.bad(
                key,
                text,
                format!("this must be from {} to {}", display(from), display(to)),
                "",
            );
        }
        None => problems.bad(
            key,
            text,
            "this is not a number of bytes",
            "write a whole number and a unit, like \"8KiB\", \"10MiB\" or \"2GiB\"",
        ),
    }
    None
}

fn display(bytes: u64) -> String {
    let whole = UNITS
        .iter()
        .find(|(_, bits)| bytes.is_multiple_of(1 << bits));
    let (unit, bits) = whole.unwrap_or(&("B", 0));
    format!("{}{unit}", bytes >> bits)
}
