use super::*;
use crate::{plan::Profile, run::made_up::MadeUp};

#[test]
fn what_was_written_is_read_again_with_all_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let mut report = made_up::report(Profile::Quick, MadeUp::new(1));
    report.write(&path).unwrap();
    // Figures are computed from the rounds, whatever the file says of them.
    let written = report.table();
    for answer in &mut report.cases {
        for column in &mut answer.columns {
            column.figures.clear();
        }
    }
    report.write(&path).unwrap();
    assert_eq!(Report::read(&path).unwrap().table(), written);
}

#[test]
fn a_report_of_another_form_is_refused_with_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    for (text, why) in [
        (
            r#"{"schema":"sidetrack-bench/99","cases":7}"#,
            "its form is sidetrack-bench/99",
        ),
        ("<html>", "not its HTML"),
        (r#"{"schema":"sidetrack-bench/1"}"#, "measure again"),
    ] {
        fs::write(&path, text).unwrap();
        let error = Report::read(&path).expect_err(text).to_string();
        assert!(error.contains(why) && error.contains("fix: "), "{error}");
    }
    assert!(Report::read(&folder.path().join("none")).is_err());
}

#[test]
fn operations_of_all_rounds_are_pooled_to_three_digits() {
    let mut column = Column::new(Spec {
        kind: Kind::Direct,
        rules: 1,
        build: None,
    });
    let mut all = statistics::histogram();
    for nanos in (1..=1_000).chain(1..=1_000) {
        all.record(nanos * 1_000).unwrap();
    }
    column.keep(&all);
    let pooled = column.pooled();
    assert_eq!(pooled.len(), 2_000);
    let median = pooled.value_at_quantile(0.5) as f64;
    assert!((median / 500_000.0 - 1.0).abs() < 0.002, "{median}");
}

#[test]
fn the_first_path_that_was_measured_is_what_the_others_are_compared_with() {
    let mut ground = MadeUp::new(1);
    ground.lacks = vec![Kind::Direct];
    let report = made_up::report(Profile::Quick, ground);
    let answer = report.case("round-trip").expect("quick has it");
    assert_eq!(
        answer.base(Merit::P50).map(|base| base.path.kind),
        Some(Kind::Redirected)
    );
    let table = report.table();
    assert!(
        table.contains("direct left out: setting up: its program is not there"),
        "{table}"
    );
    assert!(table.contains("to redirected"), "{table}");
}

#[test]
fn the_table_has_a_verdict_for_each_goal_where_all_is_measured() {
    let table = made_up::report(Profile::Full, MadeUp::new(1)).table();
    assert!(table.contains("What must be reached"), "{table}");
    let goals = table.lines().filter(|line| {
        ["  reached", "  missed", "  undecided"]
            .iter()
            .any(|word| line.starts_with(word))
    });
    assert_eq!(goals.count(), crate::goals::GOALS.len(), "{table}");
}
