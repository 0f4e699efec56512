//! Start, reload, drain and end of the daemon.

use harness::{Daemon, Mesh, World, bpf, cgroup, daemon::Setup, holds, rules};
use nix::sys::signal::Signal;

/// A daemon on `a` that relays plain text, and a server on `b`.
fn relaying(drain: &'static str) -> (World, harness::peer::Server, Daemon) {
    let world = World::pair();
    let server = world.b.serve(&[world.b.at(7000)], &[]);
    let daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .drain(drain)
        .start();
    (world, server, daemon)
}

fn ask(world: &World) -> harness::peer::Steps {
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect, "send=hello", "line"])
}

/// A client that has its first answer and asks again when it is told to.
fn held_open(world: &World) -> harness::Running {
    let connect = format!("connect={}", world.b.at(7000));
    let mut client = world.a.peer(&[
        "script",
        &connect,
        "send=first",
        "line",
        "pause",
        "send=second",
        "line",
    ]);
    client.line("an answer", |line| {
        line.contains("getsockname").then_some(())
    });
    client
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_daemon_is_ready_when_it_says_so_and_nothing_is_attached_before_its_listeners() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let setup = Setup::new(&world, &world.a).with(rules::outbound_passthrough());
    let starting = harness::Running::spawn(setup.command());
    holds("something is attached", || {
        !bpf::attached_to(world.a.apps().path()).is_empty()
    });
    // Stopped, it cannot bind what it had not bound when the first program was attached.
    starting.signal(Signal::SIGSTOP);
    let owner = format!("pid={},", starting.pid());
    let sockets = world.a.run("ss", &["-Hltnp"]).expect_code(0);
    let own = sockets
        .stdout
        .lines()
        .filter(|line| line.contains(&owner))
        .count();
    assert!(
        own >= 2,
        "attached before a listener of each family was bound: {sockets}"
    );
    drop(starting);
    let daemon = setup.start();
    ask(&world).all_ok();
    daemon.wait_records(1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn no_connection_fails_while_the_daemon_starts_and_stops() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &["--quiet"]);
    let to = world.b.at(7000).to_string();
    let mut client = world.a.peer(&["many", "--to", &to, "--parallel", "2"]);
    let mut daemon = Setup::new(&world, &world.a)
        .with(format!(
            "{}fail = \"pass\"\n",
            rules::outbound_passthrough()
        ))
        .start();
    daemon.wait_records(20);
    assert_eq!(daemon.stop(), 0);
    ask(&world).all_ok();
    client.tell("enough");
    let ended = client.finish();
    let report = harness::peer::parse(ended.stdout.lines().last().unwrap_or_default());
    let failures = report.unwrap_or_default()["failures"].clone();
    // Passed through, a connection has a source port of the proxy's.
    let others: Vec<_> = failures
        .as_object()
        .unwrap_or_else(|| panic!("{ended}"))
        .keys()
        .filter(|failure| *failure != "the server saw another client's port")
        .collect();
    assert!(others.is_empty(), "{ended}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn sigterm_lets_a_live_connection_end_and_exits_0() {
    let (world, _server, mut daemon) = relaying("20s");
    let mut client = held_open(&world);
    daemon.signal(Signal::SIGTERM);
    let connect = format!("connect={}", world.b.at(7000));
    holds("new connections fail as the rule says", || {
        world.a.script(&["tcp4", &connect]).of(&connect) == Err("EHOSTDOWN".to_owned())
    });
    client.tell("go on");
    let ended = client.finish();
    assert!(
        ended.stdout.contains("\\\"second\\\""),
        "the connection was cut: {ended}"
    );
    assert_eq!(daemon.wait_end(), 0, "drained");
    let records = daemon.wait_records(1);
    assert!(
        records
            .iter()
            .all(|record| ["", "no-listener", "draining"].contains(&record.reason())),
        "{records:#?}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn sigterm_cuts_what_outlives_the_drain_and_exits_1() {
    let (world, _server, mut daemon) = relaying("300ms");
    let mut client = held_open(&world);
    assert_eq!(daemon.stop(), 1, "forced");
    let record = daemon.only_record();
    assert_eq!(record.reason(), "drain-deadline", "{record}");
    client.tell("go on");
    let ended = client.finish();
    assert!(
        !ended.stdout.contains("\\\"second\\\""),
        "it was not cut: {ended}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn sighup_takes_new_rules_and_spares_live_connections() {
    let (world, _server, mut daemon) = relaying("1s");
    let mut client = held_open(&world);
    let denied = "[[outbound]]\nname = \"no\"\nto = [\"10.88.0.2\"]\nports = [\"7001\"]\naction = \"deny\"\n";
    Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .with(denied)
        .write();
    daemon.signal(Signal::SIGHUP);
    let connect = format!("connect={}", world.b.at(7001));
    holds("the new rule denies", || {
        world.a.script(&[&connect]).of(&connect).is_err()
    });
    client.tell("go on");
    let ended = client.finish();
    assert!(
        ended.stdout.contains("\\\"second\\\""),
        "a reload cut it: {ended}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn sighup_takes_new_certificates() {
    let mut mesh = Mesh::tunnel();
    let b = mesh.world.b.clone();
    let _server = b.serve(&[b.at(7000)], &[]);
    ask(&mesh.world).all_ok();
    // The far side allows the old identity alone: the new one shows by being refused.
    let other = mesh.world.pki.credential('a', harness::Flaw::WrongIdentity);
    Setup::new(&mesh.world, &mesh.world.a)
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .credential(other)
        .write();
    mesh.a.signal(Signal::SIGHUP);
    holds("the new identity is refused", || {
        let answered = ask(&mesh.world).of("line");
        answered.is_err() || answered == Ok("".into())
    });
    mesh.b.wait_for_records("a refusal", |records| {
        records
            .iter()
            .any(|record| record.reason() == "not-allowed")
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_bad_configuration_at_sighup_changes_nothing_and_is_named() {
    let (world, _server, mut daemon) = relaying("1s");
    let good = std::fs::read_to_string(daemon.config()).unwrap();
    let half = rules::outbound_passthrough().replace("passthrough", "deny");
    let bad = format!("{good}\n{half}\nno_such_key = 1\n");
    std::fs::write(daemon.config(), bad).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_log("no_such_key");
    ask(&world).all_ok();
    daemon.wait_records(1);
    // A key that does not match is no better than a bad rule.
    let other = world.pki.credential('b', harness::Flaw::Expired);
    let own = world.pki.credential('a', harness::Flaw::None);
    let mixed = good.replace(own.key.to_str().unwrap(), other.key.to_str().unwrap());
    assert_ne!(mixed, good);
    std::fs::write(daemon.config(), mixed).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_log("b-Expired.key");
    ask(&world).all_ok();
    assert_eq!(daemon.wait_records(2).len(), 2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_stop_leaves_the_rules_in_force_and_detach_leaves_nothing() {
    let (world, _server, mut daemon) = relaying("1s");
    ask(&world).all_ok();
    daemon.wait_records(1);
    assert!(!bpf::attached_to(world.a.apps().path()).is_empty());
    assert_eq!(daemon.stop(), 0);
    // The rule's fail mode is the default one, block.
    let connect = format!("connect={}", world.b.at(7000));
    assert_eq!(ask(&world).of(&connect), Err("EHOSTDOWN".to_owned()));
    daemon.detach().expect_code(0);
    assert_eq!(bpf::attached_to(world.a.apps().path()), Vec::<&str>::new());
    ask(&world).all_ok();
    assert_eq!(daemon.records().len(), 1, "the third went direct");
    let named = |path: &std::path::Path| path.to_string_lossy().contains(daemon.instance());
    let mut left = cgroup::descendants(&cgroup::mount_point());
    left.extend(cgroup::descendants("/sys/fs/bpf".as_ref()));
    left.extend(cgroup::descendants("/run/sidetrack".as_ref()));
    left.retain(|path| named(path));
    assert!(left.is_empty(), "{left:?}");
    let runtime: Vec<_> = std::fs::read_dir(daemon.runtime_dir())
        .unwrap()
        .flatten()
        .collect();
    assert!(runtime.is_empty(), "{runtime:?}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_a_daemon_was_killed_no_plain_text_is_answered_and_a_new_one_takes_over() {
    let Mesh { world, a, b } = Mesh::tunnel();
    let server = world.b.serve(&[world.b.at(7000)], &[]);
    ask(&world).all_ok();
    drop(a);
    let steps = ask(&world);
    assert!(
        !format!("{steps:?}").contains("getsockname"),
        "answered: {steps:?}"
    );
    assert_eq!(
        server.accepted().len(),
        1,
        "the application saw the first alone"
    );
    let again = Setup::new(&world, &world.a)
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .start();
    ask(&world).all_ok();
    again.wait_for_records("a clean record of the new daemon", |records| {
        records
            .last()
            .is_some_and(|record| record.reason().is_empty())
    });
    drop(b);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn two_instances_serve_two_cgroups_of_one_host() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let (blue, green) = (world.a.apps().child("blue"), world.a.apps().child("green"));
    let start = |cgroup: &cgroup::Cgroup, name: &str| {
        Setup::new(&world, &world.a)
            .instance(format!("{}-{name}", world.a.unique()))
            .intercept(cgroup)
            .with(rules::outbound_passthrough())
            .start()
    };
    let daemons = [start(&blue, "blue"), start(&green, "green")];
    let connect = format!("connect={}", world.b.at(7000));
    for (cgroup, count) in [(&blue, 2), (&green, 3)] {
        for _ in 0..count {
            let mut client = world.a.command_in(cgroup.path(), harness::peer::binary());
            client.args(["script", &connect, "send=hello", "line"]);
            let ended = harness::Running::spawn(client).finish();
            assert!(ended.stdout.contains("getsockname"), "{ended}");
        }
    }
    assert_eq!(daemons[0].wait_records(2).len(), 2);
    assert_eq!(daemons[1].wait_records(3).len(), 3);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_sigterm_while_it_starts_ends_the_daemon_cleanly() {
    let world = World::pair();
    let setup = Setup::new(&world, &world.a).with(rules::outbound_passthrough());
    let starting = harness::Running::spawn(setup.command());
    holds("its own cgroup", || !world.a.daemons().below().is_empty());
    starting.signal(Signal::SIGTERM);
    starting.finish().expect_code(0);
    assert_eq!(world.a.daemons().below(), Vec::<std::path::PathBuf>::new());
    assert_eq!(bpf::attached_to(world.a.apps().path()), Vec::<&str>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_second_daemon_of_one_name_is_refused_the_first_ones_cgroup() {
    let world = World::pair();
    let setup = Setup::new(&world, &world.a).with(rules::outbound_passthrough());
    let elsewhere = world.a.dir().join("elsewhere").display().to_string();
    let first = world.a.dir().join("daemon/run").display().to_string();
    let toml = setup.toml().replace(&first, &elsewhere);
    let other = world.a.write("elsewhere.toml", &toml);
    let mut daemon = setup.start();
    let mut second = world
        .a
        .command_in(world.a.daemons().path(), harness::sidetrack_bin());
    second.args(["run", "--config"]).arg(other);
    let pid = daemon.pid().to_string();
    harness::Running::spawn(second)
        .finish()
        .expect_code(1)
        .expect_words(&[&pid, "daemon.instance"]);
    assert_eq!(daemon.stop(), 0);
}
