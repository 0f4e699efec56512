//! Cgroups that nobody has looked at yet, held against the slow reading of the rules.

use sidetrack_abi::rules::{
    ACTION_DENY, ACTION_IGNORE, ACTION_PLAIN, ACTION_TLS, FAIL_BLOCK, FAIL_PASS, RULE_UNCLASSIFIED,
};

use super::*;
use crate::config::{
    Executable,
    cgroup::{NoNames, Selects},
    executable::leads::Leads,
};

/// What the programs find: the deepest cgroup that is in the table decides.
fn kernel_selection(tables: &RuleTables, is_known: impl Fn(&str) -> bool, task: &Task<'_>) -> u32 {
    let mut class = SELECTION_NONE;
    for above in ancestors(task.cgroup) {
        if is_known(above) {
            let entry = tables.class(&tables.place(above));
            class = if above == task.cgroup {
                entry.own
            } else {
                entry.below
            };
            break;
        }
    }
    tables.staged(class, task)
}

/// A cgroup and those above it, up to the root.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/')? {
        (_, "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    })
}

/// The selections of a task, read slowly.
fn selected(config: &Config, task: &Task<'_>, runs: &str) -> BTreeSet<String> {
    let matches = |selector: &Selector| {
        let executable = selector.executable.as_ref();
        let mut paths = executable.into_iter().flat_map(Executable::paths);
        let runs_it = executable.is_none() || paths.any(|path| path == runs);
        let cgroup = selector.cgroup.as_ref();
        cgroup.is_none_or(|pattern| {
            pattern.selects(pattern.path(task.cgroup, &NoNames)) == Selects::Yes
        }) && selector.uid.is_none_or(|wanted| task.uid == wanted)
            && selector.gid.is_none_or(|wanted| task.gid == Some(wanted))
            && runs_it
    };
    let selects = config.selects.iter().filter(|(_, select)| {
        select.include.iter().any(matches) && !select.exclude.iter().any(matches)
    });
    selects.map(|(name, _)| name.clone()).collect()
}

fn verdict_rule(verdict: Verdict) -> Option<Rule> {
    match verdict {
        Verdict::Unmatched => None,
        Verdict::Ignore(rule)
        | Verdict::Deny(rule)
        | Verdict::Redirect(rule)
        | Verdict::Pass(rule) => Some(rule),
    }
}

/// Whether `strict` protects at least as well as `rule`, if nobody answers and where it cannot
/// be redirected.
fn protects(strict: Rule, rule: Option<Rule>) -> bool {
    let Some(rule) = rule else { return true };
    match (strict.action, rule.action) {
        (ACTION_DENY, _) | (_, ACTION_IGNORE) => true,
        (ACTION_TLS, ACTION_TLS | ACTION_DENY) => strict.fail == FAIL_BLOCK,
        (ACTION_TLS | ACTION_PLAIN, ACTION_PLAIN) => {
            strict.fail == FAIL_BLOCK || rule.fail == FAIL_PASS
        }
        _ => false,
    }
}

#[test]
fn a_new_cgroup_where_a_named_one_can_appear_follows_the_strictest_rule() {
    let web = Select {
        include: vec![cgroup("/slice/web")],
        exclude: vec![],
    };
    let deny = OutboundRule {
        action: OutboundAction::Deny { errno: 13 },
        ..rule(Some("web"), &["10.0.0.0/8"], &[80..=80])
    };
    let both = rule(None, &["10.0.0.0/8"], &[443..=443]);
    let config = config(vec![deny, both], &[("web", web)], &[]);
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    let decides = |known: &[&str], path: &str, port: u16| {
        let selection = kernel_selection(&tables, |path| known.contains(&path), &task(path, 0, 0));
        let to = SocketAddr::from(([10, 0, 0, 1], port));
        tables.decide(Protocol::Tcp, OriginalDst::new(to), selection)
    };
    let top = ["/"];
    let Verdict::Redirect(unclassified) = decides(&top, "/slice/web", 80) else {
        panic!("it has to be found out whose it is");
    };
    assert_eq!(unclassified.index, RULE_UNCLASSIFIED);
    assert_eq!(
        (unclassified.action, unclassified.fail),
        (ACTION_TLS, FAIL_BLOCK)
    );
    assert_eq!(
        decides(&top, "/slice/else/deep", 80),
        Verdict::Redirect(unclassified),
        "it could be the named one as well"
    );
    assert_eq!(decides(&top, "/", 80), Verdict::Unmatched, "the top itself");
    let Verdict::Redirect(same) = decides(&top, "/slice/web", 443) else {
        panic!("a rule for everybody");
    };
    assert_eq!(
        same.index, 1,
        "what all are decided by needs no finding out"
    );
    let known = ["/", "/slice", "/slice/web", "/slice/else"];
    assert!(matches!(
        decides(&known, "/slice/web", 80),
        Verdict::Deny(_)
    ));
    assert_eq!(decides(&known, "/slice/else/deep", 80), Verdict::Unmatched);
}

fn any_action() -> impl Strategy<Value = (OutboundAction, FailMode)> {
    prop::sample::select(vec![
        (OutboundAction::Passthrough, FailMode::Block),
        (OutboundAction::Passthrough, FailMode::Pass),
        (OutboundAction::Deny { errno: 1 }, FailMode::Block),
        (OutboundAction::Ignore, FailMode::Block),
        (
            OutboundAction::Mtls(crate::config::Mtls {
                handshakes: crate::config::Handshakes::default(),
                wire: crate::config::Wire::Tls,
                identity: String::new(),
                expect: Vec::new(),
                server_name: None,
            }),
            FailMode::Block,
        ),
    ])
}

/// What selections name, where the second leads, and what they do not.
const EXECUTABLES: [&str; 4] = ["/bin/a", "/bin/b", "/opt/b", "/opt/a"];

/// Paths of few names, so that they nest.
fn any_path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(name, 0..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn any_pattern() -> impl Strategy<Value = CgroupPattern> {
    let part = prop::sample::select(vec!["a", "b", "c", "*", "[ab]", "**"]);
    prop::collection::vec(part, 0..5).prop_filter_map("it ends", |parts| {
        CgroupPattern::parse(&format!("/{}", parts.join("/"))).ok()
    })
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let cgroup = prop::option::weighted(0.9, any_pattern());
    let id = || prop::option::weighted(0.3, 0_u32..2);
    let executable = prop::option::weighted(0.3, 0_usize..2);
    (cgroup, id(), id(), executable).prop_map(|(cgroup, uid, gid, executable)| Selector {
        // An empty one is refused.
        uid: uid.or((cgroup.is_none() && gid.is_none()).then_some(1)),
        cgroup,
        gid,
        executable: executable.map(|which| Executable {
            path: EXECUTABLES[which].into(),
            leads: match which {
                1 => Leads::To(EXECUTABLES[2].into()),
                _ => Leads::Nowhere,
            },
        }),
        netns: Vec::new(),
    })
}

fn any_select() -> impl Strategy<Value = Select> {
    (
        prop::collection::vec(any_selector(), 1..3),
        prop::collection::vec(any_selector(), 0..2),
    )
        .prop_map(|(include, exclude)| Select { include, exclude })
}

proptest! {
    #[test]
    fn a_known_cgroup_is_decided_exactly_and_a_new_one_never_more_loosely(
        rules in prop::collection::vec((any_rule(), any_action()), 1..6),
        selects in (any_select(), any_select()),
        top in prop::sample::select(vec!["/", "/a"]),
        known in prop::collection::btree_set(any_path(), 0..12),
        probes in prop::collection::vec((any_path(), (0_u32..3, 0_u32..3, 0_usize..4), 0_u8..4, 0_u8..4, 1_u16..60), 30),
    ) {
        let rules = rules.into_iter().map(|(rule, (action, fail))| OutboundRule {
            action,
            fail,
            ..rule
        });
        let mut config = config(
            rules.collect(),
            &[("a", selects.0), ("b", selects.1)],
            &[],
        );
        config.intercept.cgroup = top.into();
        let tables = RuleTables::compile(&config, Scope::Selections, 1);
        // User space looks into folders from above: what it knows, it knows the folder of.
        let is_known = |path: &str| {
            ancestors(path)
                .take_while(|above| *above != top)
                .all(|above| known.contains(above))
        };
        for (path, (uid, gid, runs), a, b, port) in probes {
            // Nothing else is intercepted.
            if !ancestors(&path).any(|above| above == top) {
                continue;
            }
            let task = Task {
                executable: tables.executable(EXECUTABLES[runs]),
                ..task(&path, uid, gid)
            };
            let to = SocketAddr::from(([first_byte(a), b, 0, 1], port));
            let selection = kernel_selection(&tables, is_known, &task);
            let known_class = tables.selection(&task);
            let datagrams =
                |class| tables.decide(Protocol::Udp, OriginalDst::new(to), class);
            if let Verdict::Deny(_) = datagrams(known_class) {
                prop_assert!(matches!(datagrams(selection), Verdict::Deny(_)));
            }
            let truth = naive(&config, Protocol::Tcp, to, &selected(&config, &task, EXECUTABLES[runs]));
            let truth = truth.map(|(index, _)| index);
            let to = OriginalDst::new(to);
            let found_out = verdict_rule(tables.decide(Protocol::Tcp, to, known_class));
            prop_assert_eq!(found_out.map(|rule| rule.index), truth, "user space finds out");
            let decided = verdict_rule(tables.decide(Protocol::Tcp, to, selection));
            match decided {
                Some(rule) if rule.index == RULE_UNCLASSIFIED => {
                    prop_assert!(!is_known(&path));
                    prop_assert!(protects(rule, found_out), "{rule:?} for {found_out:?}");
                }
                // Left alone, by one rule or another or by none.
                _ if decided.is_none_or(|rule| rule.action == ACTION_IGNORE) && !is_known(&path) => {
                    prop_assert!(found_out.is_none_or(|rule| rule.action == ACTION_IGNORE));
                }
                _ => prop_assert_eq!(decided.map(|rule| rule.index), truth),
            }
        }
    }
}

#[test]
fn a_rule_that_lets_pass_does_so_for_a_new_cgroup_too() {
    let web = Select {
        include: vec![cgroup("/web")],
        exclude: vec![],
    };
    let pass = OutboundRule {
        fail: FailMode::Pass,
        ..rule(Some("web"), &["10.0.0.0/8"], &[80..=80])
    };
    let config = config(vec![pass], &[("web", web)], &[]);
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    let selection = kernel_selection(&tables, |path| path == "/", &task("/web", 0, 0));
    let to = OriginalDst::new("10.0.0.1:80".parse().unwrap());
    let rule = verdict_rule(tables.decide(Protocol::Tcp, to, selection)).unwrap();
    assert_eq!((rule.action, rule.fail), (ACTION_PLAIN, FAIL_PASS));
}

#[test]
fn beyond_the_most_classes_a_cgroup_has_that_of_which_nothing_is_known() {
    let letters = 'a'..='m';
    let names: Vec<String> = letters.map(String::from).collect();
    let select = |name: &String| Select {
        include: vec![cgroup(&format!("/*{name}*"))],
        exclude: vec![],
    };
    let selects: Vec<(&str, Select)> = names
        .iter()
        .map(|one| (one.as_str(), select(one)))
        .collect();
    let rules = names
        .iter()
        .map(|one| rule(Some(one), &["10.0.0.0/8"], &[80..=80]));
    let config = config(rules.collect(), &selects, &[]);
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    let mut classes = BTreeSet::new();
    let mut last = 0;
    for held in 1_u32..1 << names.len() {
        let held = names
            .iter()
            .enumerate()
            .filter(|(bit, _)| held >> bit & 1 == 1);
        let path: String = held.map(|(_, name)| name.as_str()).collect();
        last = tables.selection(&task(&format!("/{path}"), 0, 0));
        classes.insert(last);
    }
    assert!(classes.len() <= 4_097, "{} classes", classes.len());
    let to = OriginalDst::new("10.0.0.1:80".parse().unwrap());
    let rule = verdict_rule(tables.decide(Protocol::Tcp, to, last)).unwrap();
    assert_eq!(rule.index, RULE_UNCLASSIFIED);
}
