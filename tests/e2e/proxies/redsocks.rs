//! redsocks as Debian ships it, on top of `redirect`.

use std::path::Path;

use harness::{
    Running, World, bpf, cgroup::Cgroup, daemon::Setup, load, proxies::redirect, sidetrack_bin,
};

const EXAMPLE: &str = include_str!("../../../scripts/examples/redirect/redsocks.conf");

/// redsocks on `a`, which sends everything to a SOCKS server on `b`.
struct Chain {
    own: Cgroup,
    _socks: Running,
    _redsocks: Running,
}

impl Chain {
    #[track_caller]
    fn start(world: &World) -> Self {
        let mut socks = world.b.command_in(world.b.daemons().path(), "microsocks");
        socks.args(["-i", "10.88.0.2", "-p", "1080"]);
        let socks = Running::spawn(socks);
        // The example, in the foreground.
        let config = EXAMPLE
            .replace("daemon = on", "daemon = off")
            .replace("syslog:daemon", "stderr");
        let config = world.a.write("redsocks.conf", &config);
        let own = world.a.apps().child("redsocks");
        let mut command = world.a.command_in(own.path(), "redsocks");
        command.arg("-c").arg(config);
        Self {
            own,
            _socks: socks,
            _redsocks: Running::spawn(command),
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn redsocks_carries_redirected_connections_to_a_socks_server() {
    let world = World::pair();
    let ports = [7000, 7001, 7002, 7003].map(|port| world.b.at(port));
    let listen = [&ports[..], &[world.b.at6(7000)]].concat();
    let mut server = world.b.serve(&listen, &["--quiet"]);
    let chain = Chain::start(&world);
    // Every port, that of the SOCKS server too: redsocks's own connections must go there.
    let rules = redirect("other", &["127.0.0.1:12345"], "1-65535");
    let daemon = Setup::new(&world, &world.a)
        .with(rules.replace("[proxy.other]", "[proxy.other]\nuser = \"redsocks\""))
        .start();
    daemon.wait_proxy("other", "serving");
    let step = format!("connect={}", world.b.at(7000));
    let said = world
        .a
        .script(&[&step, "names", "send=hello", "line"])
        .all_ok();
    assert_eq!(said.answer(0)["line"], "hello");
    assert_eq!(
        said.ok("names")["getpeername"],
        world.b.at(7000).to_string()
    );
    let from = said.answer(0)["accept"].as_str().unwrap().to_owned();
    assert!(
        from.starts_with("10.88.0.2:"),
        "not by the SOCKS server but {from}"
    );

    // Many at once, each to the one of four destinations that it dialled.
    let count = load(100);
    let mut steps = Vec::new();
    for (n, to) in (0..count).zip(ports.iter().cycle()) {
        steps.extend([
            format!("slot={n}"),
            format!("connect={to}"),
            "send=x".into(),
        ]);
    }
    for n in 0..count {
        steps.extend([format!("slot={n}"), "line".into()]);
    }
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let said = world.a.script(&steps).all_ok();
    for (n, to) in (0..count).zip(ports.iter().cycle()) {
        let reached = said.answer(n as usize)["getsockname"].clone();
        assert_eq!(reached, to.to_string());
    }

    let counters = daemon.ask("status")["counters"].clone();
    assert_eq!(counters["redirected_to_proxy"], count + 1, "{counters}");
    assert_eq!(counters["proxy_direct"], count + 1, "{counters}");
    // redsocks listens over IPv4 only.
    let step = format!("connect={}", world.b.at6(7000));
    let refused = world.a.script(&[&step]).of(&step);
    assert_eq!(refused, Err("EHOSTDOWN".to_owned()));
    assert_eq!(server.totals().0, count + 1);
    assert_eq!(bpf::attached_to(chain.own.path()).len(), 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_example_with_redsocks_is_a_valid_configuration() {
    let world = World::pair();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/examples/redirect");
    let checked = world
        .a
        .run(
            sidetrack_bin(),
            &[
                "check",
                "--config",
                &folder.join("sidetrack.toml").display().to_string(),
            ],
        )
        .expect_code(0);
    assert!(checked.stdout.contains("redirect (redsocks)"), "{checked}");
    assert!(!checked.stdout.contains("warning"), "{checked}");
}
