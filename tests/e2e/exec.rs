//! `sidetrack exec`: one command, redirected, and nothing else.

mod several;

use harness::{
    Finished, Host, Mesh, Running, World, cgroup, daemon::Setup, holds, peer, rules, sidetrack_bin,
};
use nix::sys::signal::Signal;

fn exec(host: &Host, options: &[&str], command: &[&str]) -> Running {
    host.spawn(
        sidetrack_bin(),
        &[&["exec"], options, &["--"], command].concat(),
    )
}

/// Records of connections to `destination`; standard output is the command's alone.
fn records(ended: &Finished, destination: &str) -> usize {
    let wanted = format!("destination={destination} ");
    let lines = ended.stderr.lines();
    lines.filter(|line| line.contains(&wanted)).count()
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
    a.detach().expect_code(0);
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
    let log = world.a.dir().join("exec-records").display().to_string();
    let options = ["--config", &config, "--records", &log, "--format", "json"];
    let ended = exec(&world.a, &options, &steps).finish().expect_code(0);
    assert!(ended.stdout.contains("getsockname"), "{ended}");
    let lines = std::fs::read_to_string(&log).unwrap();
    let record = harness::Record::parse(&lines);
    assert_eq!(record.peer_identity(), "spiffe://example.org/b", "{record}");
    assert_eq!(b.only_record().peer_identity(), "spiffe://example.org/a");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_process_that_leaves_the_commands_cgroup_is_redirected_no_more_and_what_it_had_goes_on() {
    let world = World::pair();
    let to = world.b.at(7000);
    let server = world.b.serve(&[to], &[]);
    let peer = peer::binary().display().to_string();
    let connect = format!("connect={to}");
    let outside = format!("join={}", world.a.daemons().path().display());
    let steps = [
        &peer, "script", "slot=0", &connect, "names", "send=in", "line", &outside, "slot=1",
        &connect, "names", "send=out", "line", "slot=0", "send=on", "line",
    ];
    let ended = exec(&world.a, &[], &steps).finish().expect_code(0);
    assert_eq!(records(&ended, &to.to_string()), 1, "{ended}");
    assert!(!ended.stdout.contains("errno"), "{ended}");
    // The far application sees the port of the second socket itself, and a proxy's of the first.
    let own: Vec<bool> = server
        .accepted()
        .iter()
        .map(|seen| {
            let client = seen["accept"].as_str().unwrap();
            let name = format!("\"getsockname\":\"{client}\"");
            ended.stdout.contains(&name)
        })
        .collect();
    assert_eq!(own, [false, true], "{ended}");
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
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_be_run_126() {
    let world = World::pair();
    let file = world.a.write("not-executable", "").display().to_string();
    for (command, code, words) in [
        ("/no/such/command", 127, "no such file"),
        ("no-such-command", 127, "no such file"),
        (&file, 126, "permission denied"),
    ] {
        let ended = exec(&world.a, &[], &[command]).finish();
        ended.expect_code(code).expect_words(&[command, words]);
        assert_eq!(world.a.apps().below(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_signal_while_it_starts_leaves_nothing_behind() {
    let world = World::pair();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let running = exec(&world.a, &[], &["sleep", "1000"]);
        holds("its first cgroup", || !world.a.apps().below().is_empty());
        running.signal(signal);
        running.finish().expect_code(128 + signal as i32);
        assert_eq!(world.a.apps().below(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn killed_it_takes_the_command_with_it() {
    let world = World::pair();
    for sudo in [false, true] {
        let mut command = world.a.command(sidetrack_bin());
        command.args(["exec", "--", "sh", "-c", "echo runs; read line"]);
        if sudo {
            command
                .env("SUDO_UID", "65534")
                .env("SUDO_GID", "65534")
                .env("SUDO_USER", "nobody");
        }
        let mut running = Running::spawn(command);
        running.line("the command", |line| (line == "runs").then_some(()));
        running.signal(Signal::SIGKILL);
        holds("the command has ended", || {
            world.a.apps().processes().is_empty()
        });
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_the_command_leaves_running_is_named_and_what_just_ends_is_waited_for() {
    let world = World::pair();
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
    let ended = exec(&world.a, &[], &["sh", "-c", script])
        .finish()
        .expect_code(0);
    let left = ended.stdout.trim().to_owned();
    ended.expect_words(&[&left, "still run"]);
    let before = world.a.apps().below();
    let script = "sleep 0.3 >/dev/null 2>&1 &";
    let ended = exec(&world.a, &[], &["sh", "-c", script])
        .finish()
        .expect_code(0);
    assert!(!ended.stderr.contains("still run"), "{ended}");
    assert_eq!(world.a.apps().below(), before);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_inbound_rules_it_takes_none_of_the_namespaces_sk_lookup_places() {
    let world = World::pair();
    let inbound = Setup::new(&world, &world.a)
        .with(rules::inbound_plain())
        .write()
        .display()
        .to_string();
    for (options, links) in [(&[][..], 0), (&["--config", &inbound], 1)] {
        let mut running = exec(&world.a, options, &["sh", "-c", "echo runs; read line"]);
        running.line("the command", |line| (line == "runs").then_some(()));
        assert_eq!(harness::bpf::netns_links_of(running.pid()), links);
        running.finish();
    }
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
fn under_sudo_the_command_is_the_invoking_users() {
    let world = World::pair();
    let mut command = world.a.command(sidetrack_bin());
    command.args([
        "exec",
        "--",
        "sh",
        "-c",
        "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; grep CapAmb /proc/self/status",
    ]);
    command
        .env("SUDO_UID", "65534")
        .env("SUDO_GID", "65534")
        .env("SUDO_USER", "nobody");
    let ended = Running::spawn(command).finish().expect_code(0);
    let said: Vec<_> = ended.stdout.lines().take(5).collect();
    let (names, ambient) = ("/nonexistent nobody nobody", "CapAmb:\t0000000000000000");
    assert_eq!(said, ["65534", "65534", "65534", names, ambient], "{ended}");
}
