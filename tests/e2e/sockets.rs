//! Connections past the redirect: seen, told of, and closed when that is asked for.

use std::{net::SocketAddr, path::Path};

use harness::{
    Daemon, Host, World,
    daemon::Setup,
    holds,
    peer::{Server, binary, parse},
    process::Running,
    rules,
};
use nix::sys::signal::Signal;
use serde_json::Value;

mod devices;
mod handed_over;
mod kernels;
mod kinds;

const OURS: &str = "spiffe://example.org/a";
const THEIRS: &str = "spiffe://example.org/b";

/// What listens on b takes plain text too.
fn server(world: &World) -> (Daemon, Server) {
    server_at(world, &[world.b.at(7000)])
}

fn server_at(world: &World, at: &[SocketAddr]) -> (Daemon, Server) {
    let accept = r#"["tunnel", "mtls", "plain"]"#;
    let daemon = Setup::new(world, &world.b)
        .with(rules::inbound(accept, OURS))
        .with("detect = \"10s\"")
        .start();
    (daemon, world.b.serve(at, &[]))
}

fn client_daemon(world: &World) -> Setup {
    Setup::new(world, &world.a).with(rules::outbound_mtls("tunnel", THEIRS))
}

/// Runs a client script and returns once it has read its first answer.
#[track_caller]
fn answered(host: &Host, cgroup: &Path, steps: &[&str]) -> Running {
    let mut command = host.command_in(cgroup, binary());
    command.arg("script").args(steps);
    let mut client = Running::spawn(command);
    client.line("its first answer", |line| {
        let said = parse(line)?;
        assert!(said["errno"].is_null(), "{said}");
        (said["step"] == "line").then_some(())
    });
    client
}

/// The errno of the last step of that name, or what it gave.
#[track_caller]
fn last(client: Running, step: &str) -> Value {
    let ended = client.finish().expect_code(0);
    let said = ended.stdout.lines().filter_map(parse);
    let said = said.rev().find(|said| said["step"] == step);
    let said = said.unwrap_or_else(|| panic!("no step {step}: {ended}"));
    match said["errno"].is_null() {
        true => said["ok"].clone(),
        false => said["errno"].clone(),
    }
}

/// The only socket past the redirect.
#[track_caller]
fn only(daemon: &Daemon) -> Value {
    let sockets = daemon.ask("sockets");
    let list = sockets.as_array().expect("a list");
    assert_eq!(list.len(), 1, "{sockets:#}");
    list[0].clone()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_older_than_the_daemon_is_listed_and_closed_and_the_next_one_is_redirected() {
    let world = World::pair();
    let (_b, _server) = server(&world);
    let to = world.b.at(7000).to_string();
    let connect = format!("connect={to}");
    let before = [connect.as_str(), "send=old", "line", "pause", "line"];
    let after = ["slot=1", &connect, "send=new", "line"];
    let steps = [&before[..], &after].concat();
    let mut client = answered(&world.a, world.a.apps().path(), &steps);
    let mut a = client_daemon(&world).start();
    a.wait_log("sidetrack close --uncovered");
    let found = only(&a);
    assert_eq!(found["destination"], to);
    assert_eq!(
        (&found["rule"], &found["why"]),
        (&"out".into(), &"older-than-daemon".into())
    );
    assert_eq!(found["holders"][0]["pid"], client.pid());
    assert_eq!(found["holders"][0]["cgroup"], world.a.apps().name());
    assert_eq!(a.ask("status")["uncovered"], 1);

    let closed = |more: &[&str]| {
        let outcome = a.ask_with(&[&["close", "--uncovered"], more].concat());
        let closed = outcome["closed"].as_array().map(Vec::len);
        (closed.expect("a list"), outcome["left"].clone())
    };
    assert_eq!(closed(&["--dry-run"]), (1, 0.into()));
    assert_eq!(closed(&["--rule", "another"]), (0, 1.into()));
    only(&a);
    assert_eq!(closed(&["--pid", &client.pid().to_string()]), (1, 0.into()));
    assert_eq!(closed(&[]), (0, 0.into()), "once is enough");
    let record = a.only_record();
    assert_eq!((record.reason(), record.rule()), ("not-covered", "out"));

    client.tell("go on");
    let ended = client.finish().expect_code(0);
    assert!(
        ended.stdout.contains(r#""errno":"ECONNABORTED""#),
        "{ended}"
    );
    let records = a.wait_records(2);
    assert!(records[1].carriage().starts_with("tunnel"), "{records:?}");
    assert_eq!(a.ask("status")["refused"]["not-covered"], 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_daemon_that_is_told_so_closes_at_its_start_what_was_there_before() {
    let world = World::pair();
    let (_b, _server) = server(&world);
    let to = world.b.at(7000);
    let connect = format!("connect={to}");
    let steps = [connect.as_str(), "send=old", "line", "line"];
    let client = answered(&world.a, world.a.apps().path(), &steps);
    // Not governed: it goes on.
    let beside = answered(
        &world.a,
        world.a.daemons().path(),
        &[&connect, "send=old", "line", "pause"],
    );
    let a = client_daemon(&world)
        .more_intercept("existing = \"close\"")
        .start();
    assert_eq!(last(client, "line"), "ECONNABORTED");
    assert_eq!(a.only_record().reason(), "not-covered");
    assert_eq!(a.ask("sockets"), Value::Array(vec![]));
    assert_eq!(last(beside, "pause"), true);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_is_redirected_accepted_or_the_daemons_own_is_not_past_the_redirect() {
    let world = World::pair();
    let _far = world.b.serve(&[world.b.at(7000)], &[]);
    let _near = world.a.serve(&[world.a.at(7500), world.a.at6(7500)], &[]);
    // Rules for every address there is, loopback too.
    let a = Setup::new(&world, &world.a)
        .more_intercept("exclude_to = []")
        .with(
            "[[outbound]]\nname = \"all\"\nto = [\"0.0.0.0/0\", \"::/0\"]\naction = \"passthrough\"\n",
        )
        .with(rules::inbound_plain())
        .start();
    let apps = world.a.apps().path();
    let connect = format!("connect={}", world.b.at(7000));
    let out = answered(&world.a, apps, &[&connect, "send=1", "line", "pause"]);
    let ins = [world.a.at(7500), world.a.at6(7500)].map(|to| {
        let connect = format!("connect={to}");
        answered(
            &world.b,
            world.b.apps().path(),
            &[&connect, "send=1", "line", "pause"],
        )
    });
    assert_eq!(a.ask("connections").as_array().map(Vec::len), Some(3));
    assert_eq!(a.ask("sockets"), Value::Array(vec![]));
    drop((out, ins));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_the_fail_mode_or_a_device_let_pass_is_listed_with_its_cause() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let mut a = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .with("fail = \"pass\"")
        .with(
            "[[outbound]]\nname = \"probe\"\nto = [\"10.88.0.0/24\"]\nports = [\"8000\"]\n\
             action = \"passthrough\"\nfail = \"block\"",
        )
        .heartbeat("500ms")
        .start();
    let apps = world.a.apps().path();
    let connect = format!("connect={}", world.b.at(7000));
    let steps = [
        "tcp4",
        "device=eth0",
        "uid=65534",
        &connect,
        "send=1",
        "line",
        "pause",
    ];
    let bound = answered(&world.a, apps, &steps);
    let found = only(&a);
    assert_eq!(
        (&found["why"], &found["holders"][0]["uid"]),
        (&"device-bound".into(), &65534.into())
    );
    drop(bound);

    a.suspend();
    let probe = format!("connect={}", world.b.at(8000));
    holds("the daemon is taken for dead", || {
        let probed = world.a.script(&[&probe]).of(&probe);
        probed == Err("EHOSTDOWN".to_owned())
    });
    let _passed = answered(&world.a, apps, &[&connect, "send=1", "line", "pause"]);
    a.signal(Signal::SIGCONT);
    assert_eq!(only(&a)["why"], "fail-open");
}
