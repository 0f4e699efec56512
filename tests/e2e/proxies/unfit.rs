//! Proxies that are not registered, and what `status` tells to do about it.

use harness::{
    Running, World,
    daemon::Setup,
    holds,
    proxies::{Proxy, redirect},
};
use nix::sys::signal::Signal;

use super::{BOTH, connect};

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_proxy_that_shares_its_cgroup_with_an_application_gets_nothing_until_it_is_alone() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let mut daemon = Setup::new(&world, &world.a)
        .with(redirect("other", &BOTH, "7000-7999"))
        .start();
    // In the cgroup of the applications itself.
    let proxy = Proxy::start(&world.a, world.a.apps(), &BOTH, &[]);
    let why = daemon.wait_proxy("other", "refused");
    assert!(why.contains("systemd-run --scope"), "{why}");
    assert_eq!(connect(&world), Err("EHOSTDOWN".to_owned()));
    drop(proxy);
    // With an application beside it, in a cgroup of both.
    let own = world.a.apps().child("proxy");
    let proxy = Proxy::start(&world.a, &own, &BOTH, &["--child", "sleep"]);
    daemon.wait_proxy("other", "serving");
    let mut application = world.a.command_in(own.path(), "sleep");
    application.arg("inf");
    let application = Running::spawn(application);
    let why = daemon.wait_proxy("other", "refused");
    assert!(
        why.contains(&format!("process {}", application.pid())),
        "{why}"
    );
    assert!(why.contains("systemd-run --scope"), "{why}");
    assert_eq!(connect(&world), Err("EHOSTDOWN".to_owned()));
    drop(application);
    daemon.wait_proxy("other", "serving");
    connect(&world).unwrap();
    assert_eq!(proxy.asked().len(), 1);
    daemon.wait_log("in a cgroup of its own");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_that_would_outlive_its_proxy_is_refused() {
    let world = World::pair();
    let (own, elsewhere) = (
        world.a.apps().child("proxy"),
        world.a.daemons().child("activator"),
    );
    let script = world.a.write(
        "activated.py",
        &format!(
            "import os, socket, time\n\
             s = socket.create_server(('127.0.0.1', 12345))\n\
             if os.fork() == 0:\n    \
                 open('{}/cgroup.procs', 'w').write(str(os.getpid()))\n\
             time.sleep(600)\n",
            elsewhere.path().display()
        ),
    );
    let mut command = world.a.command_in(own.path(), "python3");
    command.arg(script);
    let _proxy = Running::spawn(command);
    holds("both processes are there", || {
        elsewhere.processes().len() == 1
    });
    let daemon = Setup::new(&world, &world.a)
        .with(redirect("other", &["127.0.0.1:12345"], "7000-7999"))
        .start();
    let why = daemon.wait_proxy("other", "refused");
    assert!(why.contains("would outlive the proxy"), "{why}");
    assert_eq!(connect(&world), Err("EHOSTDOWN".to_owned()));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_unprivileged_user_does_not_become_the_proxy_by_listening_first() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let own = world.a.apps().child("squatter");
    let mut command = world.a.command_in(own.path(), "setpriv");
    command
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
        ])
        .arg(
            "import socket, time; s = socket.create_server(('127.0.0.1', 12345)); time.sleep(600)",
        );
    let _squatter = Running::spawn(command);
    let rules = redirect("other", &["127.0.0.1:12345"], "7000-7999");
    let mut daemon = Setup::new(&world, &world.a).with(&rules).start();
    let why = daemon.wait_proxy("other", "refused");
    assert!(
        why.contains("user 65534") && why.contains("`user`"),
        "{why}"
    );
    assert_eq!(connect(&world), Err("EHOSTDOWN".to_owned()));
    // If that is who it is to be, the configuration says so.
    let named = rules.replace("[proxy.other]", "[proxy.other]\nuser = \"nobody\"");
    Setup::new(&world, &world.a).with(named).write();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_proxy("other", "serving");
}
