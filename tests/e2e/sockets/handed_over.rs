//! Sockets that are made in one cgroup and used in another.

use harness::{
    Capture, World,
    cgroup::Cgroup,
    daemon::Setup,
    peer::{Server, binary},
    process::Running,
    rules,
};
use serde_json::Value;

use super::{answered, last, only};

const SECRET: &str = "said-over-a-socket-of-others";

/// What the cgroup `svc` connects is redirected, and nothing else.
fn for_svc(world: &World) -> (harness::Daemon, Server, Cgroup, Cgroup) {
    let (svc, beside) = (world.a.apps().child("svc"), world.a.apps().child("beside"));
    let select = format!(
        "[select.svc]\ninclude = [{{ cgroup = \"{}\" }}]\n",
        svc.name()
    );
    let daemon = Setup::new(world, &world.a)
        .with(select)
        .with(rules::outbound_passthrough())
        .with("select = \"svc\"")
        .start();
    let server = world.b.serve(&[world.b.at(7000)], &[]);
    (daemon, server, svc, beside)
}

fn script_in(world: &World, cgroup: &Cgroup, steps: &[&str]) -> Running {
    let mut command = world.a.command_in(cgroup.path(), binary());
    command.arg("script").args(steps);
    Running::spawn(command)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn of_a_socket_that_was_handed_over_the_cgroup_that_connects_decides() {
    let world = World::pair();
    let (daemon, _server, svc, beside) = for_svc(&world);
    let connect = format!("connect={}", world.b.at(7000));
    for (maker, user, redirected) in [(&beside, &svc, 2), (&svc, &beside, 3)] {
        let path = world
            .a
            .dir()
            .join(format!("from-{}", maker.name().replace('/', "-")));
        let (give, take) = (
            format!("give={}", path.display()),
            format!("take={}", path.display()),
        );
        let giver = script_in(&world, maker, &["tcp4", &give]);
        let taker = script_in(&world, user, &[&take, &connect, "send=1", "line", "close"]);
        assert_eq!(last(taker, "close"), true);
        assert_eq!(last(giver, &give), true);
        // One more that has a record, which comes after that of the one before, if it has one.
        let marker = script_in(&world, &svc, &["tcp4", &connect, "send=1", "line", "close"]);
        assert_eq!(last(marker, "close"), true);
        assert_eq!(daemon.wait_records(redirected).len(), redirected);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_that_was_handed_over_is_listed_by_who_has_it_now() {
    let world = World::pair();
    let (daemon, _server, svc, beside) = for_svc(&world);
    let path = world.a.dir().join("handed");
    let (give, take) = (
        format!("give={}", path.display()),
        format!("take={}", path.display()),
    );
    let connect = format!("connect={}", world.b.at(7000));
    let giver = script_in(&world, &beside, &["tcp4", &connect, &give]);
    let taker = answered(&world.a, svc.path(), &[&take, "send=1", "line", "pause"]);
    assert_eq!(last(giver, &give), true);
    let found = only(&daemon);
    assert_eq!(
        (&found["why"], &found["born"]),
        (&"moved".into(), &beside.name().into())
    );
    assert_eq!(found["holders"][0]["pid"], taker.pid());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_process_that_moves_in_with_its_connection_is_listed_and_one_that_moves_out_is_not() {
    let world = World::pair();
    let (daemon, _server, svc, beside) = for_svc(&world);
    let connect = format!("connect={}", world.b.at(7000));
    let steps = [connect.as_str(), "send=1", "line", "pause"];
    let moving = |from: &Cgroup, to: &Cgroup| {
        let client = answered(&world.a, from.path(), &steps);
        std::fs::write(to.path().join("cgroup.procs"), client.pid().to_string()).unwrap();
        client
    };
    let outside = moving(world.a.daemons(), &svc);
    assert_eq!(only(&daemon)["why"], "born-outside");
    drop(outside);
    let within = moving(&beside, &svc);
    assert_eq!(only(&daemon)["why"], "moved");
    drop(within);
    // Redirected before, and goes on so.
    let _redirected = moving(&svc, &beside);
    assert_eq!(daemon.ask("sockets"), Value::Array(vec![]));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn unix_sockets_are_left_alone_by_a_rule_for_everything() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let _daemon = Setup::new(&world, &world.a)
        .more_intercept("exclude_to = []")
        .with("[[outbound]]\nname = \"no\"\naction = \"deny\"\n")
        .start();
    let capture = Capture::start(&world.a);
    let path = world.a.dir().join("unix");
    let (give, take) = (
        format!("give={}", path.display()),
        format!("take={}", path.display()),
    );
    let apps = world.a.apps();
    let giver = script_in(&world, apps, &["tcp4", &give]);
    let connect = format!("connect={}", world.b.at(7000));
    let send = format!("send={SECRET}");
    let taker = script_in(&world, apps, &[&take, &connect, &send]);
    assert_eq!(
        last(giver, &give),
        true,
        "the Unix socket carries the other"
    );
    assert_eq!(last(taker, &connect), "EPERM", "which the rule denies");
    capture.stop().expect_no_plaintext(SECRET);
}
