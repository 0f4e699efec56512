//! Cgroups that appear: no connection of their first process escapes the rules.

use std::{path::Path, process::Command};

mod guard;

use harness::{
    Capture, Daemon, Host, World, bpf,
    cgroup::Cgroup,
    daemon::Setup,
    holds, load,
    peer::{binary, parse},
    process::Running,
    selected::{self, OURS, Seen, none_escapes},
};
use nix::sys::signal::Signal;

const SECRET: &str = "the-first-words-of-a-service";

/// What the cgroup `svc` of host a connects goes out in mutual TLS, and nothing else; b takes
/// plain text too.
fn setups(world: &World, more: &str) -> [Setup; 2] {
    let [a, b] = selected::setups(world, "include = [{ cgroup = \"APPS/svc\" }]");
    [a.with(more).drain("20s"), b]
}

fn started(world: &World, more: &str) -> [Daemon; 2] {
    setups(world, more).map(Setup::start)
}

/// A client script whose process is born in `cgroup`.
fn born_in(host: &Host, cgroup: &Path, steps: &[&str]) -> Command {
    let mut command = host.command_in(cgroup, binary());
    command.arg("script").args(steps);
    command
}

/// What its last step gave: a value, or the errno's name.
#[track_caller]
fn last_step(host: &Host, cgroup: &Path, steps: &[&str]) -> Result<(), String> {
    let ended = Running::spawn(born_in(host, cgroup, steps))
        .finish()
        .expect_code(0);
    let last = ended.stdout.lines().last().and_then(parse);
    let last = last.unwrap_or_else(|| panic!("no step ran: {ended}"));
    last["errno"]
        .as_str()
        .map_or(Ok(()), |errno| Err(errno.to_owned()))
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_first_connection_of_a_service_that_starts_again_and_again_is_never_plain() {
    let world = World::pair();
    let [mut a, _b] = started(&world, "");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let rounds = (load(1000), SECRET);
    none_escapes(
        &world,
        &mut a,
        &mut server,
        rounds,
        Seen::NowAndThenLate,
        |_| vec![world.a.apps().child("svc")],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn new_cgroups_beside_a_named_one_go_out_as_they_are_and_with_nobodys_identity() {
    let world = World::pair();
    let [a, b] = started(&world, "");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let rounds = load(100);
    for round in 0..rounds {
        let _svc = world.a.apps().child("svc");
        let beside = world.a.apps().child(&format!("svc-{round}"));
        let send = format!("send={round}");
        assert_eq!(
            last_step(&world.a, beside.path(), &[&connect, &send, "line"]),
            Ok(()),
            "round {round}"
        );
    }
    assert_eq!(server.totals(), (rounds, rounds), "each line arrives");
    for record in b.wait_records(rounds as usize) {
        assert_eq!(
            (record.peer_identity(), record.reason()),
            ("", ""),
            "{record}"
        );
    }
    for record in a.records() {
        assert_eq!(
            (record.rule(), record.own_identity(), record.reason()),
            ("", "", ""),
            "{record}"
        );
    }
}

/// Has a process born in each of `cgroups`, which were made after the daemon was stopped, connect
/// and send a line, lets the daemon go on, and gives how reading the answer ended.
#[track_caller]
fn unseen(
    world: &World,
    daemon: &mut Daemon,
    send: &str,
    cgroups: &[(&Cgroup, u16)],
) -> Vec<Result<(), String>> {
    let mut clients: Vec<Running> = Vec::new();
    for (cgroup, port) in cgroups {
        let connect = format!("connect={}", world.b.at(*port));
        let steps = [connect.as_str(), send, "line"];
        let mut client = Running::spawn(born_in(&world.a, cgroup.path(), &steps));
        client.line("it has sent", |line| {
            let said = parse(line)?;
            (said["step"] == send).then(|| assert!(said["errno"].is_null(), "{said}"))
        });
        clients.push(client);
    }
    daemon.signal(Signal::SIGCONT);
    let ended = clients.into_iter().map(|client| {
        let ended = client.finish().expect_code(0);
        let last = ended
            .stdout
            .lines()
            .last()
            .and_then(parse)
            .unwrap_or_default();
        match last["errno"].as_str() {
            Some(errno) => Err(errno.to_owned()),
            None => Ok(()),
        }
    });
    ended.collect()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_cgroup_that_the_kernel_did_not_know_is_found_and_decided_by_its_own_rule() {
    let world = World::pair();
    let deny = format!(
        "[select.no]\ninclude = [{{ cgroup = \"{}/denied\" }}]\n\
         [[outbound]]\nname = \"no\"\nselect = \"no\"\nto = [\"10.88.0.0/24\"]\n\
         ports = [\"6000\"]\naction = \"deny\"\n",
        world.a.apps().name()
    );
    let [mut a, _b] = started(&world, &deny);
    let ports = [7001, 7002, 7003, 7004];
    let _server = world.b.serve(&ports.map(|port| world.b.at(port)), &[]);
    a.suspend();
    let apps = world.a.apps();
    let svc = apps.child("svc");
    let worker = svc.child("worker");
    let beside = apps.child("beside");
    let between = beside.child("deep");
    let deep = between.child("er");
    let denied = apps.child("denied");
    let cgroups = [
        (&svc, 7001),
        (&worker, 7002),
        (&beside, 7003),
        (&deep, 7004),
        (&denied, 6000),
    ];
    let ended = unseen(&world, &mut a, "send=hello", &cgroups);
    assert_eq!(ended[..4], [Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(ended[4], Err("ECONNRESET".to_owned()));
    let records = a.wait_records(5);
    let of = |port: u16| {
        let to = world.b.at(port).to_string();
        let record = records.iter().find(|record| record.destination() == to);
        record.unwrap_or_else(|| panic!("no record of {to}: {records:#?}"))
    };
    for port in [7001, 7002] {
        assert_eq!((of(port).rule(), of(port).own_identity()), ("out", OURS));
    }
    for port in [7003, 7004] {
        let record = of(port);
        assert_eq!(
            (record.rule(), record.own_identity(), record.carriage()),
            ("", "", "plain")
        );
    }
    assert_eq!(
        (of(6000).rule(), of(6000).reason()),
        ("no", "denied-by-rule")
    );
    let connect = format!("connect={}", world.b.at(7004));
    holds("what is known by then goes direct", || {
        let before = a.records().len();
        let steps = [connect.as_str(), "send=again", "line"];
        assert_eq!(last_step(&world.a, deep.path(), &steps), Ok(()));
        // The record of a relayed connection is there before the next one's can be.
        let direct = a.records().len() == before;
        assert_eq!(last_step(&world.a, svc.path(), &steps), Ok(()));
        let records = a.wait_for_records("one more", |records| records.len() > before);
        direct && records[before].rule() == "out"
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_cgroup_that_is_gone_before_it_was_looked_at_sends_nothing() {
    let world = World::pair();
    let [mut a, _b] = started(&world, "");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let capture = Capture::start(&world.a);
    a.suspend();
    let send = format!("send={SECRET}");
    for name in ["svc", "beside"] {
        let cgroup = world.a.apps().child(name);
        let steps = [connect.as_str(), &send, "close"];
        assert_eq!(last_step(&world.a, cgroup.path(), &steps), Ok(()));
    }
    a.signal(Signal::SIGCONT);
    for record in a.wait_records(2) {
        assert_eq!(
            (record.rule(), record.reason()),
            ("", "cgroup-gone"),
            "{record}"
        );
    }
    capture.stop().expect_no_plaintext(SECRET);
    assert_eq!(server.totals(), (0, 0));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_a_listener_a_new_cgroup_is_blocked_where_a_named_one_would_be() {
    let world = World::pair();
    let [mut a, _b] = started(&world, "");
    let _server = world.b.serve(&[world.b.at(7000), world.b.at(9000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let elsewhere = format!("connect={}", world.b.at(9000));
    let svc = world.a.apps().child("svc");
    let known = world.a.apps().child("known");
    let steps = [connect.as_str(), "send=hello", "line", "pause"];
    let mut held = Running::spawn(born_in(&world.a, svc.path(), &steps));
    held.line("it is answered", |line| {
        (parse(line)?["step"] == "line").then_some(())
    });
    holds("the cgroup beside it is known", || {
        let before = a.records().len();
        assert_eq!(last_step(&world.a, known.path(), &[&connect]), Ok(()));
        a.records().len() == before
    });
    a.signal(Signal::SIGTERM);
    let mut count = 0;
    holds("a new cgroup is blocked", || {
        count += 1;
        let new = world.a.apps().child(&format!("new-{count}"));
        let blocked = last_step(&world.a, new.path(), &["tcp4", &connect]);
        // What no rule is about stays as it is.
        assert_eq!(
            last_step(&world.a, new.path(), &["tcp4", &elsewhere]),
            Ok(())
        );
        blocked == Err("EHOSTDOWN".to_owned())
    });
    assert_eq!(
        last_step(&world.a, known.path(), &["tcp4", &connect]),
        Ok(()),
        "of this one it is known that no rule is for it"
    );
    held.tell("enough");
    held.finish().expect_code(0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_thousand_cgroups_beside_a_named_one_are_known_at_the_start() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let count = load(1000);
    let siblings: Vec<Cgroup> = (0..count)
        .map(|number| world.a.apps().child(&format!("sibling-{number}")))
        .collect();
    let [a, _] = setups(&world, "");
    let mut a = a.start();
    // No connection has to wait until the daemon has found its cgroup.
    let known = bpf::table_of(a.pid(), "CGROUPS").len();
    assert!(known > siblings.len(), "{known} of {count}");
    let connect = format!("connect={}", world.b.at(7000));
    let steps = [connect.as_str(), "send=hello", "line"];
    for sibling in siblings.iter().step_by(siblings.len().div_ceil(20)) {
        assert_eq!(last_step(&world.a, sibling.path(), &steps), Ok(()));
    }
    assert_eq!(a.records().len(), 0, "they went direct");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn with_the_daemon_killed_no_first_connection_of_a_new_cgroup_leaves() {
    let world = World::pair();
    let [mut a, _b] = started(&world, "");
    let mut server = world.b.serve(&[world.b.at(7000), world.b.at(9000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let elsewhere = format!("connect={}", world.b.at(9000));
    let capture = Capture::start(&world.a);
    a.signal(Signal::SIGKILL);
    a.wait_end();
    let send = format!("send={SECRET}");
    for round in 0..load(100) {
        let svc = world.a.apps().child("svc");
        let beside = world.a.apps().child("beside");
        for new in [&svc, &beside] {
            let ended = last_step(&world.a, new.path(), &["tcp4", &connect, &send]);
            assert!(ended.is_err(), "round {round}: it was connected");
        }
        let direct = last_step(&world.a, svc.path(), &["tcp4", &elsewhere]);
        assert_eq!(direct, Ok(()), "round {round}: no rule is about this");
    }
    capture.stop().expect_no_plaintext(SECRET);
    assert_eq!(server.totals().1, 0, "no line arrived");
}
