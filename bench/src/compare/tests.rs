use super::*;
use crate::{
    path::Kind,
    plan::{Plan, Profile},
    report::made_up::{of, report, with_rounds},
    run::made_up::MadeUp,
};

fn slower(seed: u64, slower: f64) -> Report {
    let mut ground = MadeUp::new(seed);
    ground.slower = slower;
    report(Profile::Quick, ground)
}

#[test]
fn what_became_slower_moved_and_nothing_else_did() {
    let comparison = compare(&slower(1, 1.0), &slower(2, 1.5));
    assert!(
        comparison.warnings.is_empty() && comparison.only_one.is_empty(),
        "{comparison:?}"
    );
    let ours = |change: &Change| change.path == "redirected" || change.path == "mtls";
    let moved: Vec<&Change> = comparison
        .moved
        .iter()
        .filter(|change| ours(change))
        .collect();
    assert!(moved.len() > 20, "{}", moved.len());
    for change in &moved {
        assert!(
            !change.is_better(),
            "{} {} {:?} {}",
            change.case,
            change.path,
            change.merit,
            change.factor()
        );
    }
    let others = comparison.moved.len() - moved.len();
    // Intervals are apart by chance now and then.
    assert!(others <= 2, "{others}");
}

#[test]
fn the_largest_change_stands_first() {
    let comparison = compare(&slower(1, 1.5), &slower(2, 1.0));
    for changes in [&comparison.moved, &comparison.rest] {
        let sizes: Vec<f64> = changes
            .iter()
            .map(|change| change.factor().ln().abs())
            .collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    }
    assert!(
        comparison.moved.first().is_some_and(Change::is_better),
        "{comparison:?}"
    );
    let table = comparison.table();
    assert!(
        table.contains("better") && table.contains("figures moved"),
        "{table}"
    );
}

#[test]
fn too_few_rounds_tell_of_nothing_that_it_moved() {
    let few = |seed| with_rounds(Profile::Quick, MadeUp::new(seed), 4);
    let comparison = compare(&few(1), &few(2));
    assert!(comparison.moved.is_empty() && !comparison.rest.is_empty());
}

#[test]
fn runs_of_which_one_lacks_the_first_path_are_compared_by_the_first_that_both_have() {
    let then = slower(1, 1.0);
    let plan = Plan::new(Profile::Quick, &[Kind::Redirected, Kind::IptablesRelay]);
    let comparison = compare(&then, &of(plan.expect("both have cases"), MadeUp::new(2)));
    let all = || comparison.moved.iter().chain(&comparison.rest);
    let change = all().find(|change| change.case == "first-byte-1" && change.merit == Merit::P50);
    let change = change.expect("both have it");
    assert_eq!(
        (change.path.as_str(), change.against.as_deref()),
        ("iptables-relay", Some("redirected"))
    );
    assert!((1.0..1.2).contains(&change.then.median), "{change:?}");
}

#[test]
fn another_host_is_warned_of_and_what_one_run_has_alone_is_told() {
    let then = slower(1, 1.0);
    let mut now = slower(1, 1.0);
    now.machine.cpu = "another one".to_owned();
    now.cases.retain(|answer| answer.name != "round-trip");
    let comparison = compare(&then, &now);
    assert!(
        comparison.warnings[0].starts_with("processor: "),
        "{:?}",
        comparison.warnings
    );
    assert_eq!(comparison.only_one, ["round-trip: only in the earlier run"]);
}
