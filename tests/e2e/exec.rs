//! `sidetrack exec`: one command, redirected, and nothing else.

use harness::{
    Finished, Host, Mesh, Running, World, cgroup, daemon::Setup, peer, rules, sidetrack_bin,
};
use nix::sys::signal::Signal;

fn exec(host: &Host, options: &[&str], command: &[&str]) -> Running {
    host.spawn(
        sidetrack_bin(),
        &[&["exec"], options, &["--"], command].concat(),
    )
}

/// Lines that name `destination` and are not the client's own: the records.
fn records(ended: &Finished, destination: &str) -> usize {
    let lines = ended.stdout.lines().chain(ended.stderr.lines());
    lines
        .filter(|line| line.contains(destination) && !line.starts_with("{\"step\""))
        .count()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_configuration_it_passes_everything_and_prints_one_record_each() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
    let peer = peer::binary().display().to_string();
    for to in [world.b.at(7000), world.b.at6(7000)] {
        let connect = format!("connect={to}");
        let steps = [
            &peer,
            "script",
            &connect,
            "names",
            "send=hello",
            "line",
            "shutdown",
            "rest",
        ];
        let ended = exec(&world.a, &[], &steps).finish().expect_code(0);
        assert!(ended.stdout.contains("getsockname"), "{ended}");
        assert!(
            ended.stdout.contains(&format!("\"getpeername\":\"{to}\"")),
            "{ended}"
        );
        assert_eq!(records(&ended, &to.to_string()), 1, "{ended}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn with_a_configuration_its_rules_hold_for_the_command() {
    let Mesh { world, a, b } = Mesh::tunnel();
    drop(a);
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let config = Setup::new(&world, &world.a)
        .instance(format!("{}-exec", world.a.unique()))
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .write()
        .display()
        .to_string();
    let peer = peer::binary().display().to_string();
    let connect = format!("connect={}", world.b.at(7000));
    let steps = [&peer, "script", &connect, "send=hello", "line"];
    let ended = exec(&world.a, &["--config", &config], &steps)
        .finish()
        .expect_code(0);
    assert!(ended.stdout.contains("getsockname"), "{ended}");
    assert_eq!(b.only_record().peer_identity(), "spiffe://example.org/a");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn it_keeps_the_commands_exit_code_output_and_input() {
    let world = World::pair();
    let mut echo = exec(
        &world.a,
        &[],
        &[
            "sh",
            "-c",
            "read line; echo \"out $line\"; echo err >&2; exit 7",
        ],
    );
    echo.tell("in");
    let ended = echo.finish().expect_code(7);
    assert!(ended.stdout.lines().any(|line| line == "out in"), "{ended}");
    assert!(ended.stderr.lines().any(|line| line == "err"), "{ended}");
    let killed = exec(&world.a, &[], &["sh", "-c", "kill -KILL $$"]).finish();
    killed.expect_code(128 + 9);
    let missing = exec(&world.a, &[], &["/no/such/command"]).finish();
    assert_ne!(missing.code(), 0);
    missing.expect_words(&["/no/such/command"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn it_passes_signals_to_the_command() {
    let world = World::pair();
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 3' {name}; echo trapped; while :; do sleep 0.1; done"
        );
        let mut running = exec(&world.a, &[], &["sh", "-c", &script]);
        running.line("the trap is set", |line| (line == "trapped").then_some(()));
        running.signal(signal);
        let ended = running.finish().expect_code(3);
        assert!(ended.stdout.contains(&format!("got {name}")), "{ended}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn it_runs_the_command_in_a_cgroup_of_its_own_and_removes_it() {
    let world = World::pair();
    let mut running = exec(
        &world.a,
        &[],
        &["sh", "-c", "cat /proc/self/cgroup; read line"],
    );
    let own = running.line("its cgroup", |line| {
        line.strip_prefix("0::").map(str::to_owned)
    });
    let path = cgroup::mount_point().join(own.trim_start_matches('/'));
    assert_ne!(own, world.a.apps().name(), "a cgroup of its own");
    assert!(path.is_dir(), "{}", path.display());
    running.tell("go on");
    running.finish().expect_code(0);
    assert!(!path.exists(), "{} is left behind", path.display());
    assert_eq!(world.a.apps().below(), Vec::<std::path::PathBuf>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn several_run_beside_each_other_and_beside_a_daemon() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    let peer = peer::binary().display().to_string();
    let connect = format!("connect={}", world.b.at(7000));
    let steps = [
        &peer,
        "script",
        &connect,
        "send=first",
        "line",
        "pause",
        "send=second",
        "line",
    ];
    let mut running: Vec<_> = (0..3).map(|_| exec(&world.a, &[], &steps)).collect();
    for each in &mut running {
        each.line("the first answer", |line| {
            line.contains("getsockname").then_some(())
        });
    }
    for mut each in running {
        each.tell("go on");
        let ended = each.finish().expect_code(0);
        assert!(ended.stdout.contains("second"), "{ended}");
        assert_eq!(records(&ended, "10.88.0.2:7000"), 1, "{ended}");
    }
    let before = daemon.records().len();
    world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    daemon.wait_records(before + 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn under_sudo_the_command_is_the_invoking_users() {
    let world = World::pair();
    let mut command = world.a.command(sidetrack_bin());
    command.args(["exec", "--", "sh", "-c", "id -u; id -g; id -G"]);
    command
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .env("SUDO_USER", "nobody");
    let ended = Running::spawn(command).finish().expect_code(0);
    let said: Vec<_> = ended.stdout.lines().take(3).collect();
    assert_eq!(said, ["65534", "65534", "65534"], "{ended}");
}
