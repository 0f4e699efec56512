//! No remote client is shown to an application as local, whatever is lost and wherever the
//! application was started.

use std::net::{IpAddr, SocketAddr};

use harness::{Capture, Host, Mesh, World, bpf, daemon::Setup, holds, load, peer, rules};
use serde_json::Value;

/// Whether an application would take this client for its own host.
fn looks_local(host: &Host, name: &Value) -> bool {
    let addr: SocketAddr = name.as_str().unwrap().parse().unwrap();
    let ip = addr.ip().to_canonical();
    let own = [IpAddr::from(host.v4()), host.v6().into()];
    ip.is_loopback() || own.contains(&ip)
}

/// A server of `b` that is not born in the governed cgroups.
#[track_caller]
fn serve_outside(host: &Host, listen: &[SocketAddr], args: &[&str]) -> harness::Running {
    let mut command = host.command_in(host.daemons().path(), peer::binary());
    command.arg("serve");
    for addr in listen {
        command.args(["--listen", &addr.to_string()]);
    }
    command.args(args);
    let mut running = harness::Running::spawn(command);
    running.line("it listens", |line| {
        (peer::parse(line)?["event"] == "ready").then_some(())
    });
    running
}

fn accepted(lines: &[String]) -> Vec<Value> {
    let lines = lines.iter().filter_map(|line| peer::parse(line));
    lines.filter(|line| line["event"] == "accepted").collect()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_application_outside_the_governed_cgroups_is_not_served_and_sees_nobody_as_local() {
    let mesh = Mesh::tunnel();
    let b = mesh.world.b.clone();
    let listen = [b.at(7000), b.at6(7000)];
    let outside = serve_outside(&b, &listen, &[]);
    for to in listen {
        let connect = format!("connect={to}");
        let steps = mesh.world.a.script(&[&connect, "send=hello", "line"]);
        // The connect reaches the own proxy; what is behind it does not.
        let answer = steps
            .of("line")
            .ok()
            .and_then(|line| line.as_str().map(str::to_owned));
        assert!(answer.unwrap_or_default().is_empty(), "{to}: {steps:?}");
    }
    assert_eq!(accepted(&outside.stdout()), Vec::<Value>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_listener_outside_that_shares_the_port_sees_no_remote_client_as_local() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let listen = [b.at(7000), b.at6(7000)];
    let inside = b.serve(&listen, &["--reuse-port"]);
    let outside = serve_outside(b, &listen, &["--reuse-port"]);
    let (to4, to6) = (listen[0].to_string(), listen[1].to_string());
    let count = load(400).to_string();
    a.peer_report(&[
        "many",
        "--to",
        &to4,
        "--to",
        &to6,
        "--count",
        &count,
        "--parallel",
        "4",
    ]);
    let (seen_inside, seen_outside) = (inside.accepted(), accepted(&outside.stdout()));
    assert!(
        !seen_inside.is_empty() && !seen_outside.is_empty(),
        "the kernel gave {} to the one and {} to the other",
        seen_inside.len(),
        seen_outside.len()
    );
    for seen in seen_inside.iter().chain(&seen_outside) {
        for name in [&seen["accept"], &seen["getpeername"]] {
            assert!(!looks_local(b, name), "{seen}");
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_whose_note_was_lost_is_not_shown_as_local() {
    let mut mesh = Mesh::tunnel();
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let listen = [b.at(7000), b.at6(7000)];
    let server = b.serve(&listen, &[]);
    let forward = bpf::map_of(mesh.b.pid(), "FORWARD");
    let (to4, to6) = (listen[0].to_string(), listen[1].to_string());
    let mut clients = a.peer(&["many", "--to", &to4, "--to", &to6, "--parallel", "8"]);
    // What an LRU map that is full does to its oldest entries, without the flood for it.
    let unknown = |mesh: &Mesh| mesh.b.ask("status")["counters"]["served_unknown"].as_u64();
    let enough = load(20);
    holds("the notes of some connections are lost in time", || {
        for _ in 0..20_000 {
            forward.remove_one();
        }
        unknown(&mesh).unwrap_or_default() >= enough
    });
    clients.tell("enough");
    clients.finish_within(harness::wait::DEADLINE);
    let seen = server.accepted();
    for seen in &seen {
        for name in [&seen["accept"], &seen["getpeername"]] {
            assert!(!looks_local(&b, name), "{seen}");
        }
    }
    let hop = |seen: &&Value| {
        let name = seen["accept"].as_str().unwrap();
        name.starts_with("254.77.77.") || name.starts_with("[100::5349:4445:")
    };
    assert!(seen.iter().filter(hop).count() as u64 >= enough);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_hops_routes_are_put_back_when_somebody_removes_them_and_go_with_detach() {
    let mesh = Mesh::tunnel();
    let b = mesh.world.b.clone();
    let _server = b.serve(&[b.at(7000), b.at6(7000)], &[]);
    let routes = || {
        let v4 = b.netns().ip(&["route", "show", "table", "local"]);
        let v6 = b.netns().ip(&["-6", "route", "show", "table", "local"]);
        (
            v4.contains("254.77.77.0/24"),
            v6.contains("100::5349:4445:0:0/96"),
        )
    };
    assert_eq!(routes(), (true, true));
    b.netns()
        .ip(&["route", "del", "local", "254.77.77.0/24", "dev", "lo"]);
    b.netns()
        .ip(&["-6", "route", "flush", "table", "local", "100::/64"]);
    holds("both are back", || routes() == (true, true));
    for to in [b.at(7000), b.at6(7000)] {
        let connect = format!("connect={to}");
        mesh.world
            .a
            .script(&[&connect, "send=hello", "line"])
            .all_ok();
    }
    mesh.b.detach().expect_code(0);
    assert_eq!(routes(), (false, false));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_stranger_with_the_hops_address_is_no_hop() {
    let world = World::pair();
    let _b = Setup::new(&world, &world.b)
        .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a"))
        .start();
    let server = world.b.serve(&[world.b.at(7000)], &[]);
    world
        .a
        .netns()
        .ip(&["addr", "add", "254.77.77.9/32", "dev", "eth0"]);
    let capture = Capture::start(&world.a);
    let connect = format!("start={}", world.b.at(7000));
    // It cannot be answered: on `b` the address is `b`'s own.
    world
        .a
        .script(&["tcp4", "bind=254.77.77.9:0", "nonblocking", &connect]);
    let syn = [254, 77, 77, 9, 10, 88, 0, 2];
    assert!(capture.stop().contains(syn), "its SYN was on the wire");
    assert_eq!(server.accepted(), Vec::<Value>::new());
}
