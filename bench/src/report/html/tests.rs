use super::*;
use crate::{
    compare::compare,
    plan::{Plan, Profile},
    report::made_up,
    run::made_up::MadeUp,
};

fn page(profile: Profile) -> String {
    made_up::report(profile, MadeUp::new(1)).html(None)
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_runs_nothing() {
    let page = page(Profile::Full);
    let elsewhere = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(
        !elsewhere.contains("=\"http") && !elsewhere.contains("=\"//"),
        "an attribute names another place"
    );
    for word in ["<script", "src=", "@import", "url(", "<link", "onload"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn every_case_has_its_plot_and_its_numbers_and_no_place_is_unknown() {
    for profile in Profile::ALL {
        let report = made_up::report(profile, MadeUp::new(1));
        let page = report.html(None);
        for answer in &report.cases {
            let bulk = answer.name.starts_with("bulk");
            assert!(
                bulk || page.contains(&format!("id=\"case-{}\"", answer.name)),
                "{profile}: {}",
                answer.name
            );
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        for word in ["NaN", "inf\"", "-inf"] {
            assert!(!page.contains(word), "{profile}: {word}");
        }
    }
}

#[test]
fn what_comes_from_outside_cannot_become_part_of_the_page() {
    let mut ground = MadeUp::new(1);
    ground.breaks = vec![(Kind::Mtls, 3)];
    let plan = Plan::new(Profile::Quick, &[])
        .unwrap()
        .with_builds(&["/<b>old</b>".into()]);
    let page = made_up::of(plan, ground).html(None);
    assert!(
        page.contains("/&lt;b&gt;old&lt;/b&gt;")
            && page.contains("the proxy &lt;ended&gt; by itself")
    );
    assert!(!page.contains("<b>old") && !page.contains("<ended>") && !page.contains("<made up>"));
}

#[test]
fn a_run_in_which_nothing_could_be_measured_has_a_page_with_the_reasons() {
    let mut ground = MadeUp::new(1);
    ground.lacks = Kind::ALL.to_vec();
    let page = made_up::report(Profile::Smoke, ground).html(None);
    assert!(page.contains("its program is not there") && page.contains("could be measured"));
}

#[test]
fn what_moved_is_shown_with_a_warning_if_the_hosts_differ() {
    let then = made_up::report(Profile::Quick, MadeUp::new(1));
    let mut ground = MadeUp::new(2);
    ground.slower = 2.0;
    let mut now = made_up::report(Profile::Quick, ground);
    now.machine.kernel = "0.1".to_owned();
    let page = now.html(Some(&compare(&then, &now)));
    assert!(
        page.contains("id=\"changes\"") && page.contains(">worse<") && page.contains("kernel: ")
    );
}
