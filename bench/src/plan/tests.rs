use std::collections::HashSet;

use super::*;

fn plan(profile: Profile) -> Plan {
    Plan::new(profile, &[]).expect("a profile has cases")
}

#[test]
fn a_profile_takes_no_longer_than_it_promises() {
    for (profile, minutes) in [
        (Profile::Smoke, 1),
        (Profile::Quick, 4),
        (Profile::Full, 40),
    ] {
        let estimate = plan(profile).estimate();
        println!("{profile}: {} s", estimate.as_secs());
        assert!(
            estimate <= Duration::from_secs(minutes * 60),
            "{profile}: {estimate:?}"
        );
    }
}

#[test]
fn smoke_and_full_have_every_path_and_every_kind_of_load() {
    for profile in [Profile::Smoke, Profile::Full] {
        let plan = plan(profile);
        let kinds: HashSet<Kind> = plan
            .cases
            .iter()
            .flat_map(|p| p.case.paths.iter().map(|spec| spec.kind))
            .collect();
        assert_eq!(kinds.len(), Kind::ALL.len(), "{profile}");
        let loads: HashSet<_> = plan
            .cases
            .iter()
            .map(|p| std::mem::discriminant(&p.case.load))
            .collect();
        assert_eq!(loads.len(), 8, "{profile}");
    }
}

#[test]
fn quick_is_about_four_paths_and_each_case_has_something_to_compare() {
    for planned in plan(Profile::Quick).cases {
        assert!(
            (2..=4).contains(&planned.case.paths.len()),
            "{}",
            planned.case.name
        );
    }
}

#[test]
fn full_has_at_least_ten_rounds_wherever_time_is_measured() {
    for planned in plan(Profile::Full).cases {
        let enough = planned.rounds >= 10 || planned.wants_fresh_paths();
        assert!(enough && planned.rounds >= 6, "{}", planned.case.name);
    }
}

#[test]
fn every_case_has_a_name_of_its_own_and_each_of_its_paths_once() {
    let mut names = HashSet::new();
    for planned in plan(Profile::Full).cases {
        let paths: HashSet<&Spec> = planned.case.paths.iter().collect();
        assert_eq!(
            paths.len(),
            planned.case.paths.len(),
            "{}",
            planned.case.name
        );
        assert!(
            names.insert(planned.case.name.clone()),
            "{}",
            planned.case.name
        );
    }
}

#[test]
fn a_name_chooses_a_case_or_all_that_begin_with_it_and_a_wrong_one_tells_what_there_is() {
    let only = |name: &str| plan(Profile::Full).only_cases(&[name.to_owned()]);
    let names = |plan: Plan| {
        plan.cases
            .into_iter()
            .map(|p| p.case.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(only("round-trip").unwrap()), ["round-trip"]);
    assert_eq!(
        names(only("connect").unwrap()),
        ["connect-1", "connect-100", "connect-1000", "connect-10000"]
    );
    assert_eq!(names(only("connect-1").unwrap()), ["connect-1"]);
    let error = only("connec")
        .expect_err("no case has this name")
        .to_string();
    assert!(
        error.contains("\"connec\"") && error.contains("connect-1, "),
        "{error}"
    );
}

#[test]
fn paths_that_are_asked_for_are_measured_whatever_the_profile_has() {
    let plan =
        Plan::new(Profile::Quick, &[Kind::NginxPair, Kind::Direct]).expect("both have cases");
    assert!(
        plan.cases
            .iter()
            .any(|p| p.case.name == "round-trip" && p.case.paths.len() == 2)
    );
    assert!(
        plan.cases.iter().all(|p| p.case.paths.len() == 2),
        "one alone is no question"
    );
    let alone = Plan::new(Profile::Quick, &[Kind::Mtls]).expect("unless nobody asks for more");
    assert!(alone.cases.iter().any(|p| p.case.name == "round-trip"));
}

#[test]
fn another_build_stands_beside_each_path_that_it_can_change() {
    let plan = plan(Profile::Quick)
        .with_builds(&["/old".into()])
        .with_rounds(Some(3));
    for planned in plan.cases {
        let paths = &planned.case.paths;
        let twice = paths
            .iter()
            .filter(|spec| spec.kind.runs_sidetrack() && spec.build.is_none())
            .count();
        assert_eq!(
            paths.iter().filter(|spec| spec.build.is_some()).count(),
            twice,
            "{}",
            planned.case.name
        );
        assert_eq!(planned.rounds, 3);
    }
}
