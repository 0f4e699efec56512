//! Figures from rounds.
//!
//! A ratio is taken of two slices of the same round, which the machine did within seconds of each other: what
//! slows the whole machine slows both. The figure is the median over the rounds. Its interval is that of two order
//! statistics, exact for whatever the distribution is; it only takes rounds to be independent.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{case::Merit, run::Slice};

/// At least so often an interval must cover the true median.
const COVERAGE: f64 = 0.95;

/// A median over rounds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Figure {
    /// The median.
    pub median: f64,
    /// Where the true one is. None with fewer than six rounds, which cannot tell with 95 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Of so many rounds.
    pub rounds: usize,
}

/// Where the true median is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Interval {
    /// At least.
    pub low: f64,
    /// At most.
    pub high: f64,
    /// How often an interval made like this one covers it: 0.95 or more, since ranks are whole numbers.
    pub coverage: f64,
}

impl Interval {
    /// Whether the two have no value in common.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.high < other.low || other.high < self.low
    }
}

/// For latencies of any length: three significant digits, in as much memory as the values need.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that the crate takes: 1, 2 and three digits.
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three significant digits are allowed"))
}

/// What `merit` was in one slice: seconds, operations or bits in a second, CPU seconds, bytes. None where the slice
/// has nothing of it, as latencies of a bulk stream, or a percentile beyond which it has no operation.
pub fn value(merit: Merit, slice: &Slice) -> Option<f64> {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    if let Some(quantile) = merit.quantile()
        && (slice.done as f64) * (1.0 - quantile) < 0.999
    {
        return None;
    }
    let value = match merit {
        Merit::P50 => seconds(slice.p50),
        Merit::P99 => seconds(slice.p99),
        Merit::P999 => seconds(slice.p999),
        Merit::PerSecond => slice.done as f64 / seconds(slice.took),
        Merit::BitsPerSecond => slice.bytes as f64 * 8.0 / seconds(slice.took),
        Merit::CpuPerOperation => seconds(slice.cpu) / slice.done as f64,
        Merit::CpuPerGigabyte => seconds(slice.cpu) / (slice.bytes as f64 / 1e9),
        Merit::MemoryPerConnection => {
            slice.memory.saturating_sub(slice.memory_without) as f64 / slice.done as f64
        }
    };
    (value.is_finite() && value > 0.0).then_some(value)
}

/// A percentile of all rounds together, where ten operations or more are beyond it. It has no interval.
pub fn pooled(merit: Merit, latencies: &Histogram<u64>, rounds: usize) -> Option<Figure> {
    let quantile = merit.quantile()?;
    let beyond = latencies.len() as f64 * (1.0 - quantile);
    let median = latencies.value_at_quantile(quantile) as f64 / 1e9;
    (beyond > 9.99).then_some(Figure {
        median,
        interval: None,
        rounds,
    })
}

/// `merit` of a path.
pub fn figure(merit: Merit, rounds: &[Slice]) -> Option<Figure> {
    of(rounds
        .iter()
        .filter_map(|slice| value(merit, slice))
        .collect())
}

/// `merit` of a path by that of another in the same round.
pub fn ratio(merit: Merit, rounds: &[Slice], base: &[Slice]) -> Option<Figure> {
    let pairs = rounds.iter().zip(base);
    of(pairs
        .filter_map(|(slice, base)| Some(value(merit, slice)? / value(merit, base)?))
        .collect())
}

/// The median of `values` and its interval.
fn of(mut values: Vec<f64>) -> Option<Figure> {
    values.sort_by(f64::total_cmp);
    let rounds = values.len();
    let upper = values.get(rounds / 2)?;
    let median = match rounds % 2 {
        0 => values.get(rounds / 2 - 1)?.midpoint(*upper),
        _ => *upper,
    };
    let interval = outermost(rounds).and_then(|(left_out, coverage)| {
        Some(Interval {
            low: *values.get(left_out)?,
            high: *values.get(rounds - 1 - left_out)?,
            coverage,
        })
    });
    Some(Figure {
        median,
        interval,
        rounds,
    })
}

/// How many of `n` sorted values may be left out on each side, and how often what remains covers the true median.
///
/// The median is below the k-th smallest of n values as often as fewer than k of n fair coins show heads.
fn outermost(n: usize) -> Option<(usize, f64)> {
    let mut best = None;
    // The logarithm of the probability of i heads: 2^-n itself is no f64 for a large n.
    let mut heads = -(n as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    for left_out in 0..n.div_ceil(2) {
        below += heads.exp();
        let coverage = 1.0 - 2.0 * below;
        if coverage < COVERAGE {
            break;
        }
        best = Some((left_out, coverage));
        heads += ((n - left_out) as f64 / (left_out + 1) as f64).ln();
    }
    best
}

#[cfg(test)]
mod tests;
