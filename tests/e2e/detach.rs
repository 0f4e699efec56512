//! `sidetrack detach`: nothing stays, whether a daemon runs or one was killed.

mod machine;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use harness::{Daemon, Running, World, bpf, cgroup, daemon::Setup, rules};
use nix::sys::signal::Signal;

fn relaying() -> (World, harness::peer::Server, Daemon) {
    let world = World::pair();
    let server = world.b.serve(&[world.b.at(7000)], &[]);
    let daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    ask(&world);
    daemon.wait_records(1);
    assert!(!bpf::attached_to(world.a.apps().path()).is_empty());
    (world, server, daemon)
}

#[track_caller]
fn ask(world: &World) {
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect, "send=hello", "line"]).all_ok();
}

/// The server sees the client's own port, and not one of the proxy's.
#[track_caller]
fn ask_directly(world: &World) {
    let connect = format!("connect={}", world.b.at(7000));
    let steps = world.a.script(&[&connect, "names", "send=hello", "line"]);
    let own = &steps.ok("names")["getsockname"];
    assert_eq!(&steps.answer(0)["accept"], own, "it went direct");
}

/// Files of the runtime folder and cgroups that bear the instance's name.
fn left_of(daemon: &Daemon) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = fs::read_dir(daemon.runtime_dir())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    left.extend(
        cgroup::descendants(&cgroup::mount_point())
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(daemon.instance())),
    );
    left
}

#[track_caller]
fn expect_nothing_left(world: &World, daemon: &Daemon) {
    for cgroup in [world.a.apps(), world.a.daemons()] {
        assert_eq!(bpf::attached_to(cgroup.path()), Vec::<&str>::new());
    }
    assert_eq!(left_of(daemon), Vec::<PathBuf>::new());
    ask_directly(world);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn detach_ends_a_running_daemon_and_leaves_nothing() {
    let (world, _server, mut daemon) = relaying();
    daemon.detach().expect_code(0);
    // Already when `detach` returns, not only when the daemon has ended.
    expect_nothing_left(&world, &daemon);
    assert_eq!(daemon.wait_end(), 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn detach_cuts_live_connections_rather_than_wait_for_them() {
    let (world, _server, mut daemon) = relaying();
    let connect = format!("connect={}", world.b.at(7000));
    let steps = ["script", &connect, "send=first", "line", "rest"];
    let mut client = world.a.peer(&steps);
    client.line("an answer", |line| {
        line.contains("getsockname").then_some(())
    });
    daemon.detach().expect_code(0);
    expect_nothing_left(&world, &daemon);
    assert_eq!(daemon.wait_end(), 0);
    assert_eq!(daemon.wait_records(2)[1].reason(), "drain-deadline");
    client.finish();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn detach_removes_what_a_killed_daemon_left() {
    let (world, _server, mut daemon) = relaying();
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.wait_end(), 128 + Signal::SIGKILL as i32);
    assert!(!left_of(&daemon).is_empty(), "it was killed, after all");
    daemon.detach().expect_code(0);
    expect_nothing_left(&world, &daemon);
    daemon.detach().expect_code(0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_ordinary_user_is_not_told_that_nothing_is_attached() {
    let (world, _server, mut daemon) = relaying();
    assert_eq!(daemon.stop(), 0);
    // Where everybody may run it.
    let open = tempfile::Builder::new()
        .prefix("sdt-open-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let binary = open.path().join("sidetrack");
    fs::copy(harness::sidetrack_bin(), &binary).unwrap();
    let mut detaching = world.a.command_in(world.a.daemons().path(), "setpriv");
    detaching
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&binary)
        .args(["detach", "--instance", daemon.instance(), "--runtime-dir"])
        .arg(open.path().join("none"));
    Running::spawn(detaching)
        .finish()
        .expect_code(1)
        .expect_words(&[daemon.instance(), "needs root"]);
    assert!(!bpf::attached_to(world.a.apps().path()).is_empty());
}
