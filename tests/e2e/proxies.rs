//! `redirect`: connections go to the listener of a proxy that others wrote.

use std::fs;

mod mitmproxy;
mod redsocks;
mod unfit;

use harness::{
    Daemon, Running, World, bpf,
    cgroup::Cgroup,
    daemon::Setup,
    holds,
    proxies::{Proxy, redirect},
    sidetrack_bin,
};
use nix::sys::signal::Signal;

const BOTH: [&str; 2] = ["127.0.0.1:12345", "[::1]:12345"];

/// A proxy on `a` in a cgroup of its own, below that of the applications, and a server on `b`.
struct Redirected {
    world: World,
    own: Cgroup,
    proxy: Proxy,
    daemon: Daemon,
    server: harness::peer::Server,
}

impl Redirected {
    #[track_caller]
    fn start(more: &str) -> Self {
        let world = World::pair();
        let own = world.a.apps().child("proxy");
        let proxy = Proxy::start(&world.a, &own, &BOTH, &[]);
        let server = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
        let daemon = Setup::new(&world, &world.a)
            .with(redirect("other", &BOTH, "7000-7999") + more)
            .start();
        daemon.wait_proxy("other", "serving");
        Self {
            world,
            own,
            proxy,
            daemon,
            server,
        }
    }

    fn connect(&self) -> Result<serde_json::Value, String> {
        connect(&self.world)
    }
}

/// One connection to the server on `b` and back.
fn connect(world: &World) -> Result<serde_json::Value, String> {
    let step = format!("connect={}", world.b.at(7000));
    let steps = world.a.script(&[&step, "send=hello", "line"]);
    steps.of(&step)?;
    Ok(steps.answer(0))
}

#[track_caller]
fn counter(daemon: &Daemon, name: &str) -> u64 {
    daemon.ask("status")["counters"][name].as_u64().unwrap()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_proxy_of_others_gets_the_connections_and_where_they_wanted_to_go() {
    let redirected = Redirected::start("");
    let (world, daemon) = (&redirected.world, &redirected.daemon);
    let (v4, v6) = (world.b.at(7000).to_string(), world.b.at6(7000).to_string());
    let connects = [
        vec![format!("connect={v4}")],
        vec![format!("connect={v6}")],
        vec!["tcp6".into(), format!("connect={v4}")],
    ];
    for (steps, dialled) in connects
        .iter()
        .zip([&v4, &v6, &"[::ffff:10.88.0.2]:7000".to_string()])
    {
        let mut steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        steps.extend(["names", "send=hello", "line"]);
        let said = world.a.script(&steps).all_ok();
        assert_eq!(said.ok("names")["getpeername"], dialled.as_str());
        let from = said.answer(0)["accept"].as_str().unwrap().to_owned();
        assert!(
            from.starts_with("10.88.0.1:") || from.starts_with("[fd88::1]:"),
            "the proxy connects from this host's address, not {from}"
        );
    }
    assert_eq!(redirected.proxy.asked(), [v4.as_str(), &v6, &v4]);
    assert_eq!(counter(daemon, "redirected_to_proxy"), 3);
    assert_eq!(
        counter(daemon, "proxy_direct"),
        3,
        "each once, and not back"
    );
    assert_eq!(counter(daemon, "redirected"), 0);
    assert_eq!(daemon.records().len(), 0, "somebody else carries them");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_proxy_outside_the_governed_cgroup_is_served_as_well() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let daemon = Setup::new(&world, &world.a)
        .with(redirect("other", &["[::]:12345"], "7000-7999"))
        .start();
    daemon.wait_proxy("other", "absent");
    let own = world.a.daemons().child("proxy");
    let proxy = Proxy::start(&world.a, &own, &["[::]:12345"], &[]);
    daemon.wait_proxy("other", "serving");
    connect(&world).unwrap();
    assert_eq!(proxy.wait_asked(1), [world.b.at(7000).to_string()]);
    assert_eq!(counter(&daemon, "proxy_direct"), 0, "it is not asked there");
    drop(proxy);
    daemon.wait_proxy("other", "absent");
    assert_eq!(bpf::attached_to(own.path()), Vec::<&str>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_killed_proxy_means_the_rules_fail_mode_at_once_and_a_restarted_one_is_served_again() {
    for fail in ["block", "pass"] {
        let mut redirected = Redirected::start(&format!("fail = \"{fail}\"\n"));
        redirected.connect().unwrap();
        let entries = bpf::hash_maps_of(redirected.daemon.pid());
        assert!(!entries.is_empty());
        drop(redirected.proxy);
        // Nobody has told the daemon: the kernel takes the entry away, for nobody holds a copy.
        let direct = connect(&redirected.world);
        match fail {
            "block" => {
                assert_eq!(direct, Err("EHOSTDOWN".to_owned()));
                let record = redirected.daemon.only_record();
                assert_eq!(record.reason(), "no-listener");
            }
            _ => assert!(direct.is_ok(), "{direct:?}"),
        }
        let why = redirected.daemon.wait_proxy("other", "absent");
        assert!(why.contains("nothing listens at"), "{why}");
        let again = Proxy::start(&redirected.world.a, &redirected.own, &BOTH, &[]);
        redirected.daemon.wait_proxy("other", "serving");
        connect(&redirected.world).unwrap();
        assert_eq!(again.asked().len(), 1);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_daemon_keeps_no_copy_of_a_proxys_socket() {
    let mut redirected = Redirected::start("");
    let sockets = |pid: i32| -> Vec<_> {
        fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .collect()
    };
    let of_proxy = sockets(redirected.proxy.running.pid());
    assert!(of_proxy.len() >= 2, "{of_proxy:?}");
    let of_daemon = sockets(redirected.daemon.pid());
    assert!(
        !of_proxy.iter().any(|socket| of_daemon.contains(socket)),
        "{of_proxy:?} {of_daemon:?}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_stopped_proxy_gets_no_connections_until_it_goes_on() {
    let redirected = Redirected::start("");
    redirected.connect().unwrap();
    redirected.proxy.running.signal(Signal::SIGSTOP);
    let why = redirected.daemon.wait_proxy("other", "stopped");
    assert!(why.contains("kill -CONT"), "{why}");
    assert_eq!(redirected.connect(), Err("EHOSTDOWN".to_owned()));
    redirected.proxy.running.signal(Signal::SIGCONT);
    redirected.daemon.wait_proxy("other", "serving");
    redirected.connect().unwrap();
    let freezer = redirected.own.path().join("cgroup.freeze");
    fs::write(&freezer, "1").unwrap();
    redirected.daemon.wait_proxy("other", "stopped");
    fs::write(&freezer, "0").unwrap();
    redirected.daemon.wait_proxy("other", "serving");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_killed_daemon_means_the_rules_fail_mode_and_a_new_one_sends_to_the_proxy_again() {
    let mut redirected = Redirected::start("");
    redirected.connect().unwrap();
    redirected.daemon.signal(Signal::SIGKILL);
    redirected.daemon.wait_end();
    // Nothing tells the proxy the destination any more: until the heartbeat is too old, it closes
    // what it accepts.
    let step = format!("connect={}", redirected.world.b.at(7000));
    holds("connects fail", || {
        redirected.world.a.script(&[&step, "rest"]).of(&step) == Err("EHOSTDOWN".to_owned())
    });
    assert_eq!(
        redirected.server.accepted().len(),
        1,
        "none of them came through"
    );
    let asked = redirected.proxy.asked().len();
    let daemon = Setup::new(&redirected.world, &redirected.world.a)
        .with(redirect("other", &BOTH, "7000-7999"))
        .start();
    daemon.wait_proxy("other", "serving");
    redirected.connect().unwrap();
    assert_eq!(redirected.proxy.asked().len(), asked + 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn two_proxies_get_the_connections_of_their_own_rules_also_after_a_reload() {
    let world = World::pair();
    let ports = [7000, 7100, 7200];
    let _server = world.b.serve(&ports.map(|port| world.b.at(port)), &[]);
    let names = ["m", "z", "a"];
    let listens = ["127.0.0.1:12345", "127.0.0.1:12346", "127.0.0.1:12347"];
    let proxies: Vec<(Cgroup, Proxy)> = names
        .iter()
        .zip(listens)
        .map(|(name, listen)| {
            let own = world.a.apps().child(name);
            let proxy = Proxy::start(&world.a, &own, &[listen], &[]);
            (own, proxy)
        })
        .collect();
    let rules = |count: usize| -> String {
        (0..count)
            .map(|n| redirect(names[n], &[listens[n]], &ports[n].to_string()))
            .collect()
    };
    let mut daemon = Setup::new(&world, &world.a).with(rules(2)).start();
    let ask = |port| {
        let step = format!("connect={}", world.b.at(port));
        world.a.script(&[&step, "send=hello", "line"]).all_ok();
    };
    ask(7000);
    ask(7100);
    // The third is called so that the numbers of the others change.
    Setup::new(&world, &world.a).with(rules(3)).write();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", 2);
    for port in ports {
        ask(port);
    }
    Setup::new(&world, &world.a).with(rules(1)).write();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", 3);
    for port in ports {
        ask(port);
    }
    let asked: Vec<Vec<String>> = proxies.iter().map(|(_, proxy)| proxy.asked()).collect();
    let times = |port: u16, count: usize| vec![world.b.at(port).to_string(); count];
    assert_eq!(asked, [times(7000, 3), times(7100, 2), times(7200, 1)]);
    assert_eq!(daemon.proxy("z"), Vec::<serde_json::Value>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn whoever_connects_to_a_proxys_own_port_has_no_original_destination() {
    let redirected = Redirected::start("");
    for (at, known) in [(BOTH[0], "ENOENT"), (BOTH[1], "ENOENT")] {
        let before = redirected.proxy.asked().len();
        let step = format!("connect={at}");
        redirected.world.a.script(&[&step, "rest"]);
        let said = redirected.proxy.wait_asked(before + 1);
        let answer = said.last().unwrap();
        // Which of them depends on whether the kernel has connection tracking.
        assert!(
            [known, "ENOPROTOOPT"].contains(&answer.as_str()),
            "{answer}"
        );
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_command_under_exec_is_redirected_to_a_proxy() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let own = world.a.daemons().child("proxy");
    let proxy = Proxy::start(&world.a, &own, &BOTH, &[]);
    let config = world.a.write(
        "exec.toml",
        &format!("version = 1\n{}", redirect("other", &BOTH, "7000-7999")),
    );
    let step = format!("connect={}", world.b.at(7000));
    let mut command = world.a.command_in(world.a.apps().path(), sidetrack_bin());
    command
        .args(["exec", "--config"])
        .arg(config)
        .arg("--")
        .arg(harness::peer::binary())
        .args(["script", &step, "send=hello", "line"]);
    let ended = Running::spawn(command).finish().expect_code(0);
    assert!(ended.stdout.contains("getsockname"), "{ended}");
    assert_eq!(proxy.asked(), [world.b.at(7000).to_string()]);
}
