use fastrand::Rng;
use proptest::prelude::*;

use super::*;

fn slice(nanos: u64) -> Slice {
    Slice {
        done: 10,
        bytes: 1_000,
        took: 2_000_000_000,
        p50: nanos,
        p99: 2 * nanos,
        p999: 3 * nanos,
        cpu: 5_000,
        machine: 0,
        memory: 9_000,
        memory_without: 4_000,
    }
}

#[test]
fn merits_are_what_they_say() {
    let one = Slice {
        done: 1_000,
        ..slice(1_000)
    };
    let of = |merit| value(merit, &one).expect("it has it");
    assert_eq!(of(Merit::P50), 1e-6);
    assert_eq!(of(Merit::P99), 2e-6);
    assert_eq!(of(Merit::P999), 3e-6);
    assert_eq!(of(Merit::PerSecond), 500.0);
    assert_eq!(of(Merit::BitsPerSecond), 4_000.0);
    assert!((of(Merit::CpuPerOperation) - 5e-9).abs() < 1e-15);
    assert!((of(Merit::CpuPerGigabyte) - 5.0).abs() < 1e-9);
    assert_eq!(of(Merit::MemoryPerConnection), 5.0);
}

#[test]
fn a_slice_without_latencies_or_without_proxies_has_no_such_figure() {
    assert_eq!(value(Merit::P50, &slice(0)), None);
    assert_eq!(
        value(Merit::CpuPerOperation, &Slice { cpu: 0, ..slice(1) }),
        None
    );
    assert_eq!(
        value(
            Merit::CpuPerGigabyte,
            &Slice {
                bytes: 0,
                ..slice(1)
            }
        ),
        None
    );
}

#[test]
fn a_percentile_beyond_which_a_round_has_no_operation_is_that_of_all_rounds() {
    let few = Slice {
        done: 600,
        ..slice(1_000)
    };
    assert!(value(Merit::P99, &few).is_some());
    assert_eq!(value(Merit::P999, &few), None);
    let mut all = histogram();
    for nanos in 1..=9_900 {
        all.record(nanos).expect("it grows");
    }
    assert_eq!(
        pooled(Merit::P999, &all, 15),
        None,
        "fewer than ten are beyond"
    );
    for nanos in 9_901..=10_000 {
        all.record(nanos).expect("it grows");
    }
    let figure = pooled(Merit::P999, &all, 15).expect("ten are");
    assert!(
        (figure.median * 1e9 - 9_990.0).abs() < 10.0 && figure.interval.is_none(),
        "{figure:?}"
    );
    assert_eq!(pooled(Merit::PerSecond, &all, 15), None);
}

#[test]
fn ranks_are_those_of_the_binomial_distribution() {
    let known = [
        (0, None),
        (5, None),
        (6, Some((0, 0.96875))),
        (8, Some((0, 0.99219))),
        (9, Some((1, 0.96094))),
        (12, Some((2, 0.96143))),
        (15, Some((3, 0.96484))),
        (20, Some((5, 0.95861))),
        (100, Some((39, 0.96480))),
    ];
    for (n, expected) in known {
        let found =
            outermost(n).map(|(left_out, coverage)| (left_out, (coverage * 1e5).round() / 1e5));
        assert_eq!(found, expected, "{n} rounds");
    }
}

#[test]
fn medians_of_even_and_odd_numbers_of_rounds() {
    let of = |values: &[f64]| of(values.to_vec()).expect("there are some");
    assert_eq!(of(&[3.0, 1.0, 2.0]).median, 2.0);
    assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
    assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).interval, None);
    let six = of(&[6.0, 1.0, 5.0, 2.0, 4.0, 3.0]);
    assert_eq!(
        six.interval.map(|interval| (interval.low, interval.high)),
        Some((1.0, 6.0))
    );
    assert!(super::of(Vec::new()).is_none());
}

#[test]
fn intervals_cover_the_true_median_as_often_as_they_say() {
    let mut random = Rng::with_seed(6);
    for rounds in [6, 10, 12, 25] {
        // Exponential: far from symmetric, its median is ln 2.
        let mut draw = || of((0..rounds).map(|_| -(1.0 - random.f64()).ln()).collect());
        let intervals: Vec<Interval> = (0..4_000).filter_map(|_| draw()?.interval).collect();
        let covers =
            |interval: &&Interval| (interval.low..=interval.high).contains(&std::f64::consts::LN_2);
        let covered = intervals.iter().filter(covers).count() as f64 / intervals.len() as f64;
        let said = intervals[0].coverage;
        assert!(
            (covered - said).abs() < 0.015,
            "{rounds} rounds: {covered} and not {said}"
        );
    }
}

proptest! {
    #[test]
    fn the_median_is_inside_of_its_interval_which_covers_at_least_95_percent(
        values in prop::collection::vec(1e-9_f64..1e9, 1..300),
    ) {
        let figure = of(values.clone()).expect("there are values");
        let below = values.iter().filter(|value| **value <= figure.median).count();
        let above = values.iter().filter(|value| **value >= figure.median).count();
        prop_assert!(2 * below >= values.len() && 2 * above >= values.len());
        prop_assert_eq!(figure.interval.is_some(), values.len() >= 6);
        if let Some(interval) = figure.interval {
            prop_assert!(interval.low <= figure.median && figure.median <= interval.high);
            prop_assert!((0.95..1.0).contains(&interval.coverage));
        }
    }

    #[test]
    fn more_rounds_than_a_double_has_exponents_still_have_an_interval(rounds in 1_000_usize..20_000) {
        let (left_out, coverage) = outermost(rounds).expect("there are enough");
        prop_assert!((0.95..0.96).contains(&coverage), "{}", coverage);
        prop_assert!(left_out < rounds / 2);
    }

    #[test]
    fn what_slows_the_whole_machine_for_a_while_leaves_ratios_as_they_are(
        drift in prop::collection::vec(0.3_f64..4.0, 12),
        ratio_is in 0.2_f64..5.0,
    ) {
        let at = |speed: &f64, times: f64| slice((1e6 * speed * times) as u64);
        let base: Vec<Slice> = drift.iter().map(|speed| at(speed, 1.0)).collect();
        let other: Vec<Slice> = drift.iter().map(|speed| at(speed, ratio_is)).collect();
        let found = ratio(Merit::P50, &other, &base).expect("twelve rounds");
        let interval = found.interval.expect("twelve rounds");
        prop_assert!((found.median / ratio_is - 1.0).abs() < 1e-3);
        prop_assert!(interval.high / interval.low < 1.001);
    }
}
