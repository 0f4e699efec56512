//! Numbers for people: three digits and the unit that fits.

use crate::{case::Merit, statistics::Figure};

/// A unit, and how many of the base unit it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    pub(crate) size: f64,
}

const fn unit(name: &'static str, size: f64) -> Unit {
    Unit { name, size }
}

const SECONDS: [Unit; 4] = [
    unit("ns", 1e-9),
    unit("µs", 1e-6),
    unit("ms", 1e-3),
    unit("s", 1.0),
];
const BITS: [Unit; 3] = [
    unit("kbit/s", 1e3),
    unit("Mbit/s", 1e6),
    unit("Gbit/s", 1e9),
];
const RATE: [Unit; 1] = [unit("/s", 1.0)];
const MEMORY: [Unit; 2] = [unit("KiB", 1024.0), unit("MiB", 1_048_576.0)];

impl Unit {
    /// The largest in which `value` is at least one; for the values of a plot, that of their largest.
    pub(crate) fn fitting(merit: Merit, value: f64) -> Self {
        let units: &[Self] = match merit {
            Merit::P50
            | Merit::P99
            | Merit::P999
            | Merit::CpuPerOperation
            | Merit::CpuPerGigabyte => &SECONDS,
            Merit::PerSecond => &RATE,
            Merit::BitsPerSecond => &BITS,
            Merit::MemoryPerConnection => &MEMORY,
        };
        let fits = units.iter().rev().find(|unit| value >= unit.size);
        fits.or(units.first()).copied().unwrap_or(unit("", 1.0))
    }
}

/// A value with its unit.
pub(crate) fn shown(merit: Merit, value: f64) -> String {
    let unit = Unit::fitting(merit, value);
    format!("{} {}", digits(value / unit.size), unit.name)
}

/// A round value with its unit, as at an axis.
pub(crate) fn short(merit: Merit, value: f64) -> String {
    // What was computed as a round number may be a little less.
    let unit = Unit::fitting(merit, value * 1.000_001);
    format!("{} {}", trimmed(value / unit.size), unit.name)
}

/// A round value, without zeros that say nothing.
pub(crate) fn trimmed(value: f64) -> String {
    let text = digits(value);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The ends of the interval of a figure, in the unit of its median.
pub(crate) fn interval(merit: Merit, figure: &Figure) -> Option<String> {
    let unit = Unit::fitting(merit, figure.median);
    let interval = figure.interval?;
    Some(format!(
        "{} to {}",
        digits(interval.low / unit.size),
        digits(interval.high / unit.size)
    ))
}

/// A ratio, and the interval in which it is.
pub(crate) fn ratio(figure: &Figure) -> String {
    match figure.interval {
        Some(interval) => format!(
            "{} ({} to {})",
            digits(figure.median),
            digits(interval.low),
            digits(interval.high)
        ),
        None => digits(figure.median),
    }
}

/// Three significant digits, thousands apart.
pub(crate) fn digits(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        small if small < 0.01 => 5,
        small if small < 0.0995 => 4,
        small if small < 0.9995 => 3,
        one if one < 9.995 => 2,
        ten if ten < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.places$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut apart = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && !apart.ends_with('-') {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_thousands_apart() {
        let texts = [
            0.0,
            0.01234,
            0.1234,
            0.99949,
            1.0,
            9.999,
            12.34,
            123.4,
            1234.5,
            1_234_567.8,
        ]
        .map(digits);
        assert_eq!(
            texts,
            [
                "0",
                "0.0123",
                "0.123",
                "0.999",
                "1.00",
                "10.0",
                "12.3",
                "123",
                "1,234",
                "1,234,568"
            ]
        );
    }

    #[test]
    fn a_value_has_the_unit_in_which_it_is_at_least_one() {
        assert_eq!(shown(Merit::P50, 0.000_045_6), "45.6 µs");
        assert_eq!(shown(Merit::CpuPerGigabyte, 0.52), "520 ms");
        assert_eq!(shown(Merit::BitsPerSecond, 23.4e9), "23.4 Gbit/s");
        assert_eq!(shown(Merit::PerSecond, 123_456.0), "123,456 /s");
        assert_eq!(shown(Merit::MemoryPerConnection, 512.0), "0.500 KiB");
    }
}
