use super::*;
use crate::{
    plan::{Plan, Profile},
    report::made_up::{report, with_rounds},
    run::made_up::MadeUp,
};

fn goal(bound: Bound) -> Goal {
    Goal::new("round-trip", Mtls, HaproxyPair, P50, bound, "a round trip")
}

#[test]
fn every_goal_is_of_a_case_its_paths_and_its_merit_in_the_full_profile() {
    let plan = Plan::new(Profile::Full, &[]).expect("it has cases");
    for goal in GOALS {
        let planned = plan
            .cases
            .iter()
            .find(|planned| planned.case.name == goal.case);
        let case = &planned
            .unwrap_or_else(|| panic!("{} is no case", goal.case))
            .case;
        for kind in [Some(goal.path), goal.against, goal.beside]
            .into_iter()
            .flatten()
        {
            assert!(
                case.paths.iter().any(|spec| spec.kind == kind),
                "{kind} in {}",
                goal.case
            );
        }
        assert!(
            case.merits.contains(&goal.merit),
            "{:?} in {}",
            goal.merit,
            goal.case
        );
    }
}

#[test]
fn a_bound_is_reached_or_missed_if_the_whole_interval_is_and_undecided_between() {
    // Made up as 90 to 110 microseconds, each give or take a fiftieth.
    let report = report(Profile::Full, MadeUp::new(1));
    let verdict = |bound| goal(bound).verdict(&report).word();
    assert_eq!(verdict(AtMost(1.0)), "reached");
    assert_eq!(verdict(AtMost(0.6)), "missed");
    assert_eq!(verdict(AtLeast(0.6)), "reached");
    assert_eq!(verdict(AtLeast(1.0)), "missed");
    let middle = goal(AtMost(1.0))
        .verdict(&report)
        .figure()
        .expect("measured")
        .median;
    assert_eq!(verdict(AtMost(middle)), "undecided");
    assert_eq!(verdict(AtLeast(middle)), "undecided");
}

#[test]
fn too_few_rounds_decide_nothing() {
    let report = with_rounds(Profile::Full, MadeUp::new(1), 5);
    assert_eq!(goal(AtMost(1.0)).verdict(&report).word(), "undecided");
}

#[test]
fn a_path_whose_program_is_missing_leaves_its_goals_unmeasured_with_the_reason() {
    let mut ground = MadeUp::new(1);
    ground.lacks = vec![HaproxyPair];
    let report = report(Profile::Full, ground);
    let Verdict::Unknown(why) = goal(AtMost(1.0)).verdict(&report) else {
        panic!("nothing was measured");
    };
    assert!(
        why.contains("haproxy-pair could not be measured") && why.contains("apt install it"),
        "{why}"
    );
}

#[test]
fn what_was_not_asked_is_no_goal_of_the_run() {
    let report = report(Profile::Quick, MadeUp::new(1));
    assert_eq!(goal(AtMost(1.0)).verdict(&report), Verdict::NotAsked);
}

#[test]
fn memory_is_bounded_as_it_is() {
    let report = report(Profile::Full, MadeUp::new(1));
    let memory = GOALS
        .iter()
        .find(|goal| goal.merit == MemoryPerConnection)
        .expect("there is one");
    let verdict = memory.verdict(&report);
    assert_eq!(verdict.figure().map(|figure| figure.median), Some(20_000.0));
    assert_eq!(verdict.word(), "reached");
    assert_eq!(memory.wanted(), "at most 24.0 KiB");
}
