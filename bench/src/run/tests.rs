use super::made_up::MadeUp;
use super::*;
use crate::{
    case::{Case, Merit},
    plan::Profile,
};

fn planned(name: &str, kinds: &[Kind], rounds: u32, warm_up: u32, load: Load) -> Planned {
    let spec = |kind: &Kind| Spec {
        kind: *kind,
        rules: 1,
        build: None,
    };
    Planned {
        case: Case {
            name: name.to_owned(),
            about: "made up".to_owned(),
            load,
            paths: kinds.iter().map(spec).collect(),
            merits: vec![Merit::P50],
        },
        rounds,
        warm_up,
    }
}

fn plan(cases: Vec<Planned>) -> Plan {
    Plan {
        profile: Profile::Smoke,
        cases,
    }
}

const LOAD: Load = Load::FirstByte { count: 10 };
const THREE: [Kind; 3] = [Kind::Direct, Kind::Redirected, Kind::Mtls];

fn journal(ground: &MadeUp) -> Vec<String> {
    ground.journal.borrow().clone()
}

#[test]
fn paths_take_turns_forwards_and_backwards_and_warm_up_rounds_are_thrown_away() {
    let mut ground = MadeUp::new(1);
    let answers = measure(
        &plan(vec![planned("a", &THREE, 2, 1, LOAD)]),
        &mut ground,
        &mut |_| {},
    );
    let slices: Vec<String> = journal(&ground)
        .into_iter()
        .filter(|what| !what.contains(' '))
        .collect();
    assert_eq!(
        slices,
        [
            "direct",
            "redirected",
            "mtls", // warm-up
            "mtls",
            "redirected",
            "direct", //
            "direct",
            "redirected",
            "mtls",
        ]
    );
    for column in &answers[0].columns {
        assert_eq!(column.rounds.len(), 2, "{}", column.path.label());
        let operations: u64 = column.latencies.iter().map(|bucket| bucket.1).sum();
        assert_eq!(operations, 20, "those of the rounds that count");
    }
}

#[test]
fn a_path_that_fails_ends_its_own_column_and_is_set_up_again_for_the_next_case() {
    let mut ground = MadeUp::new(1);
    ground.breaks = vec![(Kind::Redirected, 2)];
    let mut told = Vec::new();
    let cases = vec![
        planned("a", &THREE, 4, 0, LOAD),
        planned("b", &THREE, 2, 0, LOAD),
    ];
    let answers = measure(&plan(cases), &mut ground, &mut |progress| {
        told.push(progress.to_string());
    });
    let rounds: Vec<usize> = answers[0]
        .columns
        .iter()
        .map(|column| column.rounds.len())
        .collect();
    assert_eq!(rounds, [4, 2, 4]);
    let ended = answers[0].columns[1]
        .ended
        .as_ref()
        .expect("it has a reason");
    assert!(
        ended.why.contains("ended> by itself") && !ended.missing,
        "{ended:?}"
    );
    assert!(
        told.iter()
            .any(|line| line.starts_with("[1/2] a: without redirected: running a slice")),
        "{told:?}"
    );
    assert_eq!(
        answers[1].columns[1].rounds.len(),
        2,
        "the next case has it again"
    );
}

#[test]
fn what_this_host_lacks_is_tried_once_and_left_out_with_its_reason() {
    let mut ground = MadeUp::new(1);
    ground.lacks = vec![Kind::Mtls];
    let cases = vec![
        planned("a", &THREE, 2, 0, LOAD),
        planned("b", &THREE, 2, 0, LOAD),
    ];
    let answers = measure(&plan(cases), &mut ground, &mut |_| {});
    assert_eq!(
        journal(&ground)
            .iter()
            .filter(|what| *what == "up mtls")
            .count(),
        1
    );
    for answer in &answers {
        let ended = answer.columns[2].ended.as_ref().expect("it has a reason");
        assert!(
            ended.missing && ended.why.contains("apt install it"),
            "{ended:?}"
        );
        assert_eq!(answer.columns[1].rounds.len(), 2, "the others are measured");
    }
}

#[test]
fn paths_of_the_next_case_stay_and_others_go_before_anything_new_comes() {
    let mut ground = MadeUp::new(1);
    let cases = vec![
        planned("a", &[Kind::Direct, Kind::Redirected], 1, 0, LOAD),
        planned("b", &[Kind::Direct, Kind::Mtls], 1, 0, LOAD),
    ];
    measure(&plan(cases), &mut ground, &mut |_| {});
    assert_eq!(
        journal(&ground),
        [
            "up direct",
            "up redirected",
            "direct",
            "redirected", //
            "down redirected",
            "up mtls",
            "direct",
            "mtls",
            "down direct",
            "down mtls",
        ]
    );
}

#[test]
fn where_memory_is_measured_paths_are_new_and_what_they_have_without_connections_is_taken_off() {
    let mut ground = MadeUp::new(1);
    let cases = vec![
        planned("a", &[Kind::Redirected], 1, 0, LOAD),
        planned(
            "b",
            &[Kind::Redirected],
            2,
            0,
            Load::Idle { connections: 100 },
        ),
    ];
    let answers = measure(&plan(cases), &mut ground, &mut |_| {});
    let log = journal(&ground);
    assert_eq!(
        log[..6],
        [
            "up redirected",
            "redirected",
            "down redirected",
            "up redirected",
            "redirected",
            "redirected"
        ]
    );
    for slice in &answers[1].columns[0].rounds {
        assert_eq!((slice.memory - slice.memory_without) / slice.done, 20_000);
    }
}

#[test]
fn a_slice_in_which_anything_failed_or_nothing_was_done_is_not_used() {
    let mut measured = MadeUp::new(1)
        .set_up(&Spec {
            kind: Kind::Direct,
            rules: 1,
            build: None,
        })
        .and_then(|mut subject| subject.run(&LOAD))
        .expect("it is made up");
    assert!(Slice::of(&measured, 0).is_ok());
    measured.sample.failed = 1;
    measured.sample.reason = Some("refused".to_owned());
    let error = Slice::of(&measured, 0).expect_err("one failed").to_string();
    assert!(
        error.contains("1 of 11 operations failed, the first one: refused"),
        "{error}"
    );
    measured.sample.failed = 0;
    measured.sample.done = 0;
    assert!(Slice::of(&measured, 0).is_err());
}

#[test]
fn each_slice_is_told_with_its_round_and_time_is_left_until_the_end() {
    let mut told = Vec::new();
    measure(
        &plan(vec![planned("a", &THREE, 2, 1, LOAD)]),
        &mut MadeUp::new(1),
        &mut |progress| told.push(progress),
    );
    let slices = told
        .iter()
        .filter(|progress| matches!(progress.doing, Doing::Measures { .. }));
    assert_eq!(slices.count(), 6);
    let left = told.iter().map(|progress| progress.left);
    assert!(left.is_sorted_by(|a, b| a >= b), "{told:?}");
}
