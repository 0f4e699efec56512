//! Network namespaces: what selections call them, and those at which nobody has looked yet.

use std::collections::BTreeMap;

use sidetrack_abi::rules::{ACTION_TLS, FAIL_BLOCK, RULE_UNCLASSIFIED};

use super::*;
use crate::config::NetnsSelector;

const OWN: u64 = 1;
const BLUE: u64 = 2;
const GREEN: u64 = 3;
const NEW: u64 = 9;

fn at(path: &str) -> NetnsSelector {
    NetnsSelector::Path(path.into())
}

fn within(netns: &[NetnsSelector]) -> Selector {
    Selector {
        netns: netns.to_vec(),
        ..Selector::default()
    }
}

/// One rule for a selection, and whether it decides for a user in a namespace.
struct Only(RuleTables);

impl Only {
    fn of(select: Select) -> Self {
        let only = rule(Some("only"), &["10.0.0.0/8"], &[80..=80]);
        let config = config(vec![only], &[("only", select)], &[]);
        Self(RuleTables::compile(&config, Scope::Selections, 1))
    }

    /// `known` has for each namespace the entries that name it.
    fn know(&self, known: &[(u64, &[NetnsSelector])]) {
        let names = |entries: &[NetnsSelector]| {
            let mut names = Names::default();
            for (place, _) in (0..)
                .zip(self.0.netns_asked())
                .filter(|(_, asked)| entries.contains(asked))
            {
                names.add(place);
            }
            names
        };
        let all = known.iter().map(|(cookie, all)| (*cookie, names(all)));
        self.0.know_namespaces(&all.collect::<BTreeMap<_, _>>());
    }

    #[track_caller]
    fn verdict(&self, uid: u32, netns: u64) -> Verdict {
        let who = Task {
            netns: Some(netns),
            ..task("/", uid, 0)
        };
        let to = OriginalDst::new("10.0.0.1:80".parse().unwrap());
        let selection = self.0.selection(&who);
        let verdict = self.0.decide(Protocol::Tcp, to, selection);
        let selections = self.0.selections(&who);
        assert_eq!(
            selections.certain.len() == 1,
            matches!(verdict, Verdict::Redirect(rule) if rule.index == 0),
            "{selections:?} and {verdict:?}"
        );
        verdict
    }

    fn selects(&self, uid: u32, netns: u64) -> bool {
        match self.verdict(uid, netns) {
            Verdict::Redirect(rule) => {
                assert_eq!(rule.index, 0);
                true
            }
            Verdict::Unmatched => false,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn is_unclassified(&self, uid: u32, netns: u64) {
        let Verdict::Redirect(rule) = self.verdict(uid, netns) else {
            panic!("it could be selected");
        };
        assert_eq!((rule.index, rule.fail), (RULE_UNCLASSIFIED, FAIL_BLOCK));
    }
}

#[test]
fn a_namespace_is_selected_by_any_of_its_names_together_with_all_else_and_exclusions_win() {
    let [blue, green] = [at("/run/netns/blue"), at("/run/netns/green")];
    let only = Only::of(Select {
        include: vec![
            within(&[blue.clone(), NetnsSelector::Host]),
            Selector {
                uid: Some(7),
                ..within(std::slice::from_ref(&green))
            },
        ],
        exclude: vec![Selector {
            uid: Some(8),
            ..within(std::slice::from_ref(&blue))
        }],
    });
    only.know(&[
        (OWN, &[NetnsSelector::Host]),
        (BLUE, std::slice::from_ref(&blue)),
        (GREEN, std::slice::from_ref(&green)),
        (4, &[]),
        (5, &[green.clone(), blue.clone()]),
    ]);
    for netns in [OWN, BLUE, 5] {
        assert!(only.selects(0, netns), "{netns}");
    }
    assert!(only.selects(8, OWN) && only.selects(7, GREEN));
    for (uid, netns) in [(8, BLUE), (8, 5), (0, GREEN), (0, 4), (7, 4)] {
        assert!(!only.selects(uid, netns), "{uid} {netns}");
    }
}

#[test]
fn a_namespace_at_which_nobody_has_looked_follows_the_strictest_rule() {
    let blue = at("/run/netns/blue");
    let included = Select {
        include: vec![within(std::slice::from_ref(&blue))],
        exclude: vec![],
    };
    let excluded = Select {
        include: vec![user(7)],
        exclude: vec![within(std::slice::from_ref(&blue))],
    };
    let included = Only::of(included);
    let excluded = Only::of(excluded);
    for only in [&included, &excluded] {
        only.know(&[(OWN, &[])]);
        only.is_unclassified(7, NEW);
        assert!(!only.0.knows_namespace(NEW) && only.0.knows_namespace(OWN));
    }
    assert!(!excluded.selects(6, NEW), "whatever namespace it is");
    // Looked at: it has no name, and then one.
    for only in [&included, &excluded] {
        only.know(&[(OWN, &[]), (NEW, &[])]);
    }
    assert!(!included.selects(7, NEW) && excluded.selects(7, NEW));
    for only in [&included, &excluded] {
        only.know(&[(OWN, &[]), (NEW, std::slice::from_ref(&blue))]);
    }
    assert!(included.selects(7, NEW) && !excluded.selects(7, NEW));
    // Nobody uses it any more, and it is forgotten.
    included.know(&[(OWN, &[])]);
    included.is_unclassified(7, NEW);
}

#[test]
fn a_class_that_is_met_later_tells_the_same_namespaces_apart() {
    let blue = at("/run/netns/blue");
    let only = Only::of(Select {
        include: vec![Selector {
            cgroup: Some(CgroupPattern::parse("/pods/*").unwrap()),
            ..within(std::slice::from_ref(&blue))
        }],
        exclude: vec![],
    });
    let before = only.0.made_since(0).len();
    only.know(&[(OWN, &[]), (BLUE, std::slice::from_ref(&blue))]);
    let to = OriginalDst::new("10.0.0.1:80".parse().unwrap());
    let decided = |cgroup: &str, netns| {
        let who = Task {
            netns: Some(netns),
            ..task(cgroup, 0, 0)
        };
        only.0.decide(Protocol::Tcp, to, only.0.selection(&who))
    };
    let of_new = decided("/pods/web", NEW);
    assert!(
        matches!(of_new, Verdict::Redirect(rule) if rule.action == ACTION_TLS || rule.index == RULE_UNCLASSIFIED)
    );
    assert!(matches!(decided("/pods/web", BLUE), Verdict::Redirect(rule) if rule.index == 0));
    assert_eq!(decided("/pods/web", OWN), Verdict::Unmatched);
    assert_eq!(decided("/other", BLUE), Verdict::Unmatched);
    assert_eq!(decided("/other", NEW), Verdict::Unmatched);
    assert!(!only.0.made_since(before).is_empty(), "the kernel is told");
}

#[test]
fn what_can_be_named_in_more_ways_than_there_is_room_for_stays_unknown() {
    let entries: Vec<NetnsSelector> = (0..7).map(|one| at(&format!("/run/netns/{one}"))).collect();
    let only = Only::of(Select {
        include: entries
            .iter()
            .map(|one| within(std::slice::from_ref(one)))
            .collect(),
        exclude: vec![],
    });
    // That without a name comes last.
    let all = (0..128_u64).map(|bits| {
        let mut names = Names::default();
        (0..7)
            .filter(|bit| bits >> bit & 1 == 1)
            .for_each(|bit| names.add(bit));
        (127 - bits, names)
    });
    only.0.know_namespaces(&all.collect());
    let known = (0..128).filter(|cookie| only.0.knows_namespace(*cookie));
    assert_eq!(known.count(), MOST_DIFFERENT);
    assert_eq!(only.0.unnumbered_namespaces(), 128 - MOST_DIFFERENT);
    only.is_unclassified(0, 126);
    assert!(!only.selects(0, 127) && only.selects(0, 0));
    only.know(&[(OWN, &[])]);
    assert_eq!(only.0.unnumbered_namespaces(), 0);
}
