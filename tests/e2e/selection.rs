//! Whose connections a selection is for: no other's, and all of its own.

use std::path::Path;

mod containers;
mod executables;
mod leaving;
mod netns;
mod podman;
mod units;

use harness::{
    Capture, Daemon, World,
    daemon::Setup,
    load,
    process::Running,
    selected::{OURS, Seen, none_escapes, setups},
};
use nix::sys::signal::Signal;

const SECRET: &str = "the-words-of-a-selected-one";

/// The daemons of [`setups`].
fn started(world: &World, select: &str) -> [Daemon; 2] {
    setups(world, select).map(Setup::start)
}

/// How a connection of a process that is born in `cgroup` went out, by the far application and
/// the record of a: in the selection's mutual TLS, or plain and past every rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Selected,
    Direct,
}

/// Runs these steps in `cgroup`, and then a connection that is recorded by b.
#[track_caller]
fn went(world: &World, b: &Daemon, cgroup: &Path, steps: &[&str]) -> Went {
    let before = b.records().len();
    let connect = format!("connect={}", world.b.at(7000));
    let mut all = steps.to_vec();
    all.extend([connect.as_str(), "send=hello", "line", "close"]);
    world.a.script_in(cgroup, &all).all_ok();
    recorded(b, before)
}

/// How the connection went of which b has the record after the first `before` ones.
#[track_caller]
fn recorded(b: &Daemon, before: usize) -> Went {
    let records = b.wait_for_records("the connection", |records| records.len() > before);
    match records[before].peer_identity() {
        "" => Went::Direct,
        identity => {
            assert_eq!(identity, OURS);
            Went::Selected
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_thousand_cgroups_that_a_pattern_matches_are_all_encrypted() {
    let world = World::pair();
    let pods = world.a.apps().child("pods");
    let [mut a, _b] = started(&world, "include = [{ cgroup = \"APPS/pods/**/web-*\" }]");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let count = load(1000);
    let cgroups: Vec<_> = (0..count)
        .map(|number| pods.child(&format!("web-{number}")))
        .collect();
    let connect = format!("connect={}", world.b.at(7000));
    let capture = Capture::start(&world.a);
    let mut steps = Vec::new();
    for (number, cgroup) in cgroups.iter().enumerate() {
        steps.push(format!("join={}", cgroup.path().display()));
        steps.push(connect.clone());
        steps.push(format!("send={SECRET}-{number}"));
        steps.extend(["line".to_owned(), "close".to_owned()]);
    }
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    world.a.script(&steps).all_ok();
    assert_eq!(server.totals(), (count, count), "each line arrives");
    capture.stop().expect_encrypted(SECRET);
    for record in a.wait_records(count as usize) {
        assert_eq!(
            (record.rule(), record.own_identity(), record.reason()),
            ("out", OURS, ""),
            "{record}"
        );
    }
    drop(cgroups);
    assert_eq!(a.stop(), 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_loop_of_mkdir_exec_and_connect_under_a_pattern_lets_nothing_escape() {
    let world = World::pair();
    let [mut a, _b] = started(&world, "include = [{ cgroup = \"APPS/*/job-[0-9]*\" }]");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let apps = world.a.apps();
    let rounds = (load(300), SECRET);
    let seen = Seen::NowAndThenLate;
    none_escapes(&world, &mut a, &mut server, rounds, seen, |round| {
        let folder = apps.child(&format!("folder-{}", round % 3));
        let job = folder.child(&format!("job-{round}"));
        vec![folder, job]
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_is_excluded_is_not_selected_also_where_it_is_included() {
    let world = World::pair();
    let apps = world.a.apps();
    let web = apps.child("web-1");
    let (debug, other) = (web.child("debug"), apps.child("other"));
    let [_a, b] = started(
        &world,
        "include = [{ cgroup = \"APPS/web-*\" }]\n\
         exclude = [{ cgroup = \"APPS/*/debug\" }, { cgroup = \"APPS/web-9\" }, { uid = 1234 }]",
    );
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let went = |cgroup: &Path, steps: &[&str]| went(&world, &b, cgroup, steps);
    assert_eq!(went(web.path(), &[]), Went::Selected);
    assert_eq!(went(debug.path(), &[]), Went::Direct);
    assert_eq!(went(other.path(), &[]), Went::Direct);
    assert_eq!(went(web.path(), &["uid=1234"]), Went::Direct);
    assert_eq!(went(web.path(), &["uid=1235"]), Went::Selected);
    // Those that the daemon has not seen when they connect.
    for round in 0..load(20) {
        let included = apps.child("web-2");
        let excluded = apps.child("web-9");
        let within = included.child("debug");
        assert_eq!(went(within.path(), &[]), Went::Direct, "round {round}");
        assert_eq!(went(excluded.path(), &[]), Went::Direct, "round {round}");
        assert_eq!(went(included.path(), &[]), Went::Selected, "round {round}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_task_counts_where_it_is_when_it_connects_wherever_it_and_its_socket_were_made() {
    let world = World::pair();
    let apps = world.a.apps();
    let (web, other) = (apps.child("web-1"), apps.child("other"));
    let [_a, b] = started(&world, "include = [{ cgroup = \"APPS/web-*\" }]");
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let into = |cgroup: &harness::cgroup::Cgroup| format!("join={}", cgroup.path().display());
    let went = |cgroup: &Path, steps: &[&str]| went(&world, &b, cgroup, steps);
    assert_eq!(
        went(other.path(), &["tcp4", &into(&web)]),
        Went::Selected,
        "moved after it made its socket"
    );
    assert_eq!(
        went(web.path(), &["tcp4", &into(&other)]),
        Went::Direct,
        "left with its socket"
    );
    assert_eq!(
        went(web.path(), &[&into(&other)]),
        Went::Direct,
        "left before it made its socket"
    );
    let before = b.records().len();
    let (connect, peer) = (
        format!("connect={}", world.b.at(7000)),
        harness::peer::binary(),
    );
    let mut family = world.a.command_in(web.path(), "sh");
    family
        .args(["-c", r#"(echo 0 > "$0"/cgroup.procs && exec "$@"); "$@""#])
        .args([other.path(), &peer])
        .args(["script", &connect, "send=hello", "line", "close"]);
    Running::spawn(family).finish().expect_code(0);
    assert_eq!(recorded(&b, before), Went::Direct, "a child that left");
    assert_eq!(recorded(&b, before + 1), Went::Selected, "its parent");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_group_is_selected_by_itself_and_together_with_a_user_and_a_cgroup() {
    let world = World::pair();
    let web = world.a.apps().child("web-1");
    let other = world.a.apps().child("other");
    let [_a, b] = started(
        &world,
        "include = [{ gid = 2000 }, { cgroup = \"APPS/web-*\", uid = 1000, gid = 3000 }]\n\
         exclude = [{ gid = 2000, uid = 1001 }]",
    );
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let went = |cgroup: &Path, steps: &[&str]| went(&world, &b, cgroup, steps);
    let selected = [
        (other.path(), ["gid=2000", "uid=1000"]),
        (web.path(), ["gid=2000", "uid=3"]),
        (web.path(), ["gid=3000", "uid=1000"]),
    ];
    let direct = [
        (other.path(), ["gid=2001", "uid=1000"]),
        (other.path(), ["gid=2000", "uid=1001"]),
        (other.path(), ["gid=3000", "uid=1000"]),
        (web.path(), ["gid=3000", "uid=1001"]),
        (web.path(), ["gid=3001", "uid=1000"]),
    ];
    for (cgroup, steps) in selected {
        assert_eq!(went(cgroup, &steps), Went::Selected, "{steps:?}");
    }
    for (cgroup, steps) in direct {
        assert_eq!(went(cgroup, &steps), Went::Direct, "{steps:?}");
    }
    // In one that the daemon has not seen.
    for round in 0..load(20) {
        let new = world.a.apps().child("web-2");
        let steps = ["gid=3000", "uid=1000"];
        assert_eq!(went(new.path(), &steps), Went::Selected, "round {round}");
    }
}
