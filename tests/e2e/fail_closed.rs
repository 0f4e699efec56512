//! What holds when the proxy is not there: killed, stopped, not started yet, of another version.

use std::time::Duration;

mod attaching;
mod boot;

use harness::{
    Capture, Daemon, Mesh, Running, World, bpf, daemon::Setup, holds, holds_within, peer::Steps,
    pins, rules,
};
use nix::sys::signal::Signal;

/// Sent by applications; on the wire it would be a leak.
const SECRET: &str = "not-for-the-wire";

/// [`rules::outbound_mtls`] to `b`, and port 8000 in plain text that needs no proxy.
fn mtls_and_direct() -> String {
    let mtls = rules::outbound_mtls("tunnel", "spiffe://example.org/b");
    format!(
        "{mtls}\n[[outbound]]\nname = \"direct\"\nto = [\"10.88.0.0/24\"]\nports = [\"8000\"]\n\
         action = \"passthrough\"\nfail = \"pass\"\n"
    )
}

fn ask(world: &World, port: u16) -> Steps {
    let connect = format!("connect={}", world.b.at(port));
    let send = format!("send={SECRET}");
    world.a.script(&[&connect, &send, "line"])
}

#[track_caller]
fn expect_blocked(world: &World) {
    let connect = format!("connect={}", world.b.at(7000));
    let steps = ask(world, 7000);
    assert_eq!(steps.of(&connect), Err("EHOSTDOWN".to_owned()));
}

fn is_blocked(world: &World) -> bool {
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect]).of(&connect) == Err("EHOSTDOWN".to_owned())
}

/// Steps of a stranger, who is on `a`'s host and not redirected.
fn stranger(world: &World, steps: &[&str]) -> Steps {
    world.a.script_in(world.a.daemons().path(), steps)
}

/// That a stranger's bytes are not answered at port 7000 of `b`.
#[track_caller]
fn expect_no_answer(world: &World) {
    let connect = format!("connect={}", world.b.at(7000));
    let said = stranger(world, &[&connect, &format!("send={SECRET}"), "line"]);
    assert!(!format!("{said:?}").contains("getsockname"), "{said:?}");
}

/// Whether port 7000 of `b` looks closed to a stranger.
fn looks_closed(world: &World) -> bool {
    let connect = format!("connect={}", world.b.at(7000));
    stranger(world, &[&connect]).of(&connect) == Err("ECONNREFUSED".to_owned())
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn when_a_daemon_was_killed_each_rule_answers_by_its_fail_mode_and_the_next_one_takes_over() {
    let mut mesh = Mesh::with("tunnel", &mtls_and_direct()[rules_len()..], "");
    let world = &mesh.world;
    let server = world.b.serve(&[world.b.at(7000), world.b.at(8000)], &[]);
    let capture = Capture::start(&world.a);
    ask(world, 7000).all_ok();
    mesh.a.signal(Signal::SIGKILL);
    mesh.a.wait_end();
    let before = bpf::attached_to(world.a.apps().path());
    expect_blocked(world);
    let wire = capture.stop();
    wire.expect_encrypted(SECRET);
    ask(world, 8000).all_ok();
    assert_eq!(server.accepted().len(), 2, "one through, one direct");
    let again = Setup::new(world, &world.a).with(mtls_and_direct()).start();
    assert_eq!(bpf::attached_to(world.a.apps().path()), before);
    ask(world, 7000).all_ok();
    again.wait_for_records("the connection that was refused meanwhile", |records| {
        records
            .iter()
            .any(|record| record.reason() == "no-listener")
    });
}

/// The length of the part of [`mtls_and_direct`] that a mesh has already.
fn rules_len() -> usize {
    rules::outbound_mtls("tunnel", "spiffe://example.org/b").len()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_daemon_that_is_stopped_is_taken_for_dead_until_it_goes_on() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let fast = |setup: Setup| setup.heartbeat("500ms").start();
    let mut b = fast(
        Setup::new(&world, &world.b)
            .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a")),
    );
    let mut a = fast(Setup::new(&world, &world.a).with(mtls_and_direct()));
    // The heartbeat, and what a busy machine may need until a probe says so.
    let bound = Duration::from_millis(500 + 3_000);
    ask(&world, 7000).all_ok();
    for round in 0..3 {
        a.suspend();
        holds_within(bound, "connects are refused", || is_blocked(&world));
        for _ in 0..5 {
            expect_blocked(&world);
            assert!(!looks_closed(&world), "it is the other side that stopped");
            expect_no_answer(&world);
        }
        a.signal(Signal::SIGCONT);
        holds_within(bound, "they succeed again", || !is_blocked(&world));
        ask(&world, 7000).all_ok();
        b.suspend();
        // A closed port's impression, in place of a queue that nobody empties.
        holds_within(bound, "SYNs are dropped", || looks_closed(&world));
        for _ in 0..5 {
            assert!(looks_closed(&world), "round {round}");
        }
        b.signal(Signal::SIGCONT);
        holds_within(bound, "they are steered again", || !looks_closed(&world));
        for _ in 0..5 {
            expect_no_answer(&world);
        }
        ask(&world, 7000).all_ok();
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_guard_alone_blocks_the_same_connections_and_the_daemon_takes_them_over() {
    let world = World::pair();
    let server = world.b.serve(&[world.b.at(7000), world.b.at(8000)], &[]);
    let inbound = rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a");
    let (a, b) = (
        Setup::new(&world, &world.a).with(mtls_and_direct()),
        Setup::new(&world, &world.b).with(&inbound),
    );
    for setup in [&a, &b] {
        let said = setup.guard().expect_code(0).stdout;
        assert!(said.contains("in force"), "{said}");
    }
    let capture = Capture::start(&world.a);
    expect_blocked(&world);
    ask(&world, 8000).all_ok();
    expect_no_answer(&world);
    assert_eq!(server.accepted().len(), 1, "the direct one alone");
    let wire = capture.stop();
    // The direct one is on the wire once, as its rule says.
    assert!(wire.contains(SECRET));
    // Again, as a unit that is started twice does.
    a.guard().expect_code(0);
    let (a, b) = (a.start(), b.start());
    ask(&world, 7000).all_ok();
    expect_no_answer(&world);
    assert_eq!(server.accepted().len(), 2, "and the one in mutual TLS");
    for daemon in [a, b] {
        daemon.detach().expect_code(0);
    }
    ask(&world, 7000).all_ok();
    assert_eq!(pins::below(&pins::folder(&world.a.unique())).len(), 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_guard_beside_a_daemon_changes_nothing_and_says_who_holds_the_pins() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let setup = || Setup::new(&world, &world.a).with(rules::outbound_passthrough());
    let mut daemon = setup().start();
    let pid = daemon.pid().to_string();
    let said = setup().guard().expect_code(0).stdout;
    assert!(said.contains(&pid), "{said}");
    ask(&world, 7000).all_ok();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn pins_of_another_version_are_taken_over_without_a_gap() {
    let mut mesh = Mesh::tunnel();
    let world = &mesh.world;
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    ask(world, 7000).all_ok();
    mesh.a.signal(Signal::SIGKILL);
    mesh.a.wait_end();
    // As an older version leaves them: maps of an object that is not ours, and a program that
    // this version does not have any more.
    let folder = pins::folder(mesh.a.instance());
    let maps = pins::below(&folder)
        .into_iter()
        .find(|path| path.is_dir() && path.to_string_lossy().contains("/v1-"))
        .expect("maps are pinned");
    std::fs::rename(&maps, folder.join("v0-000000000000")).unwrap();
    let links = folder.join("links");
    std::fs::rename(links.join("st_getsockname4"), links.join("st_other")).unwrap();
    let to = world.b.at(7000).to_string();
    let mut client = world.a.peer(&["many", "--to", &to, "--parallel", "2"]);
    let capture = Capture::start(&world.a);
    let again = Setup::new(world, &world.a)
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .start();
    again.wait_for_records("connections through the new daemon", |records| {
        records
            .iter()
            .filter(|record| record.reason().is_empty())
            .count()
            > 20
    });
    client.tell("enough");
    let ended = client.finish();
    capture.stop().expect_encrypted("line-");
    assert!(ended.stdout.contains("connect: EHOSTDOWN"), "{ended}");
    let left = pins::below(&folder);
    assert!(
        !left.iter().any(|path| {
            let path = path.to_string_lossy();
            path.contains("v0-") || path.contains("st_other")
        }),
        "{left:?}"
    );
    assert_eq!(
        bpf::attached_to(world.a.apps().path()).len(),
        bpf::AT_THE_ATTACH_POINT
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_changed_attach_point_is_taken_over_and_the_old_one_is_left() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let mut daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    assert_eq!(daemon.stop(), 0);
    let elsewhere = world.a.apps().child("elsewhere");
    let daemon = Setup::new(&world, &world.a)
        .intercept(&elsewhere)
        .with(rules::outbound_passthrough())
        .start();
    assert_eq!(bpf::attached_to(world.a.apps().path()), Vec::<&str>::new());
    assert_eq!(
        bpf::attached_to(elsewhere.path()).len(),
        bpf::AT_THE_ATTACH_POINT
    );
    daemon.detach().expect_code(0);
    assert_eq!(bpf::attached_to(elsewhere.path()), Vec::<&str>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn of_two_daemons_of_one_name_that_start_at_once_one_serves_and_the_other_names_it() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let config = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .write();
    let start = || {
        let mut command = world
            .a
            .command_in(world.a.daemons().path(), harness::sidetrack_bin());
        command.args(["run", "--config"]).arg(&config);
        Running::spawn(command)
    };
    for _ in 0..10 {
        let mut both = [start(), start()];
        holds("one of them has ended", || {
            both.iter_mut().any(Running::has_ended)
        });
        let [first, second] = both;
        let (mut ended, mut serving) = (first, second);
        if !ended.has_ended() {
            std::mem::swap(&mut ended, &mut serving);
        }
        let pid = serving.pid().to_string();
        ended.finish().expect_code(1).expect_words(&[&pid]);
        serving.error_line("ready");
        ask(&world, 7000).all_ok();
        serving.signal(Signal::SIGTERM);
        serving.finish().expect_code(0);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_daemon_of_one_name_with_another_runtime_folder_is_refused_the_pins() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let mut daemon: Daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    let own = daemon.runtime_dir().display().to_string();
    let elsewhere = world.a.dir().join("elsewhere").display().to_string();
    let config = world
        .a
        .write("elsewhere.toml", &config.replace(&own, &elsewhere));
    let mut second = world
        .a
        .command_in(world.a.apps().path(), harness::sidetrack_bin());
    second.args(["run", "--config"]).arg(config);
    let pid = daemon.pid().to_string();
    Running::spawn(second)
        .finish()
        .expect_code(1)
        .expect_words(&[&pid, "daemon.instance", "in force"]);
    ask(&world, 7000).all_ok();
    assert_eq!(daemon.stop(), 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_an_exec_that_was_killed_left_running_is_blocked_and_swept_once_it_has_ended() {
    let Mesh { world, a, b: _b } = Mesh::tunnel();
    a.detach().expect_code(0);
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let config = Setup::new(&world, &world.a)
        .instance(format!("{}-exec", world.a.unique()))
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .write()
        .display()
        .to_string();
    let peer = harness::peer::binary().display().to_string();
    let connect = format!("connect={}", world.b.at(7000));
    // A process that outlives the command: it connects when it is told to.
    let script =
        format!("exec 3<&0; setsid {peer} script pause {connect} <&3 & echo started; wait");
    let args = [
        "exec",
        "--config",
        &config,
        "--records",
        "off",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut exec = world.a.spawn(harness::sidetrack_bin(), &args);
    exec.line("started", |line| (line == "started").then_some(()));
    let folder = pins::folder(&format!("exec_{}", exec.pid()));
    assert!(folder.is_dir());
    exec.signal(Signal::SIGKILL);
    holds("it is dead", || exec.is_dead());
    exec.tell("go on");
    let said = exec.line("its connect", |line| {
        line.contains("connect=").then(|| line.to_owned())
    });
    assert!(said.contains("EHOSTDOWN"), "{said}");
    exec.finish();
    a.detach().expect_code(0);
    assert!(!folder.exists(), "{:?}", pins::below(&folder));
}
